"""A segmentation task from outside: which pixels of a dark image are stained."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from archscout.core.task import Split
from archscout.tasks.segmentation import Segmentation


@dataclass(frozen=True)
class Stains(Segmentation):
    """Pixels that are stained, and pixels that are not."""

    kind: ClassVar[str] = "stains"


def stains(*, examples: int = 24):
    """Dark images of 8 x 8 pixels with a bright stain."""

    def split(seed):
        rng = np.random.default_rng(seed)
        y = np.zeros((examples, 8, 8), np.int64)
        for mask, (row, column) in zip(y, rng.integers(0, 5, (examples, 2)), strict=True):
            mask[row : row + 4, column : column + 4] = 1
        return Split((40 + 150 * y[..., None]).astype(np.uint8), y)

    return Stains("stains", (1, 8, 8), 2, split(0), split(1), split(2), ("clean", "stained"), flip=True)
