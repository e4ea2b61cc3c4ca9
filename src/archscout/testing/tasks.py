"""Tiny tasks of every kind that need no file: patterns with noise, for tests."""

from __future__ import annotations

import numpy as np

from archscout.core.seeds import stream
from archscout.core.task import Split
from archscout.tasks.audio import AudioClassification
from archscout.tasks.heads import Head, SeveralHeads
from archscout.tasks.images import ImageClassification
from archscout.tasks.lines import TextLines
from archscout.tasks.multilabel import MultiLabel
from archscout.tasks.ordinal import OrdinalImages
from archscout.tasks.regression import ImageRegression
from archscout.tasks.rows import RowsClassification
from archscout.tasks.segmentation import Segmentation
from archscout.tasks.series import SeriesClassification
from archscout.tasks.table import Column
from archscout.tasks.verification import SpeakerVerification


def tiny_task(
    shape: tuple[int, int, int] = (1, 8, 8), classes: int = 3, examples: int = 48, seed: int = 0
) -> ImageClassification:
    """A task of image classification that a small network learns in a few epochs.

    Args:
        shape: channels, height and width of an image, in pixels.
        classes: how many; each is a fixed pattern to which noise is added.
        examples: how many images are in each of the three splits; the classes take turns.
        seed: of the patterns and the noise.
    """
    channels, height, width = shape
    rng = stream(seed, "tiny task", channels, height, width, classes)
    patterns = rng.uniform(40, 215, (classes, height, width, channels))

    def split() -> Split:
        y = np.arange(examples, dtype=np.int64) % classes
        x = patterns[y] + rng.normal(0, 25, (examples, height, width, channels))
        return Split(x.clip(0, 255).round().astype(np.uint8), y)

    names = tuple(f"pattern {number}" for number in range(classes))
    return ImageClassification(f"tiny{height}x{width}", shape, classes, split(), split(), split(), names)


def tiny_multilabel(examples: int = 48, seed: int = 0) -> MultiLabel:
    """Grey images of 8 x 8 pixels with any of three bright corners, whose labels they are."""

    def split(name: str) -> Split:
        rng = stream(seed, "tiny labels", name)
        y = (rng.random((examples, 3)) < 0.5).astype(np.int64)
        x = rng.normal(60, 20, (examples, 8, 8, 1))
        for label, (row, column) in enumerate(((0, 0), (0, 5), (5, 0))):
            x[:, row : row + 3, column : column + 3, 0] += 120 * y[:, label, None, None]
        return Split(x.clip(0, 255).round().astype(np.uint8), y)

    names = ("top left", "top right", "bottom left")
    return MultiLabel("tiny labels", (1, 8, 8), 3, split("train"), split("valid"), split("test"), names, shift=0)


def tiny_regression(examples: int = 48, seed: int = 0) -> ImageRegression:
    """Grey images of 8 x 8 pixels with a number between 100 and 300, which follows from how bright they are."""

    def split(name: str) -> Split:
        rng = stream(seed, "tiny numbers", name)
        bright = rng.random(examples)
        x = 40 + 160 * bright[:, None, None, None] + rng.normal(0, 10, (examples, 8, 8, 1))
        return Split(x.clip(0, 255).round().astype(np.uint8), (100 + 200 * bright[:, None]).astype(np.float32))

    return ImageRegression("tiny numbers", (1, 8, 8), 1, split("train"), split("valid"), split("test"), ("brightness",))


def tiny_segmentation(examples: int = 48, seed: int = 0, side: int = 8) -> Segmentation:
    """Grey images of `side` x `side` pixels with a bright square on dark ground; a stripe of pixels has no class."""

    def split(name: str) -> Split:
        rng = stream(seed, "tiny masks", name)
        y = np.zeros((examples, side, side), np.int64)
        for mask, (row, column) in zip(y, rng.integers(0, side - 3, (examples, 2)), strict=True):
            mask[row : row + 4, column : column + 4] = 1
        x = 50 + 130 * y[..., None] + rng.normal(0, 15, (examples, side, side, 1))
        y[:, :, side - 1] = -1
        return Split(x.clip(0, 255).round().astype(np.uint8), y)

    names = ("ground", "square")
    return Segmentation(
        "tiny masks", (1, side, side), 2, split("train"), split("valid"), split("test"), names, flip=True, shift=1
    )


