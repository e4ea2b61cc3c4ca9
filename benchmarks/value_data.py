"""The data of `value.py`, made from public sets that lie in one folder (`--data-root`, or ARCHSCOUT_DATA).

The folder has `images/` with `mnist.npz`, `fashion_mnist.npz`, `cifar10.npz` (arrays `x_train`, `y_train`, `x_test`,
`y_test`), `cifar10_jpeg.npz` and `cifar100_jpeg.npz` (JPEG bytes, as `archscout` reads them), and `audio/` with
`spoken_digits.npz` (recordings of the Free Spoken Digit Dataset: `audio`, `offsets`, `labels`, `is_test`).

Each maker gives a task whose `valid` is drawn from its training examples. AddNIST, MultNIST and CIFARTile are made as
the competition on unseen data describes them (github.com/Towers-D/NAS-Unseen-Datasets); here they are drawn from the
sets above, which are smaller than the competition's, so that accuracies are not comparable with those reported there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from archscout.core.seeds import stream
from archscout.tasks.assemble import Raw, assemble
from archscout.tasks.files import read_npz
from archscout.tasks.images import ImageClassification
from archscout.tasks.load import load

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Training images and labels, test images and labels."""

PHOTO_CLASSES, PHOTO_EXAMPLES = 10, 80
SAMPLE_RATE, FRAME, HOP, MELS = 8000, 512, 256, 32


def make(name: str, root: Path, work: Path) -> ImageClassification:
    """The task of a name in `MAKERS`; `work` is where folders of images are written."""
    return MAKERS[name](root, work)


# -- sets as they are -------------------------------------------------------------------------------------------------


def _digits(root: Path, work: Path) -> ImageClassification:
    return load("digits")  # type: ignore[return-value]


def _of_file(name: str, file: str, train: int | None = None) -> Callable[[Path, Path], ImageClassification]:
    def task(root: Path, work: Path) -> ImageClassification:
        raw, class_names = read_npz(root / "images" / file)
        if train is not None:
            rows = stream(0, "value", name).permutation(len(raw["train"].y))[:train]
            raw["train"] = Raw(raw["train"].x[rows], raw["train"].y[rows], name, name)
        return assemble(name, name, raw, class_names)

    return task


def _task(name: str, arrays: Arrays, *, flip: bool = False) -> ImageClassification:
    x_train, y_train, x_test, y_test = arrays
    raw = {"train": Raw(x_train, y_train, name, name), "test": Raw(x_test, y_test, name, name)}
    return assemble(name, name, raw, flip=flip)


# -- spoken digits as pictures ----------------------------------------------------------------------------------------


def _spoken(root: Path, work: Path) -> ImageClassification:
    """Log-mel spectrograms of one second, 32 bands x 32 frames, grey."""
    with np.load(root / "audio" / "spoken_digits.npz", allow_pickle=False) as file:
        audio, offsets, labels, is_test = (file[key] for key in ("audio", "offsets", "labels", "is_test"))
    samples = FRAME + HOP * (MELS - 1)
    waves = np.zeros((len(labels), samples), np.float32)
    for row, (start, end) in enumerate(itertools.pairwise(offsets)):
        wave = audio[start : min(end, start + samples)]
        waves[row, : len(wave)] = wave / 32768
    logs = np.log(log_mel_energies(waves) + 1e-6)
    low, high = np.percentile(logs[~is_test], [1, 99])
    x = np.rint(((logs - low) / (high - low)).clip(0, 1) * 255).astype(np.uint8)
    y = labels.astype(np.int64)
    return _task("spoken", (x[~is_test], y[~is_test], x[is_test], y[is_test]))


def log_mel_energies(waves: np.ndarray) -> np.ndarray:
    """Energies in mel bands: N x samples to N x MELS x frames (before the logarithm)."""
    frames = np.lib.stride_tricks.sliding_window_view(waves, FRAME, axis=1)[:, ::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(FRAME), axis=2)) ** 2
    return np.einsum("nfk,mk->nmf", power, mel_filters()).astype(np.float32)


