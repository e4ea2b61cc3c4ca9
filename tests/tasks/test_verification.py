"""Verification and retrieval: measures against their definitions, the margin, and splits by classes."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from scipy.io import wavfile

import archscout
from archscout.core.errors import DataError, DataNotice, UsageError
from archscout.networks.pick import build
from archscout.tasks import trials
from archscout.tasks.load import undescribe
from archscout.tasks.survey import look
from archscout.tasks.trials import equal_error_rate, minimum_detection_cost, pairs, recall_at
from archscout.testing import tiny_speakers, tiny_task
from archscout.training.export import to_onnx

pytestmark = pytest.mark.filterwarnings("ignore:of the classes of:archscout.core.errors.DataNotice")


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
    with pytest.warns(DataNotice, match=r"kept apart from training \(2 for valid and 2 for test\): what is measured"):
        archscout.task(voices, kind="verification")
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


def test_pairs_of_many_examples_are_drawn_among_each_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "MOST", 600)
    rng = np.random.default_rng(0)
    # Two of each class, side by side: every second example has no like.
    labels = torch.arange(1_200) // 2
    first, second = (part.numpy() for part in trials._drawn(labels))
    same = labels[first] == labels[second]
    assert int(same.sum()) == 600
    assert len(set(zip(first[same].tolist(), second[same].tolist(), strict=True))) == 600
    assert (first != second).all()
    # Of few classes, every pair of a class is as likely as another.
    labels = torch.from_numpy(rng.permutation(np.repeat([0, 1, 2], [200, 500, 1_300])))
    first, second = (part.numpy() for part in trials._drawn(labels))
    same = (labels[first] == labels[second]).numpy()
    assert np.bincount(labels[first[same]]) / same.sum() == pytest.approx(np.asarray([0.020, 0.126, 0.854]), abs=0.005)
    assert (labels[first[~same]] != labels[second[~same]]).all()
    x = torch.randn(2_000, 4, generator=torch.Generator().manual_seed(0)) + labels[:, None]
    rate, every = equal_error_rate(*pairs(x, labels)), _all_pairs(x, labels)
    assert rate == pytest.approx(every, abs=0.005)


def _all_pairs(x: torch.Tensor, labels: torch.Tensor) -> float:
    """The equal error rate over all pairs, by counting cosines."""
    unit = torch.nn.functional.normalize(x, dim=1)
    same = labels[:, None] == labels
    cosines = (unit @ unit.T).clamp(-1, 1)
    off = ~torch.eye(len(labels), dtype=torch.bool)
    targets, others = (torch.histc(cosines[which & off], 4_000, -1, 1).flip(0).cumsum(0) for which in (same, ~same))
    missed, accepted = 1 - targets / targets[-1], others / others[-1]
    return float(accepted[int((accepted >= missed).int().argmax())])


def listed(voices: Path, *lines: str) -> str:
    (voices.parent / "trials.txt").write_text("\n".join(lines) + "\n")
    return f"{voices}:kind=verification,trials={voices.parent / 'trials.txt'}"


TRIALS = ("1 v1/0.wav v1/1.wav", "v4/0 v4/3 target", "v1/2.wav,v4/2.wav,nontarget", "0 v4/4.wav v1/4.wav")


def test_errors_are_those_of_a_list_of_trials(tmp_path: Path, voices: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    for folder in sorted(voices.glob("v*")):
        folder.rename(source / folder.name)
    task = archscout.task(listed(source, "enrol test label", *TRIALS))
    assert set(task.test.y[:, 0].tolist()) == {1, 4}
    assert not {1, 4} & {*task.train.y[:, 0].tolist(), *task.valid.y[:, 0].tolist()}
    space = archscout.space("nasbench201:width=4")
    network = build(space, space.parse(CELL), task).eval()
    x, y = task.tensors(task.test)
    with torch.no_grad():
        outputs = network(x)
    row = {(int(c), n): i for c in (1, 4) for n, i in enumerate(np.flatnonzero(task.test.y[:, 0] == c))}
    chosen = [((1, 0), (1, 1)), ((4, 0), (4, 3)), ((1, 2), (4, 2)), ((4, 4), (1, 4))]
    scores = np.asarray([float(outputs[row[a], :64] @ outputs[row[b], :64]) for a, b in chosen])
    same = np.asarray([True, True, False, False])
    # Batches may come in any order.
    turned = torch.arange(len(y)).flip(0)
    assert task.measure(outputs[turned], y[turned]) == pytest.approx(equal_error_rate(scores, same))
    costly = archscout.task(f"{listed(source, *TRIALS)},metric=minimum_detection_cost")
    assert costly.measure(outputs, y) == pytest.approx(minimum_detection_cost(scores, same))
    # The validation split has no trials: all its pairs are measured; training goes by classes.
    xv, yv = task.tensors(task.valid)
    with torch.no_grad():
        answered = network(xv)
    assert task.measure(answered, yv) == pytest.approx(equal_error_rate(*pairs(answered[:, :64], yv[:, 0])))
    known = task.tensors(task.train)[1]
    logits = torch.randn(len(known), task.outputs, generator=torch.Generator().manual_seed(0))
    plain = dataclasses.replace(task, trials=None)
    assert float(task.loss(logits, known)) == float(plain.loss(logits, known[:, 0]))
    assert task.review([(outputs, y, task.test.x)])
    again = undescribe(json.loads(json.dumps(task.describe())))
    assert (again.trials, again.known) == (None, task.known)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (TRIALS[:2], "needs trials of both sorts"),
        ((*TRIALS, "v1/0.wav v4/0.wav"), "line 5 of .* is no trial: write two recordings"),
        ((*TRIALS, "v1/0.wav v9/0.wav nontarget"), "line 5 of .* names 'v9/0.wav', which is no recording"),
        ((*TRIALS, "v1/0.wav 3.wav target"), "names '3.wav', which is 6 recordings of .*: write more of its path"),
        ((*TRIALS, "v1/0.wav v4/0.wav target"), "line 5 of .* says target of recordings whose labels say otherwise"),
        ((*TRIALS, "v1/0.wav v1/0.wav target"), "compares 'v1/0.wav' with itself"),
        ((*TRIALS, *(f"v{n}/0.wav v{n}/1.wav target" for n in range(6))), "names recordings of every speaker"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, voices: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        archscout.task(listed(voices, *lines))


def test_trials_of_training_recordings_or_of_other_kinds_are_refused(voices: Path) -> None:
    for place, split in enumerate(("train", "valid", "test")):
        (voices / split).mkdir()
        for speaker in (2 * place, 2 * place + 1):
            (voices / f"v{speaker}").rename(voices / split / f"v{speaker}")
    both = ("v4/0.wav v4/1.wav target", "v4/0.wav v5/1.wav nontarget")
    assert archscout.task(listed(voices, *both, "v2/0.wav v2/1.wav 1", "v2/0.wav v3/1.wav 0")).trials.shape == (4, 3)
    with pytest.raises(DataError, match=r"names 'v1/0\.wav', a recording of the train split"):
        archscout.task(listed(voices, *both, "v1/0.wav v4/1.wav nontarget"))
    with pytest.raises(DataError, match="a recording of another split than the first"):
        archscout.task(listed(voices, *both, "v2/0.wav v4/1.wav nontarget"))
    with pytest.raises(DataError, match="has trials of one sort for the valid split"):
        archscout.task(listed(voices, *both, "v2/0.wav v2/1.wav target"))
    with pytest.raises(UsageError, match=r"there is no file of trials 'none.txt'"):
        archscout.task(voices, kind="verification", trials="none.txt")


def test_speakers_at_other_speeds_are_speakers_of_their_own(voices: Path) -> None:
    plain, task = (archscout.task(voices, kind="verification", speeds=speeds) for speeds in (False, True))
    assert len(task.train) == 3 * len(plain.train)
    assert (len(plain.known), len(task.known)) == (2, 6)
    count = len(plain.train)
    pitches = [np.abs(np.fft.rfft(task.train.x[row])).argmax() for row in (0, count, 2 * count)]
    assert pitches[1] / pitches[0] == pytest.approx(0.9, abs=0.02)
    assert pitches[2] / pitches[0] == pytest.approx(1.1, abs=0.02)
    assert task.digest != plain.digest
    with pytest.raises(UsageError, match="trials are for verification"):
        archscout.task(listed(voices, *TRIALS).replace("kind=verification,", ""))
    with pytest.raises(UsageError, match="speeds=true makes speakers"):
        archscout.task(voices, speeds=True)


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