def tiny_audio(examples: int = 48, seed: int = 0) -> AudioClassification:
    """Recordings of an eighth of a second at 4,000 samples a second: a low, a middle or a high tone in noise."""

    def split(name: str) -> Split:
        rng = stream(seed, "tiny audio", name)
        y = np.arange(examples, dtype=np.int64) % 3
        hertz = np.asarray([300, 700, 1500])[y] * rng.uniform(0.95, 1.05, examples)
        time = np.arange(512) / 4000
        x = 0.5 * np.sin(2 * np.pi * hertz[:, None] * time + rng.uniform(0, 6.28, (examples, 1)))
        return Split((x + rng.normal(0, 0.05, x.shape)).astype(np.float32), y)

    return AudioClassification(
        "tiny audio", (1, 12, 15), 3, split("train"), split("valid"), split("test"), ("low", "middle", "high"),
        rate=4000, samples=512, window=64, hop=32, shift=1, bands=2,
    )  # fmt: skip


def tiny_series(channels: int = 2, length: int = 32, examples: int = 48, seed: int = 0) -> SeriesClassification:
    """Series with a bump that is narrow, wide or doubled, somewhere in noise."""

    def split(name: str) -> Split:
        rng = stream(seed, "tiny series", name, channels, length)
        y = np.arange(examples, dtype=np.int64) % 3
        place = np.arange(length) - rng.uniform(length / 3, 2 * length / 3, (examples, 1))
        width = np.asarray([1.0, 4.0, 1.0])[y][:, None]
        bump = np.exp(-((place / width) ** 2)) + (y == 2)[:, None] * np.exp(-(((place - 5) / width) ** 2))
        x = bump[:, None] * np.arange(1, channels + 1)[:, None] + rng.normal(0, 0.1, (examples, channels, length))
        return Split((3 + 2 * x).astype(np.float32), y)

    names = ("narrow", "wide", "double")
    shape = (channels, length)
    return SeriesClassification(
        "tiny series", shape, 3, split("train"), split("valid"), split("test"), names, shift=1, hidden=2
    )


def tiny_ordinal(examples: int = 48, seed: int = 0) -> OrdinalImages:
    """Grey images of 8 x 8 pixels of one of four levels of brightness, in noise."""

    def split(name: str) -> Split:
        rng = stream(seed, "tiny ordinal", name)
        y = np.arange(examples, dtype=np.int64) % 4
        x = 60 + 40 * y[:, None, None, None] + rng.normal(0, 12, (examples, 8, 8, 1))
        return Split(x.clip(0, 255).round().astype(np.uint8), y)

    names = ("dark", "dim", "light", "bright")
    return OrdinalImages("tiny ordinal", (1, 8, 8), 3, split("train"), split("valid"), split("test"), names, shift=0)


def tiny_rows(examples: int = 48, seed: int = 0) -> RowsClassification:
    """Rows of two numbers, one of them missing now and then, and a category of two; three classes by all of them."""
    columns = (Column("near"), Column("far"), Column("side", ("left", "right")))

    def split(name: str) -> Split:
        rng = stream(seed, "tiny rows", name)
        y = np.arange(examples, dtype=np.int64) % 3
        numbers = np.column_stack([y == 0, y == 2]) * 2.0 + rng.normal(0, 0.3, (examples, 2))
        numbers[rng.random(examples) < 0.1, 1] = np.nan
        side = (y == 2) ^ (rng.random(examples) < 0.1)
        return Split(np.column_stack([numbers, ~side, side]).astype(np.float32), y)

    splits = split("train"), split("valid"), split("test")
    return RowsClassification("tiny rows", (5,), 3, *splits, ("a", "b", "c"), columns=columns, gaps=(1,))


