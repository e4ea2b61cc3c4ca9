"""The most memory that activations take at once."""

from __future__ import annotations

from typing import ClassVar

from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.estimator import Setting
from archscout.core.graph import Graph
from archscout.core.registry import register
from archscout.networks.tracing import trace_architecture


@register("cost", "peak_memory")
class PeakMemory(Cost):
    """The most bytes that activations take at once, for one example in float32.

    Counted by liveness over the traced operators in the order in which they run: the input, and the output of an
    operator from when it starts until the last operator that reads it has finished. Not counted: weights, the inner
    workspace of an operator, and what a runtime saves by fusing operators or working in place of its own accord.
    """

    name = "peak_memory"
    key = "peak_memory_bytes"
    units: ClassVar = {"": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}

    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        return Measurement(float(peak_bytes(trace_architecture(setting.space, architecture, setting.task))))


def peak_bytes(graph: Graph) -> int:
    """The largest sum of the sizes of all outputs that are alive while one node runs.

    A node of size 0 works in the memory of its first source, which then lives as long as the node does.

    >>> from archscout.core.graph import Node
    >>> peak_bytes(Graph((Node("input", 4), Node("conv", 8), Node("mean", 1)), ((0, 1), (1, 2))))
    12
    """
    owner = list(range(len(graph.nodes)))
    last = list(owner)
    for target, node in enumerate(graph.nodes):
        sources = graph.predecessors(target)
        if node.size == 0 and sources:
            owner[target] = owner[sources[0]]
        for source in (*sources, target):
            last[owner[source]] = target
    freed: dict[int, int] = {}
    for position, end in enumerate(last):
        freed[end] = freed.get(end, 0) + graph.nodes[position].size
    alive = peak = 0
    for position, node in enumerate(graph.nodes):
        alive += node.size
        peak = max(peak, alive)
        alive -= freed.get(position, 0)
    return peak
