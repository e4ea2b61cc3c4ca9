"""The handwritten digits that scikit-learn ships."""

from __future__ import annotations

import numpy as np

from archscout.core.registry import register
from archscout.core.task import Task
from archscout.tasks.assemble import Raw, assemble


@register("task", "digits")
def digits(
    *,
    train: int | None = None,
    valid: int | None = None,
    test: int | None = None,
    size: int | None = None,
    flip: bool = False,
) -> Task:
    """1,797 real handwritten digits of 8 x 8 grey pixels, shipped with scikit-learn: no download, seconds to train.

    The stored images are uint8: the 17 ink levels 0 to 16 of the source times 255 / 16, rounded. Source: Alpaydin,
    Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI repository (its test set).
    """
    from sklearn.datasets import load_digits  # a second of import, which other tasks can do without

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    source = "task 'digits'"
    raw = {"train": Raw(pixels, bunch.target, source, source)}
    drawn = {name: count for name, count in (("valid", valid), ("test", test)) if count is not None}
    return assemble("digits", source, raw, train=train, size=size, flip=flip, drawn=drawn)
