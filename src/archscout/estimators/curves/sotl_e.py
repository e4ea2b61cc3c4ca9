"""Minus the training loss of the last epoch so far (SoTL-E, Ru et al. 2021, arXiv 2006.04492)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from archscout.core.registry import register
from archscout.estimators.curves.base import Curve, CurveReader


@register("estimator", "sotl_e")
class SoTLE(CurveReader):
    """Minus the training loss of the last epoch so far (SoTL-E, Ru et al. 2021, arXiv 2006.04492).

    Args:
        epochs: see `CurveReader`.
    """

    name = "sotl_e"
    measure: ClassVar[str] = "train_loss"

    def read(self, curve: Curve, final: int) -> np.ndarray:
        return np.asarray(-curve.values[:, -1])
