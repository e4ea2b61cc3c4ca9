"""A Gaussian process over neighbourhoods in the graph: the Weisfeiler-Lehman kernel."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from archscout.core.registry import register
from archscout.estimators.encodings.wl import BUCKETS, ROUNDS
from archscout.estimators.predictors.base import Predictor
from archscout.estimators.predictors.gaussian_process import on_the_values
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.targets import Scale

NOISES = np.geomspace(1e-4, 1.0, 13)
"""Variances of the noise, relative to that of the values, of which the likeliest is taken."""


@register("estimator", "wl_gp")
def wl_gp(seed: int = 0) -> Learned:
    """Gaussian process with the Weisfeiler-Lehman kernel (NAS-BOWL, Ru et al. 2021, arXiv 2006.07556)."""
    return Learned("wl_gp", WLProcess(seed=seed))


class WLProcess(Predictor):
    """A process whose kernel is the cosine between histograms of neighbourhoods.

    The number of rounds of refinement (0 to 2) and the variance of the noise have the highest evidence of a grid. The
    columns are those of the encoding `wl`. Values are first brought to a scale of ranks and values (`Scale`); published
    is the logarithm of the error, which has as long a tail where some networks fail. Parameters: see `Predictor`.
    """

    usual: ClassVar[str] = "wl"

    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        self.scale_ = Scale(y)
        up = self.scale_.up(y)
        self.centre_, self.unit_ = up.mean(), up.std()
        z = (up - self.centre_) / self.unit_
        ends = [matrix.shape[1] - BUCKETS * (ROUNDS - rounds) for rounds in range(ROUNDS + 1)]
        tried = [
            (self._evidence(kernel + noise * np.eye(len(z)), z), end, noise)
            for end in ends
            if end > 0
            for kernel in [histogram_kernel(matrix[:, :end], matrix[:, :end])]
            for noise in NOISES
        ]
        _, self.end_, self.noise_ = max(tried)
        self.known_ = matrix[:, : self.end_]
        self.factor_ = cholesky(histogram_kernel(self.known_, self.known_) + self.noise_ * np.eye(len(z)), lower=True)
        self.weights_ = cho_solve((self.factor_, True), z)
        self.variance_ = float(z @ self.weights_) / len(z)  # the likeliest scale of kernel and noise together

    @staticmethod
    def _evidence(kernel: np.ndarray, z: np.ndarray) -> float:
        """The logarithm of the evidence at the likeliest scale, without constants."""
        factor = cholesky(kernel, lower=True)
        inside = solve_triangular(factor, z, lower=True)
        return float(-0.5 * len(z) * np.log(inside @ inside) - np.log(np.diag(factor)).sum())

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kernel = histogram_kernel(matrix[:, : self.end_], self.known_)
        solved = solve_triangular(self.factor_, kernel.T, lower=True)
        variance = self.variance_ * np.maximum(1 + self.noise_ - (solved**2).sum(axis=0), 1e-9)
        mean = kernel @ self.weights_ * self.unit_ + self.centre_
        return on_the_values(self.scale_, mean, np.sqrt(variance) * self.unit_)


def histogram_kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cosine of all pairs of histograms; 1 for two that are empty."""
    lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None]
    return np.asarray(np.where(lengths > 0, a @ b.T / np.maximum(lengths, 1e-12), lengths == 0))
