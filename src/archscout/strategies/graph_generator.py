"""A distribution over graphs, node by node: the auto-regressive generator of GraphPNAS."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError
from archscout.core.space import Space
from archscout.estimators.predictors.training import Schedule, randomness, train

HIDDEN, LAYERS, MIXTURE = 24, 4, 10
"""Width of a node's state, rounds of messages (published: 7), and Bernoulli distributions that are mixed."""

RATE, BATCH = 5e-3, 15
"""Of Adam; published are .001 and batches of 2, which take many times as long."""

ABSENT = (0, False, "none")
"""Options by which an edge is not there."""

EDGE, VERTEX = re.compile(r"edge (\d+)->(\d+)"), re.compile(r"vertex (\d+)")


class Drawing:
    """How the architectures of a space are written as graphs: from choices `edge i->j` and `vertex k`.

    An edge that is there, and a vertex, has one of several labels where the choice has several such options.

    Raises `UsageError` for a space with other choices.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.edges: dict[tuple[int, int], Choice] = {}
        self.vertices: dict[int, Choice] = {}
        for choice in space.choices:
            edge, vertex = EDGE.fullmatch(choice.name), VERTEX.fullmatch(choice.name)
            if edge:
                self.edges[int(edge[1]), int(edge[2])] = choice
            elif vertex:
                self.vertices[int(vertex[1])] = choice
            else:
                raise UsageError(
                    f"space '{space.name}' is not written as a graph (choice '{choice.name}' is neither an edge nor a "
                    "vertex), which strategy 'graphpnas' needs: take nasbench201, nasbench101 or randwire, or another "
                    "strategy."
                )
        self.nodes = 1 + max(target for _, target in self.edges)
        self.labels = {edge: _present(choice) for edge, choice in self.edges.items()}
        self.edge_labels = max(map(len, self.labels.values()))
        self.vertex_labels = max((len(choice.options) for choice in self.vertices.values()), default=0)

    def tensors(self, architectures: Sequence[Architecture]) -> tuple[Tensor, Tensor]:
        """Of each graph the labels of edges from i to j, -1 where there is none: (N, V, V); and of vertices (N, V)."""
        edges = torch.full((len(architectures), self.nodes, self.nodes), -1)
        vertices = torch.full((len(architectures), self.nodes), -1)
        for row, one in enumerate(architectures):
            for (i, j), labels in self.labels.items():
                option = one[self.edges[i, j].name]
                edges[row, i, j] = -1 if _is_absent(option) else labels.index(option)
            for node, choice in self.vertices.items():
                vertices[row, node] = choice.index(one[choice.name])
        return edges, vertices

    def architecture(self, edges: np.ndarray, vertices: np.ndarray) -> Architecture | None:
        """The architecture of one graph; None where it is none of the space."""
        values: dict[str, Option] = {}
        for (i, j), choice in self.edges.items():
            absent = [option for option in choice.options if _is_absent(option)]
            label = int(edges[i, j])
            options = absent if label < 0 else self.labels[i, j]
            if max(label, 0) >= len(options):  # not every edge has all labels
                return None
            values[choice.name] = options[max(label, 0)]
        for node, choice in self.vertices.items():
            if vertices[node] >= len(choice.options):
                return None
            values[choice.name] = choice.options[int(vertices[node])]
        try:
            return self.space.architecture(values)
        except UsageError:
            return None


class GraphGenerator(nn.Module):
    """Node after node: which earlier nodes feed it, with which labels, and its own (Li et al. 2022, arXiv 2211.15155).

    At each step the new node is joined to all earlier ones, messages with attention are passed over these and the known
    edges, and gated units update the states. From the differences of states follow a mixture of Bernoulli
    distributions of all edges into the new node, so that they need not be independent, and the labels of edges; from
    the state of the new node its own label.

    Args:
        drawing: how the space is written as graphs.
    """

    possible: Tensor
    named: Tensor

    def __init__(self, drawing: Drawing) -> None:
        super().__init__()
        self.drawing = drawing
        nodes, edge_labels, vertex_labels = drawing.nodes, drawing.edge_labels, drawing.vertex_labels
        self.embed = nn.Linear(nodes * edge_labels + vertex_labels + nodes + 1, HIDDEN)
        self.message = _head(HIDDEN + 1, HIDDEN)
        self.attention = _head(HIDDEN + 1, 1)
        self.update = nn.GRUCell(HIDDEN, HIDDEN)
        self.theta, self.alpha = _head(HIDDEN, MIXTURE), _head(HIDDEN, MIXTURE)
        self.edge_label = _head(HIDDEN, edge_labels)
        self.vertex_label = _head(HIDDEN, max(1, vertex_labels))
        possible = torch.zeros(nodes, nodes, dtype=torch.bool)
        possible[tuple(torch.tensor(list(drawing.edges)).T)] = True
        self.register_buffer("possible", possible)
        named = torch.zeros(nodes, dtype=torch.bool)
        named[list(drawing.vertices)] = True
        self.register_buffer("named", named)

    def log_likelihood(self, edges: Tensor, vertices: Tensor) -> Tensor:
        """The logarithm of the probability of each graph: (N,). All steps of all graphs are looked at together."""
        count, nodes = vertices.shape
        steps = torch.arange(1, nodes).repeat_interleave(count)
        edges, vertices = edges.repeat(nodes - 1, 1, 1), vertices.repeat(nodes - 1, 1)
        rows = torch.arange(len(steps))
        into, own = edges[rows, :, steps], vertices[rows, steps]
        theta, alpha, edge_label, vertex_label = self(edges, vertices, steps)
        bernoulli = torch.where((into >= 0)[..., None], F.logsigmoid(theta), F.logsigmoid(-theta))
        there = self.possible[:, steps].T[..., None]
        mixed = torch.logsumexp(alpha + (bernoulli * there).sum(1), dim=1)
        labels = edge_label.gather(2, into.clamp(min=0)[..., None])[..., 0] * (into >= 0)
        labelled = vertex_label.gather(1, own.clamp(min=0)[:, None])[:, 0] * (own >= 0)
        each: Tensor = mixed + labels.sum(1) + labelled
        return each.view(nodes - 1, count).sum(0)

    @torch.no_grad()
    def sample(self, count: int, rng: np.random.Generator) -> list[Architecture]:
        """Draws, without those that are no architecture of the space."""
        nodes = self.drawing.nodes
        edges, vertices = torch.full((count, nodes, nodes), -1), torch.full((count, nodes), -1)
        for step in range(1, nodes):
            theta, alpha, edge_label, vertex_label = self(edges, vertices, torch.full((count,), step))
            component = _drawn(alpha.exp(), rng)
            chance = torch.sigmoid(theta)[torch.arange(count), :, component]
            taken = torch.from_numpy(rng.random(chance.shape)) < chance
            labels = _drawn(edge_label.exp(), rng)
            edges[:, :, step] = torch.where(taken & self.possible[:, step], labels, -1)
            if bool(self.named[step]):
                vertices[:, step] = _drawn(vertex_label.exp(), rng)
        drawn = (self.drawing.architecture(*pair) for pair in zip(edges.numpy(), vertices.numpy(), strict=True))
        return [architecture for architecture in drawn if architecture is not None]

    def forward(self, edges: Tensor, vertices: Tensor, steps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What is said of the node of a step, by the graph before it, for N graphs (N, V, V) and (N, V).

        Logits of edges from each node (N, V, K), log-weights of the mixture (N, K), log-probabilities of the labels of
        edges (N, V, L) and of the node (N, L').
        """
        count, nodes = vertices.shape
        place = torch.arange(nodes)
        before, new = place < steps[:, None], place == steps[:, None]
        known = torch.where(before[:, None, :] & before[:, :, None], edges, -1)
        drawing = self.drawing
        row = _one_hot(known.transpose(1, 2), drawing.edge_labels).flatten(2)
        label = _one_hot(torch.where(before, vertices, -1), drawing.vertex_labels)
        position = torch.eye(nodes).expand(count, nodes, nodes)
        state = self.embed(torch.cat([row, label, position, new[..., None].float()], 2))
        wire = (known >= 0) | (known >= 0).transpose(1, 2)
        candidate = (new[:, :, None] & before[:, None, :]) | (before[:, :, None] & new[:, None, :])
        joined = (wire | candidate)[..., None].float()
        flag = candidate[..., None].float()
        for _ in range(LAYERS):
            difference = torch.cat([state[:, :, None] - state[:, None], flag], 3)
            weight = torch.sigmoid(self.attention(difference)) * joined
            message = (weight * self.message(difference)).sum(2)
            state = self.update(message.flatten(0, 1), state.flatten(0, 1)).view_as(state)
        own = state[torch.arange(count), steps]
        difference = state - own[:, None]
        earlier = before[..., None].float()
        alpha = (self.alpha(difference) * earlier).sum(1) / earlier.sum(1)
        return (
            self.theta(difference),
            F.log_softmax(alpha, 1),
            F.log_softmax(self.edge_label(difference), 2),
            F.log_softmax(self.vertex_label(own), 1),
        )


