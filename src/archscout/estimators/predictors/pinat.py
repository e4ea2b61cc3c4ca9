"""A transformer over the nodes of a cell, for which the order of the nodes does not exist (PINAT)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.registry import register
from archscout.core.space import Space
from archscout.estimators.predictors.dense import GraphNetwork, mean_of, present, side_by_side
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.network import Inputs
from archscout.estimators.predictors.training import Schedule

TIMES = (0.5, 1.0, 2.0, 4.0)
"""Of the diffusion by which positions are told."""

TURN = 0.1
"""By how much of a full circle an edge turns what goes along it: what makes the Laplacian know directions."""


@register("estimator", "pinat")
def pinat(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """A permutation-invariant transformer with Laplacian positions (PINAT, Lu et al., AAAI 2023)."""
    return Learned("pinat", PINAT(seed=seed), encoding, scores)


class PINAT(GraphNetwork):
    """Three layers of width 80, each with two heads that look everywhere and two that look along the edges only.

    Positions are told by the Laplacian of the graph. Eigenvectors, as published, have no sign, and no order where
    eigenvalues are equal, so that the same cell would look different from one run to the next; functions of the
    Laplacian have neither trouble. Here these are its heat kernels (`kernels`): the diagonal is a node's position, the
    rest, what two nodes are to each other, is added to the attention. An edge turns what goes along it, which tells its
    direction (the magnetic Laplacian, Zhang et al. 2021, arXiv 2102.11391). Nodes are averaged, so that relabelling a
    cell changes nothing.

    Published: Adam at 1e-4 with weight decay 1e-3, 300 epochs in batches of 10. Here AdamW at 1e-3, 80 epochs in
    batches of 16: a sixth of the steps, and no worse. Features beside the graph (`live_graph+live`) help.

    Args:
        space, encoding, widths, epochs, seed: see `Network`.
        batch: architectures a step.
        rate: the learning rate.
    """

    schedule: ClassVar[Schedule] = Schedule(epochs=80, batch=16, rate=1e-3, decay=1e-3, decoupled=True)

    def __init__(
        self,
        space: Space | None = None,
        encoding: str | None = None,
        widths: tuple[int, ...] | None = None,
        epochs: int | None = None,
        seed: int = 0,
        *,
        batch: int = 16,
        rate: float = 1e-3,
    ) -> None:
        super().__init__(space, encoding, widths, epochs, seed)
        self.batch, self.rate = batch, rate

    def _how(self) -> Schedule:
        return replace(super()._how(), batch=self.batch, rate=self.rate)

    def _inputs(self, matrix: np.ndarray) -> Inputs:
        adjacency, operations, side = super()._inputs(matrix)
        return adjacency, operations, side, torch.from_numpy(kernels(adjacency.numpy()).astype(np.float32))

    def _build(self, inputs: Inputs) -> nn.Module:
        return Transformer(inputs[1].shape[2], inputs[2].shape[1])


def kernels(adjacency: np.ndarray) -> np.ndarray:
    """What diffuses from each node to each other after several times: (N, V, V, 2 x times), renamed as nodes are.

    The real, then the imaginary parts of exp(-t L), where L = 1 - D^-1/2 H D^-1/2 with H the Hermitian matrix of the
    edges, an edge from i to j being exp(2 pi i TURN) there and its conjugate back.
    """
    joined = (adjacency + adjacency.transpose(0, 2, 1)).astype(np.float64)
    turned = joined * np.exp(2j * math.pi * TURN * (np.sign(adjacency) - np.sign(adjacency.transpose(0, 2, 1))))
    scale = 1 / np.sqrt(np.maximum(joined.sum(axis=2), 1))
    laplacian = np.eye(adjacency.shape[1]) - scale[:, :, None] * turned * scale[:, None, :]
    values, vectors = np.linalg.eigh(laplacian)
    decayed = np.exp(-values[:, None, :] * np.asarray(TIMES)[:, None])
    powers = np.einsum("nik,ntk,njk->nijt", vectors, decayed, vectors.conj(), optimize=True)
    return np.concatenate([powers.real, powers.imag], axis=3)


class Layer(nn.Module):
    """Attention of both kinds, then a perceptron of width 512; each added to what was there, after normalisation.

    Args:
        width: of a node's state.
        relations: numbers that tell what a pair of nodes is to each other.
        size: width of a head.
    """

    def __init__(self, width: int, relations: int, size: int = 64, inner: int = 512, dropout: float = 0.1) -> None:
        super().__init__()
        self.size = size
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.everywhere = nn.Linear(width, 3 * 2 * size)
        self.relation = nn.Linear(relations, 2)
        self.along = nn.Linear(width, 2 * size)
        self.giver, self.taker = nn.Linear(width, 2), nn.Linear(width, 2)
        self.out = nn.Linear(4 * size, width)
        self.perceptron = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, state: Tensor, ways: Tensor, there: Tensor, relation: Tensor) -> Tensor:
        """State (N, V, width); ways (N, 2, V, V), the logarithm of the edges to a node and from it; there (N, V, 1)."""
        seen = self.before(state)
        attended = torch.cat([self.whole(seen, there, relation), self.local(seen, ways)], dim=2)
        state = state + self.dropout(self.out(attended))
        out: Tensor = state + self.dropout(self.perceptron(self.between(state)))
        return out

    def whole(self, state: Tensor, there: Tensor, relation: Tensor) -> Tensor:
        """Scaled dot products, and what the two nodes are to each other: (N, V, 2 x size)."""
        query, key, value = _heads(self.everywhere(state), 6).chunk(3, dim=1)
        logits = query @ key.transpose(2, 3) / math.sqrt(self.size) + self.relation(relation).permute(0, 3, 1, 2)
        logits = logits.masked_fill(there[:, None, None, :, 0] == 0, -1e9)
        return _beside(torch.softmax(logits, dim=3) @ value)

    def local(self, state: Tensor, ways: Tensor) -> Tensor:
        """Graph attention (Velickovic et al. 2018, arXiv 1710.10903), one head a direction: (N, V, 2 x size)."""
        given, taken = self.giver(state).transpose(1, 2), self.taker(state).transpose(1, 2)
        logits = nn.functional.leaky_relu(taken[:, :, :, None] + given[:, :, None, :], 0.2) + ways
        return _beside(torch.softmax(logits, dim=3) @ _heads(self.along(state), 2))


def _heads(state: Tensor, heads: int) -> Tensor:
    return state.reshape(*state.shape[:2], heads, state.shape[2] // heads).transpose(1, 2)


def _beside(state: Tensor) -> Tensor:
    return state.transpose(1, 2).flatten(2)


class Transformer(nn.Module):
    """From adjacency, operations, further columns and kernels to one number a graph."""

    def __init__(self, labels: int, side: int, width: int = 80, layers: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        relations = 2 * len(TIMES)
        self.operation, self.position = nn.Linear(labels, width), nn.Linear(relations, width)
        self.layers = nn.ModuleList(Layer(width, relations) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Linear(width + side, 96), nn.ReLU(), nn.Dropout(dropout), nn.Linear(96, 1))

    def forward(self, adjacency: Tensor, operations: Tensor, side: Tensor, relation: Tensor) -> Tensor:
        there = present(operations)
        loops = torch.eye(adjacency.shape[1])
        # Where there are several edges, as many neighbours: a softmax with the logarithm of their number.
        ways = torch.log(torch.stack([adjacency.transpose(1, 2) + loops, adjacency + loops], dim=1).clamp(min=1e-9))
        state = self.operation(operations) + self.position(torch.diagonal(relation, dim1=1, dim2=2).transpose(1, 2))
        for layer in self.layers:
            state = layer(state, ways, there, relation)
        out: Tensor = self.head(side_by_side(mean_of(self.norm(state), there), side))[:, 0]
        return out
