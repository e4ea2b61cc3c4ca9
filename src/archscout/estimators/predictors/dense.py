"""Batches of small graphs as dense tensors, and the layers that graph networks among the predictors are made of.

Graphs of architectures have few nodes: products with a padded adjacency matrix are faster than any sparse scheme.
Adjacency is (N, V, V), entry i, j for an edge from node i to node j; states are (N, V, width); padded nodes have no
operation and stay zero.
"""

from __future__ import annotations

from math import isqrt
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.estimators.predictors.network import Inputs, Network


class GraphNetwork(Network):
    """A network over the graph: its inputs are adjacency, operations one-hot (N, V, T), and all further columns (N, S).

    Further columns (other encodings, scores) are standardised. Parameters: see `Network`. Raises `UsageError` for a
    matrix that does not begin with the encoding `graph`, `live_graph` or `unified_graph`.
    """

    usual: ClassVar[str] = "live_graph"

    def _prepare(self, matrix: np.ndarray) -> None:
        self.vertices_ = isqrt(self.blocks_[0])
        if self.vertices_**2 != self.blocks_[0] or len(self.blocks_) < 2 or self.blocks_[1] % self.vertices_:
            raise UsageError(
                f"{type(self).__name__} reads graphs: give it the encoding 'graph' or 'live_graph' (with others after "
                "it, if any), and the widths of its blocks, or the space."
            )
        side = matrix[:, sum(self.blocks_[:2]) :]
        spread = side.std(axis=0)
        self.middle_ = side.mean(axis=0)
        self.stretch_ = np.where(spread > 1e-9, 1 / np.maximum(spread, 1e-9), 0.0)

    def _inputs(self, matrix: np.ndarray) -> Inputs:
        size, columns = self.vertices_, self.blocks_[1] // self.vertices_
        edges, end = self.blocks_[0], sum(self.blocks_[:2])
        adjacency = matrix[:, :edges].reshape(-1, size, size)
        operations = matrix[:, edges:end].reshape(-1, size, columns)
        side = (matrix[:, end:] - self.middle_) * self.stretch_
        return tuple(torch.from_numpy(part.astype(np.float32)) for part in (adjacency, operations, side))


def present(operations: Tensor) -> Tensor:
    """1 for each node, 0 for padding: (N, V, 1)."""
    return operations.amax(dim=2, keepdim=True)


def mean_of(state: Tensor, there: Tensor) -> Tensor:
    """The mean over nodes: (N, width)."""
    return (state * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)


def normalised(adjacency: Tensor, there: Tensor) -> Tensor:
    """With a loop at each node, rows divided by their sums."""
    whole = adjacency + torch.diag_embed(there[:, :, 0])
    return whole / whole.sum(dim=2, keepdim=True).clamp(min=1)


def with_global(adjacency: Tensor, operations: Tensor) -> tuple[Tensor, Tensor]:
    """With one more node, the last, of a type of its own, that receives from all; and a loop at each node.

    What is returned says from whom a node receives: (N, V + 1, V + 1) with row i for receiver i.
    """
    there = present(operations)
    size = adjacency.shape[1]
    receives = nn.functional.pad(adjacency.transpose(1, 2), (0, 1, 0, 1))
    receives[:, -1, :-1] = there[:, :, 0]
    receives = receives + torch.diag_embed(nn.functional.pad(there[:, :, 0], (0, 1), value=1.0))
    wider = nn.functional.pad(operations, (0, 1, 0, 1))
    wider[:, size, -1] = 1.0
    return receives, wider


class DirectedConvolution(nn.Module):
    """The mean of what comes along the edges and what comes against them (Wen et al. 2020, arXiv 1912.00848)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.along, self.against = nn.Linear(inputs, outputs, bias=False), nn.Linear(inputs, outputs, bias=False)

    def forward(self, state: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
        along = torch.relu(torch.bmm(backward, self.along(state)))
        return (along + torch.relu(torch.bmm(forward, self.against(state)))) / 2


class Isomorphism(nn.Module):
    """A layer of a graph isomorphism network: a perceptron of a node and what it receives (Xu et al. 2019, 1810.00826).

    Batch normalisation follows, over the nodes that are there.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.perceptron = nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Linear(outputs, outputs))
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, state: Tensor, receives: Tensor, there: Tensor) -> Tensor:
        state = self.perceptron(state + torch.bmm(receives, state))
        mask = there[:, :, 0] > 0
        out = torch.zeros_like(state)
        out[mask] = torch.relu(self.norm(state[mask]))
        return out


def side_by_side(state: Tensor, side: Tensor) -> Tensor:
    """What is known of each graph, and its further columns."""
    return torch.cat([state, side], dim=1)
