"""A tiny task that needs no file: patterns with noise, for tests."""

from __future__ import annotations

import numpy as np

from archscout.core.seeds import stream
from archscout.core.task import Split
from archscout.tasks.images import ImageClassification


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
