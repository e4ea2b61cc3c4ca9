"""Minus the last validation loss so far."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from archscout.core.registry import register
from archscout.estimators.curves.base import Curve, CurveReader


@register("estimator", "valloss")
class ValLoss(CurveReader):
    """Minus the last validation loss so far.

    Args:
        epochs: see `CurveReader`.
    """

    name = "valloss"
    measure: ClassVar[str] = "valid_loss"

    def read(self, curve: Curve, final: int) -> np.ndarray:
        return np.asarray(-curve.values[:, -1])
