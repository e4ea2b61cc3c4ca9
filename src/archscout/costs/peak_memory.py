"""The most memory that activations take at once."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import ClassVar

from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.estimator import Setting
from archscout.core.graph import Graph
from archscout.core.registry import register
from archscout.deploy.form import form
from archscout.deploy.precision import DTYPES, Form
from archscout.networks.pick import build
from archscout.networks.tracing import blueprint, trace

BYTES = {"": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}
"""What may be written after a number of bytes."""

_STATES = 10_000
"""How many states the search for the best order looks at."""


@register("cost", "peak_memory")
class PeakMemory(Cost):
    """The most bytes that activations take at once, for one example, in the best order of operators.

    The network is in its deployed form: batch normalisation is folded. Counted by liveness over the traced operators:
    the input, and the output of an operator from when it starts until the last operator that reads it has finished. Not
    counted: weights, the inner workspace of an operator, and what a runtime saves by fusing operators or working in
    place of its own accord. The order is the one that needs least (`details["best"]`), or the one that the code has
    where 10,000 steps of the search do not settle it; `details["as_written_bytes"]` is what the code's order needs.

    Args:
        precision: of activations: `float32`, `bfloat16` or `int8`.
    """

    units: ClassVar = BYTES

    def __init__(self, precision: str = "float32") -> None:
        self.name = "peak_memory"
        self.form = counted_form(self.name, precision)
        self.key = counted_key("peak_memory", self.form)

    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        graph = _deployed(architecture, setting)
        least, best = least_peak_bytes(graph)
        written = in_form(peak_bytes(graph), self.form)
        details = {"as_written_bytes": written, "best": best, "precision": self.form.precision}
        return Measurement(float(in_form(least, self.form)), details=details)


def counted_form(cost: str, precision: str) -> Form:
    """The form whose bytes a cost counts. Raises `UsageError` for a precision that there is not."""
    if precision not in DTYPES:
        raise UsageError(f"cost '{cost}' has no precision '{precision}': use one of {', '.join(DTYPES)}.")
    return Form(precision)  # type: ignore[arg-type]


def in_form(count: int, form: Form) -> int:
    """Bytes of single precision as those of a form."""
    return count * form.bytes // Form().bytes


def counted_key(name: str, form: Form) -> str:
    """The key of a cost in bytes, which names any precision but single."""
    return "_".join([name, *[form.precision] * (form != Form()), "bytes"])


def _deployed(architecture: Architecture, setting: Setting) -> Graph:
    task = setting.task
    shape = task.input_shape
    try:
        return trace(form(task.answering(blueprint(setting.space, architecture, task)), shape), shape)
    except ArchscoutError:
        return trace(form(task.answering(build(setting.space, architecture, task)), shape), shape)


def peak_bytes(graph: Graph) -> int:
    """The largest sum of the sizes of all outputs that are alive while one node runs, in the order of the nodes.

    A node of size 0 works in the memory of its first source, which then lives as long as the node does.

    >>> from archscout.core.graph import Node
    >>> peak_bytes(Graph((Node("input", 4), Node("conv", 8), Node("mean", 1)), ((0, 1), (1, 2))))
    12
    """
    tensors = _Tensors(graph)
    alive = peak = done = 0
    for node in range(len(graph.nodes)):
        peak = max(peak, alive + tensors.size[node])
        alive, done = tensors.after(node, alive, done)
    return peak


def least_peak_bytes(graph: Graph, states: int = _STATES) -> tuple[int, bool]:
    """`peak_bytes` in the best order of the nodes, and whether it is known that no order needs less.

    The first node (the input) stays first. A search over sets of finished nodes, the least peak first; a node that can
    run within the peak so far and leaves no more behind than it found is run at once, since that can never harm. After
    `states` sets, the order of the nodes as they are is the answer.
    """
    tensors = _Tensors(graph)
    written = peak_bytes(graph)
    floor = max(sum(tensors.size[tensor] for tensor in tensors.held[node]) for node in range(len(graph.nodes)))
    if written <= floor:
        return written, True
    everything = (1 << len(graph.nodes)) - 1
    alive, done = tensors.after(0, 0, 0)
    waiting = [(max(floor, tensors.size[0]), done, alive, tensors.ready(0, done, tensors.free))]
    least = {done: waiting[0][0]}
    while waiting and states > 0:
        peak, done, alive, ready = heapq.heappop(waiting)
        if done == everything:
            return peak, True
        if peak > least[done]:
            continue  # it has been reached with less since
        states -= 1
        for node in tensors.worth_trying(ready, done, alive, peak):
            needed = max(peak, alive + tensors.size[node])
            left, finished = tensors.after(node, alive, done)
            if needed < least.get(finished, needed + 1):
                least[finished] = needed
                heapq.heappush(waiting, (needed, finished, left, tensors.ready(node, finished, ready)))
    return written, False


class _Tensors:
    """Which node makes, holds and reads which tensor; sets of nodes are the bits of a number.

    A node that works in the memory of its first source runs after all others that read that source as it was.
    """

    def __init__(self, graph: Graph) -> None:
        count = len(graph.nodes)
        self.size = [node.size for node in graph.nodes]
        owner = list(range(count))
        self.held: list[Sequence[int]] = []
        self.users = [0] * count
        before = [0] * count
        readers: list[list[int]] = [[] for _ in range(count)]
        for node in range(count):
            sources = graph.predecessors(node)
            if self.size[node] == 0 and sources:
                owner[node] = owner[sources[0]]
                before[node] |= _bits(readers[sources[0]])
            for source in sources:
                readers[source].append(node)
            before[node] |= _bits(sources)
            self.held.append(tuple({owner[node], *(owner[source] for source in sources)}))
            for tensor in self.held[node]:
                self.users[tensor] |= 1 << node
        self.before = before
        self.next = [[later for later in range(count) if before[later] >> node & 1] for node in range(count)]
        self.free = _bits([node for node in range(1, count) if not before[node]])

    def after(self, node: int, alive: int, done: int) -> tuple[int, int]:
        """The bytes alive when a node has finished, and what is done then."""
        done |= 1 << node
        freed = sum(self.size[tensor] for tensor in self.held[node] if not self.users[tensor] & ~done)
        return alive + self.size[node] - freed, done

    def ready(self, node: int, done: int, ready: int) -> int:
        """What can run when a node has finished, of `ready` and what waited for it."""
        return ready & ~(1 << node) | _bits([later for later in self.next[node] if not self.before[later] & ~done])

    def worth_trying(self, ready: int, done: int, alive: int, peak: int) -> list[int]:
        """The nodes that can run now; one alone where that one cannot harm."""
        nodes = []
        while ready:
            node = (ready & -ready).bit_length() - 1
            ready &= ready - 1
            if alive + self.size[node] <= peak and self.after(node, alive, done)[0] <= alive:
                return [node]
            nodes.append(node)
        return nodes


def _bits(nodes: Sequence[int]) -> int:
    return sum(1 << node for node in set(nodes))
