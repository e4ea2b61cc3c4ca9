"""Per-vertex tensor: the adjacency matrix, weighted by what the operation at each vertex is and costs."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from archscout.core.graph import Node
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.estimators.encodings.graphs import Architectures, parsed, reference
from archscout.networks.tracing import blueprint, trace

TRACED = 24
"""Architectures of the reference set of which costs are taken."""

Costs = dict[tuple[str, str], tuple[float, float]]
"""Of an option of a choice: multiply-adds and parameters, in millions."""


def vertices(space: Space, architectures: Architectures, task: Task) -> np.ndarray:
    """Three V x V patches an architecture: float32, (N, 3, V, V); renaming vertices permutes rows and columns.

    Row i, column j is not zero where an edge leads from i to j: in the first patch the type of the operation at j (its
    place in the labels of the space, from 1), in the others its multiply-adds and its parameters in millions, summed
    over all cells (ReNAS, Xu et al. 2021, arXiv 1910.01523, has a patch for each cell). Costs of an option are means
    over the networks of a reference set; they are exact where they do not depend on other choices, as in
    NAS-Bench-201.
    """
    known = reference(space)
    place = {label: number for number, label in enumerate(known.labels, start=1)}
    costs = option_costs(space, task)
    matrices = np.zeros((len(architectures), 3, known.vertices, known.vertices), dtype=np.float32)
    for tensor, architecture in zip(matrices, parsed(space, architectures), strict=True):
        graph = space.graph(architecture)
        weights = [(place.get(node.label, place[known.labels[-1]]), *costs[_key(node)]) for node in graph.nodes]
        for source, target in graph.edges:
            tensor[:, source, target] = weights[target]
    return matrices


def option_costs(space: Space, task: Task) -> Costs:
    """What each option of each choice costs, by the `group` and label of its node; zero for what costs nothing."""
    seen: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    rng = np.random.default_rng(0)
    for _ in range(TRACED):
        architecture = space.simplify(space.sample(rng))
        network = blueprint(space, architecture, task)
        macs: dict[str, float] = defaultdict(float)
        for node in trace(network, task.input_shape).nodes:
            macs[node.group] += node.macs / 1e6
        params: dict[str, float] = defaultdict(float)
        for module in network.modules():
            if (picked := module.__dict__.get("picked")) is not None:
                params[picked] += sum(parameter.numel() for parameter in module.parameters()) / 1e6
        for node in space.graph(architecture).nodes:
            group = f"{node.group}={node.label}"
            seen[_key(node)].append((macs[group], params[group]))
    return defaultdict(lambda: (0.0, 0.0), {key: tuple(np.mean(values, axis=0)) for key, values in seen.items()})


def _key(node: Node) -> tuple[str, str]:
    return node.group, node.label
