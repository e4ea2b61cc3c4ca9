"""Variational sparse Gaussian process, with the settings of the study of 31 predictors."""

from __future__ import annotations

from typing import ClassVar

from archscout.core.registry import register
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.processes import KernelProcess


@register("estimator", "var_sparse_gp")
def var_sparse_gp(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """Variational sparse Gaussian process (Titsias 2009) on the one-hot graph, of the study of 31 predictors (2021)."""
    return Learned("var_sparse_gp", Variational(seed=seed), encoding, scores)


class Variational(KernelProcess):
    """The process as seen through 50 training samples, by a lower bound of the evidence; 200 steps.

    Titsias (2009), Variational learning of inducing variables in sparse Gaussian processes. Parameters: see
    `Predictor`.
    """

    steps: ClassVar[int] = 200
    inducing: ClassVar[int | None] = 50
