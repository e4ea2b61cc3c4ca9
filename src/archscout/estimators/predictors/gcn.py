"""The Neural Predictor: graph convolutions along and against the edges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from archscout.core.registry import register
from archscout.core.space import Space
from archscout.estimators.predictors.base import log_uniform
from archscout.estimators.predictors.dense import (
    DirectedConvolution,
    GraphNetwork,
    mean_of,
    normalised,
    present,
    side_by_side,
)
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.network import Inputs
from archscout.estimators.predictors.training import Schedule


@register("estimator", "gcn")
def gcn(encoding: str = "default", scores: str = "", tune: int = 0, seed: int = 0) -> Learned:
    """The Neural Predictor, a directed graph network (Wen et al. 2020, arXiv 1912.00848), of the study of 2021."""
    return Learned("gcn", NeuralPredictor(seed=seed), encoding, scores, tune=tune)


class NeuralPredictor(GraphNetwork):
    """Four directed graph convolutions of width 144, the mean over nodes, a hidden layer of 128.

    Settings as in the study of White et al. (2021, arXiv 2104.01177): dropout 0.1, 300 epochs in batches of 7, Adam at
    1e-4 with weight decay 3e-4.

    Args:
        space, encoding, widths, epochs, seed: see `Network`.
        hidden: width of the convolutions.
        batch: architectures a step.
        rate: the learning rate.
        decay: of the weights.
    """

    usual: ClassVar[str] = "graph"
    schedule: ClassVar[Schedule] = Schedule(epochs=300, batch=7, rate=1e-4, decay=3e-4)

    def __init__(
        self,
        space: Space | None = None,
        encoding: str | None = None,
        widths: tuple[int, ...] | None = None,
        epochs: int | None = None,
        seed: int = 0,
        *,
        hidden: int = 144,
        batch: int = 7,
        rate: float = 1e-4,
        decay: float = 3e-4,
    ) -> None:
        super().__init__(space, encoding, widths, epochs, seed)
        self.hidden, self.batch, self.rate, self.decay = hidden, batch, rate, decay

    def drawn(self, rng: np.random.Generator) -> dict[str, Any]:
        return {
            "hidden": int(log_uniform(rng, 64, 200)), "batch": int(log_uniform(rng, 5, 32)),
            "rate": log_uniform(rng, 1e-5, 0.1), "decay": log_uniform(rng, 1e-5, 0.1),
        }  # fmt: skip

    def _how(self) -> Schedule:
        return replace(super()._how(), batch=self.batch, rate=self.rate, decay=self.decay)

    def _build(self, inputs: Inputs) -> nn.Module:
        return DirectedNetwork(inputs[1].shape[2], inputs[2].shape[1], self.hidden)


class DirectedNetwork(nn.Module):
    """From adjacency, operations and further columns to one number a graph."""

    def __init__(self, labels: int, side: int, hidden: int, layers: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        sizes = [labels, *[hidden] * layers]
        self.layers = nn.ModuleList(map(DirectedConvolution, sizes[:-1], sizes[1:]))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Sequential(nn.Linear(hidden + side, 128), nn.ReLU(), nn.Dropout(dropout), nn.Linear(128, 1))

    def forward(self, adjacency: Tensor, operations: Tensor, side: Tensor) -> Tensor:
        there = present(operations)
        forward, backward = normalised(adjacency, there), normalised(adjacency.transpose(1, 2), there)
        state = operations
        for layer in self.layers:
            state = self.dropout(layer(state, forward, backward))
        out: Tensor = self.head(side_by_side(mean_of(state, there), side))[:, 0]
        return out