def mel_filters() -> np.ndarray:
    """Triangles that overlap by half, evenly spaced in mel (2595 log10(1 + f / 700)): MELS x (FRAME / 2 + 1)."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, MELS + 2) / 2595) - 1)
    frequencies = np.linspace(0, SAMPLE_RATE / 2, FRAME // 2 + 1)
    rising = (frequencies - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    falling = (corners[2:, None] - frequencies) / (corners[2:] - corners[1:-1])[:, None]
    return np.minimum(rising, falling).clip(0)  # type: ignore[no-any-return]


# -- a folder of photographs ------------------------------------------------------------------------------------------


def _photos(root: Path, work: Path) -> ImageClassification:
    """A folder as a user has it: 80 pictures of each of ten classes of CIFAR-100 to train on, the others to test."""
    folder = work / "photos800"
    if not (folder / "complete").is_file():
        raw, class_names = read_npz(root / "images" / "cifar100_jpeg.npz")
        assert class_names is not None
        rng = stream(0, "value", "photos")
        chosen = np.sort(rng.choice(len(class_names), PHOTO_CLASSES, replace=False))
        for label in chosen:
            pictures = np.concatenate([raw[split].x[raw[split].y == label] for split in ("train", "test")])
            for row, picture in enumerate(pictures[rng.permutation(len(pictures))]):
                split = "train" if row < PHOTO_EXAMPLES else "test"
                file = folder / split / class_names[label] / f"{row:03d}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(file)
        (folder / "complete").touch()
    return load(folder)  # type: ignore[return-value]


# -- the exam of unseen data ------------------------------------------------------------------------------------------


def _addnist(root: Path, work: Path) -> ImageClassification:
    return _task("addnist", (*_three_digits(root, "train", 20_000, _sum), *_three_digits(root, "test", 5_000, _sum)))


def _multnist(root: Path, work: Path) -> ImageClassification:
    splits = (*_three_digits(root, "train", 20_000, _product), *_three_digits(root, "test", 5_000, _product))
    return _task("multnist", splits)


def _sum(digits: np.ndarray) -> np.ndarray:
    """r + g + b - 1, where that is one of 20 classes; -1 elsewhere."""
    total = digits.sum(1) - 1
    return np.where((total >= 0) & (total < 20), total, -1)


def _product(digits: np.ndarray) -> np.ndarray:
    return digits.prod(1) % 10  # type: ignore[no-any-return]


def _three_digits(
    root: Path, split: str, count: int, label: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Images whose red, green and blue are three digits, with what `label` makes of the digits (not those below 0)."""
    raw, _ = read_npz(root / "images" / "mnist.npz")
    x, y = raw[split].x, raw[split].y.astype(np.int64)
    x = x.reshape(len(x), *x.shape[1:3])
    rng = stream(0, "value", label.__name__, split)
    rows = rng.integers(len(y), size=(2 * count, 3))
    labels = label(y[rows])
    rows, labels = rows[labels >= 0][:count], labels[labels >= 0][:count]
    return np.stack([x[rows[:, colour]] for colour in range(3)], -1), labels


def _cifartile(root: Path, work: Path) -> ImageClassification:
    return _task("cifartile", (*_tiles(root, "train", 15_000), *_tiles(root, "test", 4_000)), flip=True)


def _tiles(root: Path, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Four images in a square; the class is the number of different labels, less one, each equally often."""
    raw, _ = read_npz(root / "images" / "cifar10_jpeg.npz")
    x, y = raw[split].x, raw[split].y.astype(np.int64)
    rows_of = [np.flatnonzero(y == label) for label in range(10)]
    rng = stream(0, "value", "cifartile", split)
    images = np.empty((count, 64, 64, 3), np.uint8)
    classes = np.arange(count) % 4
    for row, different in enumerate(classes + 1):
        labels = rng.choice(10, different, replace=False)
        four = rng.permutation(np.concatenate([labels, rng.choice(labels, 4 - different)]))
        tiles = [x[rng.choice(rows_of[label])] for label in four]
        images[row] = np.concatenate([np.concatenate(tiles[:2], 1), np.concatenate(tiles[2:], 1)], 0)
    order = rng.permutation(count)
    return images[order], classes[order]


MAKERS: dict[str, Callable[[Path, Path], ImageClassification]] = {
    "digits": _digits,
    "mnist": _of_file("mnist", "mnist.npz"),
    "fashion": _of_file("fashion", "fashion_mnist.npz"),
    "spoken": _spoken,
    "cifar10-3000": _of_file("cifar10-3000", "cifar10.npz"),
    "cifar10-20000": _of_file("cifar10-20000", "cifar10_jpeg.npz", 20_000),
    "cifar100-10000": _of_file("cifar100-10000", "cifar100_jpeg.npz"),
    "photos800": _photos,
    "addnist": _addnist,
    "multnist": _multnist,
    "cifartile": _cifartile,
}
