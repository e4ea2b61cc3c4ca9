"""Verification and retrieval: measures against their definitions, the margin, and splits by classes."""

import json
import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from scipy.io import wavfile

import archscout
from archscout.core.errors import DataError, DataNotice
from archscout.networks.pick import build
from archscout.tasks.load import undescribe
from archscout.tasks.survey import look
from archscout.tasks.trials import equal_error_rate, minimum_detection_cost, pairs, recall_at
from archscout.testing import tiny_speakers, tiny_task
from archscout.training.export import to_onnx


def errors(scores: np.ndarray, same: np.ndarray, threshold: float) -> tuple[float, float]:
    """Others accepted, and same ones missed."""
    return float((scores[~same] >= threshold).mean()), float((scores[same] < threshold).mean())


def test_equal_error_rate_and_cost_are_those_of_all_thresholds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        same = rng.random(300) < 0.3
        scores = np.round(rng.normal(0, 1, 300) + same, 2)
        points = [errors(scores, same, t) for t in [*np.unique(scores), math.inf]]
        assert minimum_detection_cost(scores, same) == pytest.approx(min(0.01 * m + 0.99 * a for a, m in points) / 0.01)
        rate = equal_error_rate(scores, same)
        # Between the two thresholds where one error overtakes the other.
        assert max(min(p) for p in points) - 1e-9 <= rate <= min(max(p) for p in points) + 1e-9
    assert equal_error_rate(np.asarray([0.9, 0.8, 0.1]), np.asarray([True, True, False])) == 0
    assert math.isnan(equal_error_rate(np.asarray([0.9]), np.asarray([True])))


def test_pairs_and_recall_are_those_of_two_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(20, 3, generator=generator), torch.randint(0, 6, (20,), generator=generator)
    cosine = [[float(torch.cosine_similarity(a, b, 0)) for b in x] for a in x]
    scores, same = pairs(x, y)
    expected = [(cosine[i][j], bool(y[i] == y[j])) for i in range(20) for j in range(i + 1, 20)]
    np.testing.assert_allclose(scores, [score for score, _ in expected], atol=1e-5)
    assert same.tolist() == [one for _, one in expected]
    for count in (1, 5):
        hits = []
        for i in range(20):
            others = sorted((j for j in range(20) if j != i), key=lambda j, i=i: -cosine[i][j])  # type: ignore[misc]
            if any(y[j] == y[i] for j in others):
                hits.append(any(y[j] == y[i] for j in others[:count]))
        assert recall_at(count)(x, y) == pytest.approx(np.mean(hits))


def test_the_loss_is_a_softmax_over_angles_of_which_the_own_is_larger_by_the_margin() -> None:
    task = tiny_speakers()
    angles = torch.tensor([[0.5, 1.0, 2.0, 1.5], [1.2, 0.3, 0.9, 2.5]])
    outputs = torch.cat([torch.zeros(2, 8), angles.cos()], 1)
    own = torch.tensor([0, 2])
    moved = angles.clone()
    moved[torch.arange(2), own] += 0.2
    expected = torch.nn.functional.cross_entropy(30 * moved.cos(), own)
    assert float(task.loss(outputs, own)) == pytest.approx(float(expected), rel=1e-4)
    # Speakers that training does not know are left out.
    assert float(task.loss(outputs, torch.tensor([0, 7]))) == pytest.approx(float(task.loss(outputs[:1], own[:1])))
    assert float(task.loss(outputs, torch.tensor([5, 7]))) == 0


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for speaker in range(6):
        (tmp_path / f"v{speaker}").mkdir()
        for number in range(5):
            sound = np.sin(np.arange(2000) * (0.1 + 0.1 * speaker)) * 0.4 + rng.normal(0, 0.01, 2000)
            wavfile.write(tmp_path / f"v{speaker}" / f"{number}.wav", 4000, (sound * 32767).astype(np.int16))
    return tmp_path


