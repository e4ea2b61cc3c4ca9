"""FLAN: information flows through the graph there and back, and what is learned of one space serves another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.registry import register
from archscout.core.space import Space
from archscout.estimators.encodings.encode import encode, widths
from archscout.estimators.predictors.dense import GraphNetwork, mean_of, present
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.network import Inputs
from archscout.estimators.predictors.source import networks_of
from archscout.estimators.predictors.training import Schedule, randomness, train
from archscout.tables.load import load

GRAPH = "unified_graph"
MARGIN = 0.1
"""By so much the score of the better one of two must be ahead."""

SOURCES = 512
"""Networks of the source that are learned from, as published."""

SCHOOLING = Schedule(epochs=60, batch=32, rate=1e-3, decay=1e-5, decoupled=True)
TUNING = Schedule(epochs=40, batch=8, rate=5e-4, decay=1e-5, decoupled=True)


@register("estimator", "flan")
def flan(encoding: str = "default", scores: str = "", source: str = "", metric: str = "", seed: int = 0) -> Learned:
    """Flow attention, with transfer from another table (FLAN, Akhauri, Abdelfattah 2024, arXiv 2403.02484)."""
    if source:
        load(source).metric(metric or None)
    return Learned("flan", FLAN(seed=seed, source=source, metric=metric), encoding, scores)


class FLAN(GraphNetwork):
    """Layers along the edges, then against them, twice; a hinge on pairs; further columns beside the graph.

    A layer is the mean of a dense graph flow, sigmoid(O W) * (A X V) + X U, and of graph attention gated alike, with O
    the embeddings of the operations. After the first time round, these are moved by what has come along and against the
    edges. Operations are given in words that spaces share (`unified_graph`), so that with a `source` the network is
    first trained on 512 networks of that table, whatever their space, and then on the samples. Columns beside the graph
    (supplementary encodings such as `unified_graph+live`, scores) are of the target only.

    Published: five layers of width 128 each way, 150 epochs in batches of 8 or 16 by AdamW at 1e-3 with weight decay
    1e-5, then 20 at 1e-4 on the target, four pairs a sample. Here three layers of width 96, 100
    epochs (60 on the source, then 40 at 5e-4), and all pairs of a batch. The network is trained on the source once in a
    process, with a seed of its own. What it says is brought to the mean and the deviation of the values learned from.

    Args:
        space, encoding, widths, epochs, seed: see `Network`.
        source: a table to learn from first: its name, or a file; none if empty.
        metric: what is learned of the source; its default metric if empty.
    """

    usual: ClassVar[str] = GRAPH
    schedule: ClassVar[Schedule] = Schedule(epochs=100, batch=16, rate=1e-3, decay=1e-5, decoupled=True)

    def __init__(
        self,
        space: Space | None = None,
        encoding: str | None = None,
        widths: tuple[int, ...] | None = None,
        epochs: int | None = None,
        seed: int = 0,
        *,
        source: str = "",
        metric: str = "",
    ) -> None:
        super().__init__(space, encoding, widths, epochs, seed)
        self.source, self.metric = source, metric

    def _how(self) -> Schedule:
        how = TUNING if self.source else self.schedule
        return how if self.epochs is None else replace(how, epochs=self.epochs)

    def _build(self, inputs: Inputs) -> nn.Module:
        network = Flow(inputs[1].shape[2], inputs[2].shape[1])
        if self.source:
            network.load_state_dict(schooled(self.source, self.metric), strict=False)
        return network

    def _loss(self, network: nn.Module, inputs: Inputs, target: Tensor) -> Tensor:
        return hinge(network(*inputs), target)

    def _train(self, inputs: Inputs, target: Tensor, rng: np.random.Generator) -> None:
        super()._train(inputs, target, rng)
        self._level(inputs)


def hinge(said: Tensor, target: Tensor) -> Tensor:
    """How far, on average, the better one of two is not ahead by `MARGIN`; pairs of equal value do not count."""
    better = (target[:, None] > target[None]).float()
    short = torch.relu(MARGIN - (said[:, None] - said[None]))
    return (short * better).sum() / better.sum().clamp(min=1)


@cache
def schooled(source: str, metric: str) -> dict[str, Tensor]:
    """The weights of a network after training on a table, without those for columns beside the graph.

    Raises `UsageError` for what is no table or metric or has no graphs, `DataError` where too few have a value.
    """
    space, texts, values = networks_of(source, metric, "flan", SOURCES, 10)
    try:
        matrix = encode(GRAPH, space, texts).astype(np.float64)
    except NotImplementedError as error:
        raise UsageError(f"flan cannot learn from table '{source}': its space has no graphs.") from error
    inputs, target = _graphs(space, matrix), torch.from_numpy(values)
    with randomness(0, "flan source") as rng:
        network = Flow(inputs[1].shape[2], 0)

        def loss(batch: Tensor) -> Tensor:
            return hinge(network(*(part[batch] for part in inputs)), target[batch])

        train(network, loss, len(texts), SCHOOLING, rng)
    return {name: value for name, value in network.state_dict().items() if not name.startswith("beside.")}


def transferred(source: str, metric: str, space: Space, architectures: Sequence[Architecture]) -> np.ndarray:
    """What a network that has learned from another table alone makes of architectures: higher is better, no scale.

    Raises `UsageError` where one of the spaces has no graphs, and what `schooled` raises.
    """
    weights = schooled(source, metric)
    try:
        matrix = encode(GRAPH, space, architectures).astype(np.float64)
    except NotImplementedError as error:
        raise UsageError(
            f"nothing learned on table '{source}' is of use: space '{space.name}' has no graphs."
        ) from error
    inputs = _graphs(space, matrix)
    network = Flow(inputs[1].shape[2], 0).eval()
    network.load_state_dict(weights)
    with torch.no_grad():
        return np.asarray(network(*inputs), dtype=np.float64)


def _graphs(space: Space, matrix: np.ndarray) -> Inputs:
    """Encoded graphs without further columns, as the network takes them."""
    reader = FLAN(widths=widths(GRAPH, space))
    reader.blocks_ = reader.widths or ()
    reader._prepare(matrix)
    return reader._inputs(matrix)


class FlowAttention(nn.Module):
    """A layer: the mean of a dense graph flow and of graph attention, both gated by the operation of the receiver."""

    def __init__(self, inputs: int, outputs: int, operation: int) -> None:
        super().__init__()
        self.gates = nn.Linear(operation, 2 * outputs)
        self.moved = nn.Linear(inputs, 2 * outputs, bias=False)
        self.kept = nn.Linear(inputs, outputs)
        self.giver, self.taker = nn.Linear(outputs, 1), nn.Linear(outputs, 1)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, state: Tensor, operations: Tensor, receives: Tensor, ways: Tensor) -> Tensor:
        """Row i of `receives` says from whom i receives, `ways` is its logarithm with a loop at each node."""
        gate, attentive = torch.sigmoid(self.gates(operations)).chunk(2, dim=2)
        sent, attended = self.moved(state).chunk(2, dim=2)
        dense = gate * torch.bmm(receives, sent) + self.kept(state)
        logits = nn.functional.leaky_relu(self.taker(attended) + self.giver(attended).transpose(1, 2), 0.2) + ways
        noticed = attentive * torch.bmm(torch.softmax(logits, dim=2), attended)
        return torch.relu(self.norm((dense + noticed) / 2))


class Flow(nn.Module):
    """From adjacency, operations in words and further columns to one number a graph."""

    def __init__(
        self, words: int, side: int, operation: int = 48, hidden: int = 96, layers: int = 3, times: int = 2
    ) -> None:
        super().__init__()
        self.times = times
        self.operation, self.first = nn.Linear(words, operation), nn.Linear(operation, hidden)
        self.along = nn.ModuleList(FlowAttention(hidden, hidden, operation) for _ in range(layers))
        self.against = nn.ModuleList(FlowAttention(hidden, hidden, operation) for _ in range(layers))
        self.move = nn.Sequential(
            nn.Linear(operation + 2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, operation)
        )  # fmt: skip
        self.inside, self.beside = nn.Linear(hidden, 200), nn.Linear(side, 200, bias=False) if side else None
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 1))

    def forward(self, adjacency: Tensor, operations: Tensor, side: Tensor) -> Tensor:
        there = present(operations)
        loops = torch.eye(adjacency.shape[1])
        both = [(to, torch.log((to + loops).clamp(min=1e-9))) for to in (adjacency.transpose(1, 2), adjacency)]
        means = self.operation(operations)
        for time in range(self.times):
            ahead = self.first(means)
            for layer in self.along:
                ahead = layer(ahead, means, *both[0]) * there
            if time < self.times - 1:
                back = ahead
                for layer in self.against:
                    back = layer(back, means, *both[1]) * there
                means = means + self.move(torch.cat([means, ahead, back], dim=2))
        known = self.inside(mean_of(ahead, there))
        if self.beside is not None:
            known = known + self.beside(side)
        out: Tensor = self.head(known)[:, 0]
        return out