def fitted(
    drawing: Drawing, architectures: Sequence[Architecture], weights: Sequence[float], epochs: int, seed: int
) -> GraphGenerator:
    """A new generator that has learned graphs by their weighted log-likelihood."""
    edges, vertices = drawing.tensors(architectures)
    reward = torch.tensor(weights, dtype=torch.float32)
    with randomness(seed, "graph generator") as rng:
        generator = GraphGenerator(drawing)
        schedule = Schedule(epochs=epochs, rate=RATE, batch=BATCH)

        def loss(rows: Tensor) -> Tensor:
            return -(reward[rows] * generator.log_likelihood(edges[rows], vertices[rows])).mean()

        train(generator, loss, len(architectures), schedule, rng)
    return generator


def _present(choice: Choice) -> tuple[Option, ...]:
    return tuple(option for option in choice.options if not _is_absent(option))


def _is_absent(option: Option) -> bool:
    return option in ABSENT


def _head(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs))


def _one_hot(labels: Tensor, count: int) -> Tensor:
    """1 at the label, all 0 where it is -1: (..., count)."""
    return (labels[..., None] == torch.arange(count)).float()


def _drawn(chances: Tensor, rng: np.random.Generator) -> Tensor:
    """One place a row, by its chances: (..., K) gives (...)."""
    sums = chances.double().cumsum(-1)
    draws = torch.from_numpy(rng.random(tuple(sums.shape[:-1]))) * sums[..., -1]
    return (sums < draws[..., None]).sum(-1).clamp(max=sums.shape[-1] - 1)
