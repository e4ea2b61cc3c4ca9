"""The predictor of BONAS: a graph network that reads out a node which is joined to all others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.registry import register
from archscout.core.space import Space
from archscout.estimators.predictors.base import log_uniform
from archscout.estimators.predictors.dense import GraphNetwork, side_by_side, with_global
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.network import Inputs
from archscout.estimators.predictors.training import Schedule


@register("estimator", "bonas")
def bonas(encoding: str = "default", scores: str = "", tune: int = 0, seed: int = 0) -> Learned:
    """A graph network with a node that sees all others (BONAS, Shi et al. 2020, arXiv 1911.09336), of the study."""
    return Learned("bonas", BONAS(seed=seed), encoding, scores, tune=tune)


class BONAS(GraphNetwork):
    """Four graph convolutions of width 64 with batch normalisation; the global node is read out.

    Settings as in the study of White et al. (2021, arXiv 2104.01177): 100 epochs in batches of 128, Adam at 1e-4.
    That is a hundred steps for 128 samples or fewer, which is too little; the study tunes what it starts from (`tune`).

    Args:
        space, encoding, widths, epochs, seed: see `Network`.
        hidden: width of the convolutions.
        batch: architectures a step.
        rate: the learning rate.
    """

    usual: ClassVar[str] = "graph"
    schedule: ClassVar[Schedule] = Schedule(epochs=100, batch=128, rate=1e-4)

    def __init__(
        self,
        space: Space | None = None,
        encoding: str | None = None,
        widths: tuple[int, ...] | None = None,
        epochs: int | None = None,
        seed: int = 0,
        *,
        hidden: int = 64,
        batch: int = 128,
        rate: float = 1e-4,
    ) -> None:
        super().__init__(space, encoding, widths, epochs, seed)
        self.hidden, self.batch, self.rate = hidden, batch, rate

    def drawn(self, rng: np.random.Generator) -> dict[str, Any]:
        return {
            "hidden": int(log_uniform(rng, 16, 128)), "batch": int(log_uniform(rng, 32, 256)),
            "rate": log_uniform(rng, 1e-5, 0.1),
        }  # fmt: skip

    def _how(self) -> Schedule:
        return replace(super()._how(), batch=self.batch, rate=self.rate)

    def _build(self, inputs: Inputs) -> nn.Module:
        return GlobalNetwork(inputs[1].shape[2], inputs[2].shape[1], self.hidden)


class GlobalNetwork(nn.Module):
    """From adjacency, operations and further columns to one number a graph."""

    def __init__(self, labels: int, side: int, hidden: int, layers: int = 4) -> None:
        super().__init__()
        sizes = [labels + 1, *[hidden] * layers]
        self.layers = nn.ModuleList(map(nn.Linear, sizes[:-1], sizes[1:]))
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) for _ in range(layers))
        self.head = nn.Linear(hidden + side, 1)

    def forward(self, adjacency: Tensor, operations: Tensor, side: Tensor) -> Tensor:
        receives, state = with_global(adjacency, operations)
        receives = receives / receives.sum(dim=2, keepdim=True).clamp(min=1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            state = torch.bmm(receives, layer(state))
            state = torch.relu(norm(state.flatten(0, 1)).reshape(state.shape))
        out: Tensor = self.head(side_by_side(state[:, -1], side))[:, 0]
        return out
