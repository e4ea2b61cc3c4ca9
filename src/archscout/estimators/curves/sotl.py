"""Minus the sum of the training losses so far (SoTL, Ru et al. 2021, arXiv 2006.04492)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from archscout.core.registry import register
from archscout.estimators.curves.base import Curve, CurveReader


@register("estimator", "sotl")
class SoTL(CurveReader):
    """Minus the sum of the training losses so far (SoTL, Ru et al. 2021, arXiv 2006.04492).

    A network that learns fast has a small area under its training loss; no validation data is looked at.

    Args:
        epochs: see `CurveReader`.
    """

    name = "sotl"
    measure: ClassVar[str] = "train_loss"
    every: ClassVar[bool] = True

    def read(self, curve: Curve, final: int) -> np.ndarray:
        return np.asarray(-curve.values.sum(axis=1))
