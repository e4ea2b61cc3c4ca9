"""A transformer whose nodes look at parents, children and siblings, with a graph network between (NN-Former)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from archscout.core.registry import register
from archscout.estimators.predictors.dense import GraphNetwork, mean_of, present, side_by_side
from archscout.estimators.predictors.flan import hinge
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.network import Inputs
from archscout.estimators.predictors.training import Schedule

RANKING = 0.2
"""Weight of the loss on the order of pairs, beside the squared error, as published."""


@register("estimator", "nn_former")
def nn_former(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """Sibling attention and a two-way graph network (NN-Former, Xu et al., CVPR 2025, arXiv 2507.00880)."""
    return Learned("nn_former", NNFormer(seed=seed), encoding, scores)


class NNFormer(GraphNetwork):
    """Layers of attention with four heads, then a perceptron that hears along and against the edges.

    A node looks, by head, at its children, its parents, those with which it has a child in common (A A^T) and those
    with which it has a parent in common (A^T A), always at itself too. The perceptron adds to its hidden numbers what
    neighbours send, half of them along the edges and half against them. Squared error and a hinge on pairs.

    Published: 12 layers of width 160 with a token for the class and one for the depth, trained for 3,000 epochs in
    batches of 128 by AdamW at 1e-4, with averaged weights, and made to say the same of relabelled graphs. Here 4 layers
    of width 96 and 80 epochs in batches of 16 at 1e-3; nodes are averaged, so that relabelling changes nothing.

    Args:
        space, encoding, widths, epochs, seed: see `Network`.
    """

    schedule: ClassVar[Schedule] = Schedule(epochs=80, batch=16, rate=1e-3, decay=1e-3, decoupled=True)

    def _build(self, inputs: Inputs) -> nn.Module:
        return SiblingTransformer(inputs[1].shape[2], inputs[2].shape[1])

    def _loss(self, network: nn.Module, inputs: Inputs, target: Tensor) -> Tensor:
        said = network(*inputs)
        return nn.functional.mse_loss(said, target) + RANKING * hinge(said, target)


def kin(adjacency: Tensor) -> Tensor:
    """Who sees whom, by head: children, parents, with a child in common, with a parent in common: (N, 4, V, V).

    Row i says at whom node i looks; at itself in all four.
    """
    back = adjacency.transpose(1, 2)
    ways = torch.stack([adjacency, back, adjacency @ back, back @ adjacency], dim=1)
    return ((ways + torch.eye(adjacency.shape[1])) > 0).float()


class SiblingLayer(nn.Module):
    """Attention along the four ways of `kin`, then the two-way perceptron; each added, after normalisation."""

    def __init__(self, width: int, inner: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.look, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.own, self.sent = nn.Linear(width, inner), nn.Linear(width, inner, bias=False)
        self.back = nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, state: Tensor, adjacency: Tensor, ways: Tensor) -> Tensor:
        """State (N, V, width), adjacency (N, V, V), ways (N, 4, V, V): the new state."""
        state = state + self.dropout(self.attention(self.before(state), ways))
        seen = self.between(state)
        along, against = self.sent(seen).chunk(2, dim=2)
        heard = torch.cat([adjacency @ along, adjacency.transpose(1, 2) @ against], dim=2)
        hidden = torch.relu(self.own(seen) + heard)
        out: Tensor = state + self.dropout(self.back(self.dropout(hidden)))
        return out

    def attention(self, state: Tensor, ways: Tensor) -> Tensor:
        """Scaled dot products, a head a way: (N, V, width)."""
        count, size, width = state.shape
        heads = self.look(state).reshape(count, size, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind(0)
        logits = query @ key.transpose(2, 3) / math.sqrt(width // 4)
        looked = torch.softmax(logits.masked_fill(ways == 0, -math.inf), dim=3) @ value
        out: Tensor = self.out(looked.transpose(1, 2).reshape(count, size, width))
        return out


class SiblingTransformer(nn.Module):
    """From adjacency, operations and further columns to one number a graph."""

    def __init__(self, labels: int, side: int, width: int = 96, layers: int = 4) -> None:
        super().__init__()
        self.operation = nn.Linear(labels, width)
        self.layers = nn.ModuleList(SiblingLayer(width, 4 * width) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width + side, 1)

    def forward(self, adjacency: Tensor, operations: Tensor, side: Tensor) -> Tensor:
        there, ways = present(operations), kin(adjacency)
        state = self.operation(operations) * there
        for layer in self.layers:
            state = layer(state, adjacency, ways) * there
        out: Tensor = self.head(side_by_side(mean_of(self.norm(state), there), side))[:, 0]
        return out
