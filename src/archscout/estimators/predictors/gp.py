"""Gaussian process on the one-hot graph, by the name and with the settings of the study of 31 predictors."""

from __future__ import annotations

from typing import ClassVar

from archscout.core.registry import register
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.processes import KernelProcess


@register("estimator", "gp")
def gp(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """Gaussian process with a squared exponential kernel on the one-hot graph, of the study of 31 predictors (2021)."""
    return Learned("gp", ExactProcess(seed=seed), encoding, scores)


class ExactProcess(KernelProcess):
    """The process itself (Rasmussen, Williams 2006, chapter 2), 200 steps. Parameters: see `Predictor`."""

    steps: ClassVar[int] = 200
