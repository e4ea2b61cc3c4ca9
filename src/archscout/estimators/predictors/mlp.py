"""Multilayer perceptrons: one, or several side by side of which the mean and the deviation are taken."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.registry import register
from archscout.core.space import Space
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.network import Inputs, Network
from archscout.estimators.predictors.training import Schedule


@register("estimator", "mlp")
def mlp(encoding: str = "default", scores: str = "", tune: int = 0, seed: int = 0) -> Learned:
    """A deep, narrow perceptron on the one-hot graph, of the study of 31 predictors (White et al. 2021)."""
    return Learned("mlp", MLP(seed=seed), encoding, scores, tune=tune)


class MLP(Network):
    """20 layers of 20 units, absolute error, with a penalty on the weights of the last layer.

    The settings of the study of White, Zela, Ru, Liu, Hutter (2021, arXiv 2104.01177): 500 epochs in batches of 32,
    Adam at 0.001, the sum of the absolute weights of the last layer times 0.2. The deviation is that between members,
    NaN for one.

    Args:
        space, encoding, widths, epochs, seed: see `Network`.
        members: perceptrons that differ in their first weights.
        layers: hidden ones.
        width: of a layer.
        rate: the learning rate.
    """

    usual: ClassVar[str] = "adjacency"
    schedule: ClassVar[Schedule] = Schedule(epochs=500, batch=32, rate=1e-3, betas=(0.9, 0.99), cosine=False)

    def __init__(
        self,
        space: Space | None = None,
        encoding: str | None = None,
        widths: tuple[int, ...] | None = None,
        epochs: int | None = None,
        seed: int = 0,
        *,
        members: int = 1,
        layers: int = 20,
        width: int = 20,
        rate: float = 1e-3,
    ) -> None:
        super().__init__(space, encoding, widths, epochs, seed)
        self.members, self.layers, self.width, self.rate = members, layers, width, rate

    def drawn(self, rng: np.random.Generator) -> dict[str, Any]:
        return {
            "layers": int(rng.integers(5, 25)), "width": int(rng.integers(5, 25)),
            "rate": float(rng.choice([0.1, 0.01, 0.005, 0.001, 0.0001])),
        }  # fmt: skip

    def _how(self) -> Schedule:
        return replace(super()._how(), rate=self.rate)

    def _build(self, inputs: Inputs) -> nn.Module:
        return Perceptrons([inputs[0].shape[1], *[self.width] * self.layers, 1], self.members)

    def _loss(self, network: nn.Module, inputs: Inputs, target: Tensor) -> Tensor:
        assert isinstance(network, Perceptrons)
        errors = (network(*inputs) - target[:, None]).abs().mean(dim=0).sum()
        out: Tensor = errors + 0.2 * network.weights[-1].abs().sum()
        return out

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        said = self._outputs(matrix) * self.unit_ + self.centre_
        return said.mean(axis=1), said.std(axis=1, ddof=1) if self.members > 1 else np.full(len(said), np.nan)


class Perceptrons(nn.Module):
    """Perceptrons of one shape, computed together: (N, D) becomes (N, members)."""

    def __init__(self, sizes: list[int], members: int) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for inputs, outputs in itertools.pairwise(sizes):
            # Glorot's: with smaller weights nothing gets through twenty layers.
            bound = math.sqrt(6 / (inputs + outputs))
            self.weights.append((2 * torch.rand(members, inputs, outputs) - 1) * bound)
            self.biases.append(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        state = x.expand(len(self.weights[0]), *x.shape)
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            state = torch.baddbmm(bias, state, weight)
            if place < len(self.weights) - 1:
                state = torch.relu(state)
        return state[:, :, 0].T
