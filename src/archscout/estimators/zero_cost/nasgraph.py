"""The graph that the channels of a network form."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.core.seeds import stream
from archscout.estimators.zero_cost.harness import Score, Subject
from archscout.estimators.zero_cost.layer_graph import Convolution, Layer, layers
from archscout.spaces.thin import thin

WIDTH, CELLS = 16, 1
"""Of the network whose graph is taken, in spaces that have these sizes."""

_POINTS = 1 << 15
"""Of the quasi-Monte Carlo integration of a probability: to about 1e-5."""


@register("estimator", "nasgraph")
class NasGraph(Score):
    """NASGraph: average degree of the graph of channels (no pass; labels, data and gradients are not needed).

    Nodes are channels of layers. There is an edge from channel i of a layer's parent to channel j of the layer where an
    input of ones in channel i and zeros elsewhere gives output channel j a sum that is not zero: for a convolution,
    followed by ReLU and without normalisation, with N(0, s^2) weights; pools and identities join i to i. score = 2
    |E| / |V|, over nodes with an edge. The network has 16 channels and 1 cell a stage where the space has such sizes,
    and its classifier is left out.

    Source: Huang, Pedapati, Chen, Jiang, Gao 2024, "Graph is all you need? Lightweight data-agnostic neural
        architecture search without training", arXiv 2405.01306. In their code an operation `none` has nodes, with edges
        to the layers after it though nothing comes out of it; here what is dead is not there.

    Args:
        expected: the number of edges expected over the weights, in closed form: a convolution has p C_in C_out, with p
            = 1/2
            for 1 x 1 and the probability that not all sums of parts of the kernel which some place sees are negative
            otherwise. No seed, no noise, microseconds. Nodes are then all channels of layers that have an edge.
    """

    def __init__(self, expected: bool = False) -> None:
        self.name = "nasgraph"
        self.expected = expected

    def score(self, subject: Subject) -> float:
        setting = subject.setting
        space = thin(setting.space, width=WIDTH, cells=CELLS)
        graph = channel_layers(layers(space, subject.architecture, setting.task))
        if self.expected:
            return expected_degree(graph)
        return probed_degree(graph, stream(setting.seed, "nasgraph", space.canonical(subject.architecture)))


def channel_layers(layers: list[Layer]) -> list[Layer]:
    """The layers that are part of the graph: all on feature maps; linear ones where there are no others."""
    if any(layer.kind == "convolution" for layer in layers):
        return [layer if layer.kind != "linear" else Layer("none", (), (), ()) for layer in layers]
    return layers


def expected_degree(layers: list[Layer]) -> float:
    """Twice the expected number of edges over the number of channels of layers with edges."""
    edges, nodes = 0.0, set()
    for number, layer in enumerate(layers):
        for parent in layer.parents:
            edges += _share(layer) * _pairs(layer, layers[parent])
            nodes |= {number, parent}
    return _degree(edges, sum(_channels(layers[number]) for number in nodes))


def probed_degree(layers: list[Layer], rng: np.random.Generator) -> float:
    """The same with weights drawn, and edges where a probe says so."""
    edges = 0
    reached: set[tuple[int, int]] = set()
    for number, layer in enumerate(layers):
        if not layer.parents:
            continue
        joined = _joined(layer, rng)
        sources, targets = np.nonzero(joined)
        for parent in layer.parents:
            # What feeds a layer as one of several parts has the channels of its own place; sums have all the same ones.
            fits = _channels(layers[parent])
            kept = sources < fits
            edges += int(kept.sum())
            reached |= {(parent, int(i)) for i in np.unique(sources[kept])}
            reached |= {(number, int(j)) for j in np.unique(targets[kept])}
    return _degree(edges, len(reached))


def _degree(edges: float, nodes: int) -> float:
    if not edges:
        raise UndefinedScore("no layer is joined to another")
    return 2 * edges / nodes


def _channels(layer: Layer) -> int:
    return layer.shape[0]


def _pairs(layer: Layer, parent: Layer) -> int:
    if layer.kind == "linear":
        return parent.shape[-1] * layer.shape[-1]
    if layer.convolution is None:
        return min(_channels(parent), _channels(layer))
    return _channels(parent) * _channels(layer) // layer.convolution.groups


def _share(layer: Layer) -> float:
    if layer.kind == "linear":
        return 0.5
    return 1.0 if layer.convolution is None else edge_probability(layer.convolution, layer.inputs[1:])


def _joined(layer: Layer, rng: np.random.Generator) -> np.ndarray:
    """Whether input channel i is joined to output channel j (inputs x outputs, boolean)."""
    if layer.kind == "linear":
        return np.asarray(rng.standard_normal((layer.inputs[-1], layer.shape[-1])) > 0)
    outputs = _channels(layer)
    if layer.convolution is None:
        return np.eye(outputs, dtype=bool)
    form, inputs = layer.convolution, layer.inputs[0]
    each = inputs // form.groups
    kernels = rng.standard_normal((outputs * each, *form.kernel), dtype=np.float32)
    seen = kernels.reshape(len(kernels), -1) @ parts_seen(form, layer.inputs[1:]).T > 0
    lit = seen.any(1).reshape(outputs, each)
    joined = np.zeros((inputs, outputs), dtype=bool)
    for output in range(outputs):
        group = output // (outputs // form.groups)
        joined[group * each : (group + 1) * each, output] = lit[output]
    return joined


@cache
def parts_seen(form: Convolution, size: tuple[int, ...]) -> np.ndarray:
    """Which parts of a kernel see the image, for the places of the output (different parts x numbers of the kernel)."""
    if len(form.kernel) == 1:
        one, none = (1,), (0,)
        form = Convolution(one + form.kernel, one + form.stride, none + form.padding, one + form.dilation, 1)
        size = (1, *size)
    ones = torch.ones((1, 1, *size))
    patches = F.unfold(ones, form.kernel, form.dilation, form.padding, form.stride)[0].T
    return np.unique(patches.numpy(), axis=0)


@cache
def edge_probability(form: Convolution, size: tuple[int, ...]) -> float:
    """The probability that a random kernel (independent N(0, s^2)) lets an image of ones through ReLU at some place.

    A 1 x 1 kernel: 1/2. Otherwise one minus the probability that every part of the kernel that some place sees has a
    sum below zero, an orthant of a Gaussian, by quasi-Monte Carlo with an error of about 1e-5.
    """
    return _some_positive(parts_seen(form, size).astype(np.int8).tobytes(), math.prod(form.kernel))


@cache
def _some_positive(parts: bytes, numbers: int) -> float:
    """The probability that independent normal numbers have a positive sum over one of these parts (bytes of 0 and 1).

    Maps of many sizes are seen by the same parts of a kernel.
    """
    masks = torch.frombuffer(bytearray(parts), dtype=torch.int8).reshape(-1, numbers).double()
    if len(masks) == 1:
        return 0.5
    # What all parts share is one normal number c, and all sums are negative where c is below minus the greatest rest.
    shared = masks.bool().all(0)
    if not bool(shared.any()):
        from scipy.stats import multivariate_normal

        law = multivariate_normal(cov=(masks @ masks.T).numpy(), allow_singular=True, maxpts=100_000, seed=0)
        return 1.0 - float(law.cdf(np.zeros(len(masks))))
    rest = masks[:, ~shared]
    sobol = torch.quasirandom.SobolEngine(rest.shape[1], scramble=True, seed=0)  # type: ignore[no-untyped-call]
    points = sobol.draw(_POINTS, dtype=torch.float64)
    sums = torch.special.ndtri(points.clamp(1e-12, 1 - 1e-12)) @ rest.T
    negative = torch.special.ndtr(-sums.amax(1) / float(shared.sum()) ** 0.5)
    return 1.0 - float(negative.mean())
