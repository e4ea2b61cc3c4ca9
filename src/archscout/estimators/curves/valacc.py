"""The last value of the validation metric so far."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from archscout.core.registry import register
from archscout.estimators.curves.base import Curve, CurveReader


@register("estimator", "valacc")
class ValAcc(CurveReader):
    """The last value of the validation metric so far.

    For a table whose metric is a loss, minus the loss.

    Args:
        epochs: see `CurveReader`.
    """

    name = "valacc"
    measure: ClassVar[str] = "valid"

    def read(self, curve: Curve, final: int) -> np.ndarray:
        return np.asarray(curve.values[:, -1])
