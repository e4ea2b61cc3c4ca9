"""Data larger than memory: decoded once, mapped by every process, and the same results to the bit."""

import pickle
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

import archscout
from archscout.core.errors import DataError, DataNotice
from archscout.core.estimator import Setting
from archscout.core.task import Task
from archscout.estimators.final import FinalTraining
from archscout.networks.pick import build
from archscout.tasks import cache, decode, mapped, pictures, sound
from archscout.tasks.contents import Source
from archscout.tasks.decode import Reading
from archscout.tasks.mapped import Mapped, Streamed, is_streamed
from archscout.training.recipe import Recipe
from archscout.training.trainer import train

CELL = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARCHSCOUT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number:02d}.png")
    return tmp_path / "photos"


def splits(task: Task) -> list[np.ndarray]:
    assert task.test is not None
    return [array for split in (task.train, task.valid, task.test) for array in (split.x, split.y)]


def test_cached_images_are_those_of_memory_and_are_decoded_once(
    photos: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = archscout.task(photos, cache=False)
    assert not kept.exists()
    first = archscout.task(photos, cache=True)
    assert isinstance(first.train.x, Mapped)
    assert sum(file.stat().st_size for file in kept.glob("*.pixels")) == 40 * 8 * 8 * 3
    monkeypatch.setattr(pictures, "decode", None)
    again = archscout.task(photos)  # what is there is used without being asked for
    assert (first.name, first.digest) == (in_memory.name, in_memory.digest)
    for task in (first, again):
        for one, other in zip(splits(task), splits(in_memory), strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(pickle.dumps(again.train.x)) < 1000
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again.valid.x)), in_memory.valid.x)


