"""A Gaussian process over neighbourhoods in the graph, told apart by Weisfeiler-Lehman refinement."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from archscout.core.registry import register
from archscout.estimators.encodings.wl import BUCKETS, ROUNDS
from archscout.estimators.predictors.base import Predictor
from archscout.estimators.predictors.gaussian_process import MOST, Process, on_the_values, sample
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.targets import Scale


@register("estimator", "wl_gp")
def wl_gp(seed: int = 0) -> Learned:
    """Gaussian process with a Weisfeiler-Lehman kernel (NAS-BOWL, Ru et al. 2021, arXiv 2006.07556)."""
    return Learned("wl_gp", WLProcess(seed=seed))


class WLProcess(Predictor):
    """A process whose kernel falls with the angle between histograms of neighbourhoods.

    For each round of refinement (0 to 2) the distance of two graphs is that of their histograms at unit length, twice
    1 minus the kernel of Shervashidze et al. (2011), squared; a Matern 3/2 kernel takes their weighted sum. Weights,
    variance and noise maximise the evidence times a prior, as in `GaussianProcess`.

    The published kernel is the cosine itself, which makes the process linear in the histograms. With it, predictions on
    NAS-Bench-201 get worse with more samples: these hold ever more isomorphic graphs, whose values agree, so the
    evidence takes the noise for small, and a model that cannot bend is made to go through every sample.

    The columns are those of the encoding `wl`. Values are first brought to a scale of ranks and values (`Scale`);
    published is the logarithm of the error, which has as long a tail where some networks fail. Rests on 2,000 samples
    at most, random ones of more. Parameters: see `Predictor`.
    """

    usual: ClassVar[str] = "wl"

    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        self.scale_ = Scale(y)
        rows = sample(len(y), MOST, self.seed)
        units = unit_histograms(matrix[rows])
        self.process_ = Process(units, self.scale_.up(y[rows]), rounds(units.shape[1]), self.seed, scaled=False)

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return on_the_values(self.scale_, *self.process_.predict(unit_histograms(matrix)))


def rounds(columns: int) -> tuple[int, ...]:
    """How many of the columns each round of refinement has; a matrix without the later rounds is one block."""
    labels = columns - BUCKETS * ROUNDS
    return (labels, *[BUCKETS] * ROUNDS) if labels > 0 else (columns,)


def unit_histograms(matrix: np.ndarray) -> np.ndarray:
    """The histogram of each round at length 1: products of rows are cosines; nothing where a histogram is empty."""
    parts = np.split(matrix, np.cumsum(rounds(matrix.shape[1]))[:-1], axis=1)
    return np.concatenate([part / np.maximum(np.linalg.norm(part, axis=1), 1e-12)[:, None] for part in parts], axis=1)