def tiny_heads(examples: int = 48, seed: int = 0) -> SeveralHeads:
    """The three tasks of `tiny_task`, `tiny_multilabel` and `tiny_regression`, asked of one image."""
    heads = (
        Head("side", "class", ("left", "right")),
        Head("marks", "labels", ("top", "bottom")),
        Head("brightness", "numbers", ("brightness",)),
    )

    def split(name: str) -> Split:
        rng = stream(seed, "tiny heads", name)
        side, bright = rng.integers(0, 2, examples), rng.random(examples)
        marks = (rng.random((examples, 2)) < 0.5).astype(float)
        x = 40 + 80 * bright[:, None, None, None] + rng.normal(0, 8, (examples, 8, 8, 1))
        x[np.arange(examples), 3:5, np.where(side == 0, 0, 7)] += 100
        x[:, 0, 3:5, 0] += 100 * marks[:, :1]
        x[:, 7, 3:5, 0] += 100 * marks[:, 1:]
        y = np.column_stack([side, marks, 100 + 200 * bright])
        return Split(x.clip(0, 255).round().astype(np.uint8), y)

    splits = split("train"), split("valid"), split("test")
    return SeveralHeads("tiny heads", (1, 8, 8), 5, *splits, shift=0, heads=heads)


def tiny_lines(examples: int = 48, seed: int = 0) -> TextLines:
    """Grey lines of 16 x 32 pixels with one to three signs: a bar above, a bar below, or an upright one."""
    signs = np.zeros((3, 16, 6), np.uint8)
    signs[0, 3:6, 1:5] = signs[1, 11:14, 1:5] = signs[2, 2:14, 2:4] = 220

    def split(name: str) -> Split:
        rng = stream(seed, "tiny lines", name)
        y = rng.integers(0, 3, (examples, 3))
        y[np.arange(3) >= rng.integers(1, 4, examples)[:, None]] = -1
        x = np.zeros((examples, 16, 32, 1))
        for line, row in zip(x, y, strict=True):
            for place, sign in enumerate(row[row >= 0]):
                left = 10 * place + int(rng.integers(0, 3))
                line[:, left : left + 6, 0] = signs[sign]
        return Split((x + rng.normal(15, 5, x.shape)).clip(0, 255).round().astype(np.uint8), y.astype(np.int64))

    splits = split("train"), split("valid"), split("test")
    return TextLines("tiny lines", (1, 16, 32), 4, *splits, ("-", "_", "|"), places=8, shift=1)


def tiny_speakers(examples: int = 48, seed: int = 0) -> SpeakerVerification:
    """Recordings as `tiny_audio` has them, of speakers with a pitch each: four to train on, two others in a split."""

    def split(name: str, speakers: tuple[int, ...]) -> Split:
        rng = stream(seed, "tiny speakers", name)
        y = np.asarray(speakers)[np.arange(examples) % len(speakers)].astype(np.int64)
        hertz = np.asarray([300, 500, 800, 1200, 400, 1000, 600, 1500])[y] * rng.uniform(0.95, 1.05, examples)
        time = np.arange(512) / 4000
        x = 0.5 * np.sin(2 * np.pi * hertz[:, None] * time + rng.uniform(0, 6.28, (examples, 1)))
        return Split((x + rng.normal(0, 0.05, x.shape)).astype(np.float32), y)

    splits = split("train", (0, 1, 2, 3)), split("valid", (4, 5)), split("test", (6, 7))
    return SpeakerVerification(
        "tiny speakers", (1, 12, 15), 12, *splits, tuple("abcdefgh"), rate=4000, samples=512, window=64, hop=32,
        shift=1, bands=2, embedding=8, known=(0, 1, 2, 3),
    )  # fmt: skip