def test_of_large_pictures_one_is_decoded_whole_before_all_are_resized(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def noted(source: Source, reading: Reading) -> tuple[Image.Image, frozenset[str]]:
        seen.append(reading.shape)
        return decode.decoded(source, reading)

    monkeypatch.setattr(pictures, "LARGE", 4)
    monkeypatch.setattr(pictures, "decoded", noted)
    with pytest.warns(DataNotice, match="are 8 x 8 pixels: all are stretched"):
        archscout.task(photos, cache=False)
    assert seen == [(8, 8)] * 40


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_pictures_are_in_order_whoever_decodes_them(photos: Path, monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    (photos / "cat" / "07.png").write_bytes(b"bad")
    sources = [decode.file_source(file) for file in sorted(photos.rglob("*.png"))]
    monkeypatch.setattr(pictures, "usable_cores", lambda: cores)
    monkeypatch.setattr(pictures, "_HANDFUL", 3)
    seen: list[int] = []
    found = pictures.decode_all(
        {"train": sources}, Reading(), skip_bad=True, cached=False, watch=lambda done, _: seen.append(done)
    )
    good = [number for number in range(40) if number != 7]
    assert found.rows["train"].tolist() == good
    expected = np.stack([decode.decode(sources[number], Reading())[0] for number in good])
    np.testing.assert_array_equal(found.images["train"], expected)
    assert seen == [*range(3, 40, 3), 40]


def test_a_changed_picture_or_reading_is_another_cache(photos: Path, kept: Path) -> None:
    archscout.task(photos, cache=True)
    Image.new("RGB", (8, 8), (1, 2, 3)).save(photos / "cat" / "00.png")
    changed = archscout.task(photos, cache=True)
    assert any((image == (1, 2, 3)).all() for split in splits(changed)[::2] for image in split)
    archscout.task(photos, cache=True, size=4)
    archscout.task(photos, cache=True, train=10)
    assert len(list(kept.glob("*.pixels"))) == 4
    assert cache.clear() > 0
    assert cache.files() == []


def test_what_is_left_out_and_told_comes_out_of_the_cache_too(photos: Path) -> None:
    (photos / "cat" / "bad.png").write_text("no picture")
    Image.new("LA", (8, 8), (7, 99)).save(photos / "dog" / "grey.png")
    told = []
    for cached in (False, True, True):
        with pytest.warns(DataNotice) as notices:
            task = archscout.task(photos, cache=cached, skip_bad=True)
        told.append((sorted(str(notice.message) for notice in notices), [array.tobytes() for array in splits(task)]))
    assert told[0] == told[1] == told[2]
    assert len(told[0][0]) == 3
    with pytest.raises(DataError, match=r"bad.png' is not a readable image"):
        archscout.task(photos, cache=True)


def test_too_much_for_memory_goes_to_the_disk_by_itself(
    photos: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "SHARE", 1e-9)
    assert isinstance(archscout.task(photos).train.x, Mapped)
    assert len(list(kept.iterdir())) == 2


def test_an_unfinished_or_damaged_cache_is_made_again(photos: Path, kept: Path) -> None:
    reference = splits(archscout.task(photos, cache=True))
    for damage in (lambda file: file.write_bytes(b"short"), lambda file: file.unlink()):
        for file in sorted(kept.iterdir()):
            damage(file)
            for one, other in zip(splits(archscout.task(photos, cache=True)), reference, strict=True):
                np.testing.assert_array_equal(one, other)


def test_a_full_disk_is_said_and_leaves_nothing(photos: Path, kept: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limit[1]))
    try:
        with pytest.raises(DataError, match=r"decoded examples cannot be kept in '.*cache': File too large; make room"):
            archscout.task(photos, cache=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list(kept.iterdir()) == []


# -- batch by batch ---------------------------------------------------------------------------------------------------


def streamed(task: Task, monkeypatch: pytest.MonkeyPatch) -> tuple[Streamed, torch.Tensor]:
    whole = task.tensors(task.train)[0]
    monkeypatch.setattr(mapped, "IN_MEMORY", 0)
    assert is_streamed(task.train.x)
    stream = task.tensors(task.train)[0]
    assert isinstance(stream, Streamed)
    return stream, whole


def test_a_stream_gives_what_the_tensor_would(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, whole = streamed(archscout.task(photos, cache=True), monkeypatch)
    assert (len(stream), stream.shape, stream.device) == (len(whole), whole.shape, whole.device)
    rows = torch.tensor([[5, 0, 5], [23, 7, 1]])
    for layout in (torch.contiguous_format, torch.channels_last):
        one, other = stream.contiguous(memory_format=layout), whole.contiguous(memory_format=layout)
        for chosen in (slice(2), slice(3, 20, 2), [4, 2], rows[0], rows):
            assert torch.equal(one[chosen], other[chosen])
        for part, expected in zip(torch.split(one, 7), torch.split(other, 7), strict=True):
            assert torch.equal(part, expected)
            assert part.stride() == expected.stride()
        assert one[rows[0]].stride() == other[rows[0]].stride()
        assert torch.equal(one.flip(3)[rows], other.flip(3)[rows])
        assert one.flip(3)[rows[0]].stride() == other[rows[0]].stride()
        both = torch.cat([one, one])
        assert torch.equal(both[rows + 20], torch.cat([other, other])[rows + 20])


def test_a_stream_joined_with_what_is_in_memory_gives_what_the_tensor_would(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, whole = streamed(archscout.task(photos, cache=True), monkeypatch)
    few = whole[:5] + 1
    for parts, expected in (((stream, few), (whole, few)), ((few, stream, few), (few, whole, few))):
        for layout in (torch.contiguous_format, torch.channels_last):
            one, other = torch.cat(parts).contiguous(memory_format=layout), torch.cat(expected)
            assert isinstance(one, Streamed) and one.shape == other.shape
            rows = torch.tensor([[len(other) - 1, 0, 4], [5, 6, 2]])
            for chosen in (slice(None), slice(2), [len(other) - 1], rows[0], rows):
                assert torch.equal(one[chosen], other[chosen])
            assert one[rows[0]].is_contiguous(memory_format=layout)


def test_the_final_training_learns_from_a_stream_and_from_parts_of_validation(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = archscout.task(photos, cache=True)
    monkeypatch.setattr(mapped, "IN_MEMORY", 0)
    space = archscout.space("nasbench201:width=4,cells=1")
    (estimate,) = FinalTraining(everything=True).estimate([space.parse(CELL)], Setting(space, task), fidelity=1)
    assert 0 <= estimate.value <= 1 and estimate.extra["examples"] > len(task.train)


def test_training_from_the_disk_ends_in_the_same_bits(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = archscout.space("nasbench201:width=4,cells=1")
    weights = []
    for cached in (False, True):
        task = archscout.task(photos, cache=cached)
        if cached:
            monkeypatch.setattr(mapped, "IN_MEMORY", 0)
        torch.manual_seed(0)
        network = build(space, space.parse(CELL), task)
        recipe = Recipe(epochs=2, batch_size=8, precision="float32", layout="channels_last")
        outcome = train(network, task, recipe, seed=0)
        row = {name: value for name, value in outcome.curve[-1].items() if name != "seconds"}
        weights.append((network.state_dict(), row))
    for name, tensor in weights[0][0].items():
        assert torch.equal(tensor, weights[1][0][name]), name
    assert weights[0][1] == weights[1][1]


LIMITED = """
import resource, sys
import numpy as np, torch
from torch import nn
import archscout
from archscout.tasks import mapped
from archscout.training.recipe import Recipe
from archscout.training.trainer import train

mapped.IN_MEMORY = int(sys.argv[2])
torch.set_num_threads(1)
recipe = Recipe(epochs=1, batch_size=250, precision="float32", layout="contiguous", augment=False)
def fit(task):
    return train(nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 2)), task, recipe, seed=0)
x = np.random.default_rng(0).integers(0, 256, (1000, 32, 32, 3), dtype=np.uint8)
fit(archscout.task((x, np.arange(1000) % 2)))  # what libraries need is allocated before the limit
used = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (used + 160 * 2**20, used + 160 * 2**20))
task = archscout.task(sys.argv[1])
outcome = fit(task)
print("trained", len(task.train), outcome.valid_metric)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits on memory are those of Linux")
@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0, 2**40], ids=["streamed", "in memory"])
def test_training_needs_no_memory_for_the_data(tmp_path: Path, threshold: int) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    for split, count in (("train", 40_000), ("valid", 500), ("test", 500)):
        rng = np.random.default_rng(count)
        np.save(folder / f"x_{split}.npy", rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))
        np.save(folder / f"y_{split}.npy", np.arange(count) % 2)
    # 123 MB of bytes would be 492 MB of floats; 160 MB are allowed.
    command = [sys.executable, "-c", LIMITED, str(folder), str(threshold)]
    done = subprocess.run(command, capture_output=True, text=True)
    if threshold == 0:
        assert "trained 40000" in done.stdout, done.stderr[-2000:]
    else:  # the limit would tell
        assert done.returncode != 0
        assert "memory" in done.stderr.lower()


# -- recordings -------------------------------------------------------------------------------------------------------


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("high", "low"):
        (tmp_path / "voices" / name).mkdir(parents=True)
        for number in range(20):
            tone = np.sin(np.arange(2000 + 40 * number) * (0.5 if name == "high" else 0.1)) * 8000
            samples = (tone + rng.normal(0, 1000, len(tone))).astype(np.int16)
            wavfile.write(tmp_path / "voices" / name / f"{number:02d}.wav", 4000, samples)
    (tmp_path / "voices" / "low" / "bad.wav").write_text("no recording")
    return tmp_path / "voices"


@pytest.mark.filterwarnings("ignore::archscout.core.errors.DataNotice")
def test_cached_recordings_are_those_of_memory_and_are_decoded_once(
    voices: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"'.*bad\.wav' is no readable WAV file"):
        archscout.task(voices, cache=True)
    assert not cache.files()
    in_memory = archscout.task(voices, cache=False, skip_bad=True)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", DataNotice)
        first = archscout.task(voices, cache=True, skip_bad=True)
    assert isinstance(first.train.x, Mapped)
    assert sum(file.stat().st_size for file in kept.glob("*.pixels")) == 40 * 4 * first.samples
    monkeypatch.setattr(sound, "hear", None)
    with warnings.catch_warnings(record=True) as told_again:
        warnings.simplefilter("always", DataNotice)
        again = archscout.task(voices, skip_bad=True)
    assert [str(one.message) for one in told] == [str(one.message) for one in told_again]
    assert (first.name, first.digest, first.rate) == (in_memory.name, in_memory.digest, again.rate)
    for task in (first, again):
        for one, other in zip(splits(task), splits(in_memory), strict=True):
            np.testing.assert_array_equal(one, other)
        assert task.normalisation == in_memory.normalisation
    with pytest.raises(DataError, match=r"bad\.wav"):
        archscout.task(voices)
    assert cache.clear() > 0


@pytest.mark.filterwarnings("ignore::archscout.core.errors.DataNotice")
def test_a_training_on_streamed_recordings_is_that_in_memory_to_the_bit(
    voices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = []
    for cached in (False, True):
        monkeypatch.setattr(mapped, "IN_MEMORY", 1 if cached else 2**28)
        task = archscout.task(voices, cache=cached, skip_bad=True)
        assert is_streamed(task.train.x) == cached
        assert isinstance(task.tensors(task.train)[0], Streamed) == cached
        space = archscout.space("nasbench201:width=4,cells=1")
        network = build(space, space.parse(CELL), task, seed=1)
        outcome = train(network, task, Recipe.default(task, 2), seed=1)
        rows = [{name: value for name, value in row.items() if name != "seconds"} for row in outcome.curve]
        outcomes.append((rows, [tensor.tolist() for tensor in network.state_dict().values()]))
    assert outcomes[0] == outcomes[1]
