"""The predictor of BANANAS: three perceptrons on the path encoding."""

from __future__ import annotations

from typing import ClassVar

from archscout.core.registry import register
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.mlp import MLP


@register("estimator", "bananas")
def bananas(encoding: str = "default", scores: str = "", tune: int = 0, seed: int = 0) -> Learned:
    """Three perceptrons on the path encoding (BANANAS, White, Neiswanger, Savani 2021, arXiv 1910.11858)."""
    return Learned("bananas", Bananas(seed=seed, members=3), encoding, scores, tune=tune)


class Bananas(MLP):
    """Perceptrons on the path encoding, with the settings of the study of 2021. Parameters: see `MLP`."""

    usual: ClassVar[str] = "path"
