"""Inherited accuracy in a supernet trained by random single paths, by its name in the study of 31 predictors."""

from __future__ import annotations

from collections.abc import Sequence

from archscout.core.architecture import Architecture
from archscout.core.registry import register
from archscout.estimators.supernet import Inherited
from archscout.supernets.evaluate import Data, scores
from archscout.supernets.supernet import Supernet


@register("estimator", "rsws")
class RandomSharing(Inherited):
    """Inherited validation accuracy after random search with weight sharing (Li, Talwalkar 2019, arXiv 1902.07638).

    Args:
        steps, batch: see `archscout.estimators.supernet.Inherited`.
    """

    name = "rsws"

    def _value(self, supernet: Supernet, architecture: Architecture, batches: Sequence[Data]) -> float:
        return scores(supernet, [architecture], batches)[0]