def test_drawn_splits_have_speakers_of_their_own(voices: Path) -> None:
    task = archscout.task(voices, kind="verification")
    assert task.kind == "speaker verification"
    assert task.class_names == tuple(f"v{n}" for n in range(6))
    speakers = [set(split.y.tolist()) for split in (task.train, task.valid, task.test)]
    assert sum(map(len, speakers)) == 6
    assert set(task.known) == speakers[0]
    assert "valid" not in task.drawn
    found = look(voices, kind="verification")
    assert not [oddity for oddity in found.oddities if "sizes" in oddity]
    with pytest.raises(DataError, match="5 classes, too few to draw splits with classes of their own"):
        archscout.task((np.arange(20)[:, None] + np.zeros((20, 2000)), np.arange(20) % 5), medium="audio", rate=4000,
                       kind="verification")  # fmt: skip
    again = undescribe(json.loads(json.dumps(task.describe())))
    assert again.known == task.known


def test_an_archive_whose_labels_are_not_those_that_are_named_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"x": rng.normal(0, 0.1, (30, 2000)), "labels": np.arange(30) % 2, "voice": np.arange(30) // 5,
              "sample_rate": np.asarray(4000)}  # fmt: skip
    np.savez(tmp_path / "v.npz", **arrays)
    with pytest.warns(DataNotice, match="has arrays that are not used: labels"):
        task = archscout.task(f"{tmp_path}/v.npz:kind=verification,label=voice")
    assert len(task.class_names) == 6
    assert len(task.known) == 2


def test_given_splits_may_have_speakers_of_their_own(voices: Path) -> None:
    for place, split in enumerate(("train", "valid", "test")):
        (voices / split).mkdir()
        for speaker in (2 * place, 2 * place + 1):
            (voices / f"v{speaker}").rename(voices / split / f"v{speaker}")
    with pytest.raises(DataError, match="has no counterpart"):
        archscout.task(voices)
    task = archscout.task(f"{voices}:kind=verification")
    assert [sorted(set(s.y.tolist())) for s in (task.train, task.valid, task.test)] == [[0, 1], [2, 3], [4, 5]]
    (voices / "test" / "v5").rename(voices / "v5")
    with pytest.raises(DataError, match=r"the test split of .* has no pairs of one class and of two"):
        archscout.task(f"{voices}:kind=verification")


CELL = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"


@pytest.mark.parametrize(
    ("name", "text"),
    [("nasbench201:width=4", CELL), pytest.param("tdnn", "k5w50_k3w50_k3w50_cat50", marks=pytest.mark.slow)],
)
def test_a_deployed_network_gives_embeddings(name: str, text: str) -> None:
    task, space = tiny_speakers(), archscout.space(name)
    network = build(space, space.parse(text), task).eval()
    deployed = task.deploy(network).eval()
    session = onnxruntime.InferenceSession(to_onnx(deployed, task.deployed_shape, quick=True))
    answered = session.run(None, {session.get_inputs()[0].name: task.test.x[:4]})[0]
    assert answered.shape == (4, 8 + 4)
    np.testing.assert_allclose(np.linalg.norm(answered[:, :8], axis=1), 1, atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(answered, deployed(torch.from_numpy(task.test.x[:4])), atol=1e-4)
        np.testing.assert_allclose(answered, network(task.tensors(task.test)[0][:4]), atol=1e-4)
    told = task.tell(torch.from_numpy(answered))
    assert list(told[0]["embedding"].values()) == pytest.approx(answered[0, :8].tolist())


def test_images_are_retrieved() -> None:
    tiny = tiny_task(classes=12, examples=96)
    task = archscout.task((tiny.train.x, tiny.train.y), kind="retrieval")
    assert task.kind == "image retrieval"
    assert str(task.metric) == "recall_at_1"
    assert not set(task.train.y.tolist()) & set(task.test.y.tolist())
    space = archscout.space("nasbench201:width=4")
    network = build(space, space.parse(CELL), task).eval()
    x, y = task.tensors(task.test)
    with torch.no_grad():
        panels = task.review([(network(x), y, task.test.x)])
    assert [panel.title for panel in panels] == [
        "How well the same are told from others", "Errors as the threshold falls",
    ]  # fmt: skip
