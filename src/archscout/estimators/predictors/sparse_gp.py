"""Sparse Gaussian process (FITC), with the settings of the study of 31 predictors."""

from __future__ import annotations

from typing import ClassVar

from archscout.core.registry import register
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.processes import KernelProcess


@register("estimator", "sparse_gp")
def sparse_gp(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """Sparse Gaussian process, FITC (Snelson, Ghahramani 2006), on the one-hot graph, of the study of 2021."""
    return Learned("sparse_gp", FITC(seed=seed), encoding, scores)


class FITC(KernelProcess):
    """The process as seen through 50 training samples, each sample's own variance kept; 100 steps.

    Snelson, Ghahramani (2006), Sparse Gaussian processes using pseudo-inputs. Parameters: see `Predictor`.
    """

    steps: ClassVar[int] = 100
    inducing: ClassVar[int | None] = 50
    diagonal: ClassVar[bool] = True
