"""The data of `value.py`, made from public sets that lie in one folder (`--data-root`, or ARCHSCOUT_DATA).

The folder has `images/` with `mnist.npz`, `fashion_mnist.npz`, `cifar10.npz` (arrays `x_train`, `y_train`, `x_test`,
`y_test`), `cifar10_jpeg.npz` and `cifar100_jpeg.npz` (JPEG bytes, as `archscout` reads them), and `audio/` with
`spoken_digits.npz` (recordings of the Free Spoken Digit Dataset: `audio`, `offsets`, `labels`, `is_test`).

Each maker writes a file or a folder as a user has one, and the task is what Archscout makes of it: `valid` is drawn
from the training examples. AddNIST, MultNIST and CIFARTile are made as the competition on unseen data describes them
(github.com/Towers-D/NAS-Unseen-Datasets); here they are drawn from the sets above, which are smaller than the
competition's, so that accuracies are not comparable with those reported there.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from archscout.core.seeds import stream
from archscout.core.task import Task
from archscout.tasks.load import load

Splits = dict[str, tuple[np.ndarray, np.ndarray]]
"""Images (N x H x W, or x 3; uint8) and labels of `train` and `test`."""

PHOTO_CLASSES, PHOTO_EXAMPLES = 10, 80
SAMPLE_RATE, FRAME, HOP, MELS = 8000, 512, 256, 32


def make(name: str, root: Path, work: Path) -> Task:
    """The task of a name in `MAKERS`; `work` is where what is made is written, once."""
    if name == "digits":
        return load("digits")
    if name == "photos800":
        return load(photos(root, work))
    file = work / "data" / f"{name}.npz"
    if not file.is_file():
        splits = MAKERS[name](root)
        arrays = {f"x_{split}": x for split, (x, _) in splits.items()}
        arrays |= {f"y_{split}": y for split, (_, y) in splits.items()}
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.with_suffix(".new").open("wb") as output:
            np.savez(output, **arrays)
        file.with_suffix(".new").replace(file)
    mirrored = name.startswith("cifar")
    return load(file, flip=mirrored)


# -- sets as they are -------------------------------------------------------------------------------------------------


def read(root: Path, file: str) -> Splits:
    """The splits of a file of the folder; JPEG bytes are decoded."""
    splits = {}
    with np.load(root / "images" / file, allow_pickle=False) as arrays:
        for split in ("train", "test"):
            if f"x_{split}" in arrays:
                x = arrays[f"x_{split}"]
            else:
                data, offsets = arrays[f"jpeg_{split}"].tobytes(), arrays[f"offsets_{split}"].tolist()
                x = np.stack([np.asarray(Image.open(io.BytesIO(data[a:b]))) for a, b in itertools.pairwise(offsets)])
            splits[split] = x, arrays[f"y_{split}"].astype(np.int64)
    return splits


def _of_file(file: str, train: int | None = None) -> Callable[[Path], Splits]:
    def maker(root: Path) -> Splits:
        splits = read(root, file)
        if train is not None:
            x, y = splits["train"]
            rows = stream(0, "value", file).permutation(len(y))[:train]
            splits["train"] = x[rows], y[rows]
        return splits

    return maker


# -- spoken digits as pictures ----------------------------------------------------------------------------------------


def _spoken(root: Path) -> Splits:
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
    return {"train": (x[~is_test], y[~is_test]), "test": (x[is_test], y[is_test])}


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


def photos(root: Path, work: Path) -> Path:
    """A folder as a user has it: 80 pictures of each of ten classes of CIFAR-100 to train on, the others to test."""
    folder, new = work / "data" / "photos800", work / "data" / "photos800.new"
    if not folder.is_dir():
        splits = read(root, "cifar100_jpeg.npz")
        rng = stream(0, "value", "photos")
        for label in np.sort(rng.choice(100, PHOTO_CLASSES, replace=False)):
            pictures = np.concatenate([x[y == label] for x, y in splits.values()])
            for row, picture in enumerate(pictures[rng.permutation(len(pictures))]):
                file = new / ("train" if row < PHOTO_EXAMPLES else "test") / f"class {label:02d}" / f"{row:03d}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(file)
        new.rename(folder)
    return folder


# -- the exam of unseen data ------------------------------------------------------------------------------------------


def _addnist(root: Path) -> Splits:
    return {"train": _three_digits(root, "train", 20_000, _sum), "test": _three_digits(root, "test", 5_000, _sum)}


def _multnist(root: Path) -> Splits:
    sizes = (("train", 20_000), ("test", 5_000))
    return {split: _three_digits(root, split, count, _product) for split, count in sizes}


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
    x, y = read(root, "mnist.npz")[split]
    rng = stream(0, "value", label.__name__, split)
    rows = rng.integers(len(y), size=(2 * count, 3))
    labels = label(y[rows])
    rows, labels = rows[labels >= 0][:count], labels[labels >= 0][:count]
    return np.stack([x[rows[:, colour]] for colour in range(3)], -1), labels


def _cifartile(root: Path) -> Splits:
    return {"train": _tiles(root, "train", 15_000), "test": _tiles(root, "test", 4_000)}


def _tiles(root: Path, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Four images in a square; the class is the number of different labels, less one, each equally often."""
    x, y = read(root, "cifar10_jpeg.npz")[split]
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


MAKERS: dict[str, Callable[[Path], Splits]] = {
    "mnist": _of_file("mnist.npz"),
    "fashion": _of_file("fashion_mnist.npz"),
    "spoken": _spoken,
    "cifar10-3000": _of_file("cifar10.npz"),
    "cifar10-20000": _of_file("cifar10_jpeg.npz", 20_000),
    "cifar10-50000": _of_file("cifar10_jpeg.npz"),
    "cifar100-10000": _of_file("cifar100_jpeg.npz"),
    "addnist": _addnist,
    "multnist": _multnist,
    "cifartile": _cifartile,
}
