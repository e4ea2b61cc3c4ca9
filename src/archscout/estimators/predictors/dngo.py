"""DNGO: Bayesian linear regression on the last layer of a trained network."""

from __future__ import annotations

import itertools
from typing import ClassVar

import numpy as np
import torch
from sklearn.linear_model import BayesianRidge
from torch import Tensor, nn

from archscout.core.registry import register
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.network import Inputs, Network
from archscout.estimators.predictors.training import Schedule


@register("estimator", "dngo")
def dngo(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """Bayesian linear regression on what a network has learned (Snoek et al. 2015, arXiv 1502.05700)."""
    return Learned("dngo", DNGO(seed=seed), encoding, scores)


class DNGO(Network):
    """Three layers of 50 units (tanh), trained for the squared error; the last is a basis for a Bayesian regression.

    Settings as in the study of White et al. (2021, arXiv 2104.01177): 500 epochs in batches of 10, Adam at 0.01; the
    precisions of weights and noise start at 1 and 1,000. There they are drawn twenty times by a Markov chain; here they
    maximise the evidence. Parameters: see `Network`.
    """

    usual: ClassVar[str] = "adjacency"
    schedule: ClassVar[Schedule] = Schedule(epochs=500, batch=10, rate=0.01, cosine=False)

    def _prepare(self, matrix: np.ndarray) -> None:
        self.middle_, spread = matrix.mean(axis=0), matrix.std(axis=0)
        self.stretch_ = np.where(spread > 1e-9, 1 / np.maximum(spread, 1e-9), 0.0)

    def _inputs(self, matrix: np.ndarray) -> Inputs:
        return super()._inputs((matrix - self.middle_) * self.stretch_)

    def _build(self, inputs: Inputs) -> nn.Module:
        return Basis(inputs[0].shape[1])

    def _train(self, inputs: Inputs, target: Tensor, rng: np.random.Generator) -> None:
        super()._train(inputs, target, rng)
        assert isinstance(self.network_, Basis)
        with torch.no_grad():
            basis = self.network_.basis(*inputs).numpy().astype(np.float64)
        self.head_ = BayesianRidge(alpha_init=1000.0, lambda_init=1.0).fit(basis, target.numpy().astype(np.float64))

    @torch.no_grad()
    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert isinstance(self.network_, Basis)
        basis = torch.cat([self.network_.basis(*inputs) for inputs in self._chunks(matrix)]).numpy().astype(np.float64)
        mean, std = self.head_.predict(basis, return_std=True)
        return mean * self.unit_ + self.centre_, std * self.unit_


class Basis(nn.Module):
    """A perceptron whose last hidden layer can be asked for."""

    def __init__(self, columns: int, width: int = 50, layers: int = 3) -> None:
        super().__init__()
        sizes = [columns, *[width] * layers]
        pairs = itertools.pairwise(sizes)
        self.basis = nn.Sequential(*(part for pair in pairs for part in (nn.Linear(*pair), nn.Tanh())))
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.basis(x))[:, 0]
        return out
