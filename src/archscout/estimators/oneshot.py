"""Inherited accuracy in a supernet that runs all options at once, by its name in the study of 31 predictors."""

from __future__ import annotations

from typing import ClassVar

from archscout.core.registry import register
from archscout.estimators.rsws import RandomSharing
from archscout.supernets.plans import Plan, dense


@register("estimator", "oneshot")
class OneShot(RandomSharing):
    """Inherited validation accuracy in a supernet whose options all run at once, as in DARTS (arXiv 1806.09055).

    The mixture is uniform and stays so. Only for spaces whose options can be mixed.

    Args:
        steps, batch: see `archscout.estimators.supernet.Inherited`.
    """

    name = "oneshot"
    plan: ClassVar[Plan] = staticmethod(dense)
