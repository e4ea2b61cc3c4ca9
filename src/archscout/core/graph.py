"""A labelled directed acyclic graph: what encodings, pictures and liveness are computed from."""

from __future__ import annotations

from dataclasses import dataclass, field

from archscout.core.errors import ArchscoutError


@dataclass(frozen=True)
class Node:
    """One operation. `size` is the bytes of its output for one example, where known; `macs` likewise.

    `weights` is the bytes of the parameters that it reads. `counted` is False where the operation multiplies
    matrices and no formula says how often, so that its `macs` are 0 for want of a number.
    """

    label: str
    size: int = 0
    macs: int = 0
    group: str = ""
    weights: int = 0
    counted: bool = True


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order, edges as pairs of positions (source before target).

    >>> Graph((Node("input"), Node("conv"), Node("output")), ((0, 1), (1, 2))).predecessors(1)
    (0,)
    """

    nodes: tuple[Node, ...]
    edges: tuple[tuple[int, int], ...]
    _sources: dict[int, tuple[int, ...]] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        sources: dict[int, list[int]] = {i: [] for i in range(len(self.nodes))}
        for source, target in self.edges:
            if not 0 <= source < target < len(self.nodes):
                raise ValueError(f"edge {source}->{target} does not go forward among {len(self.nodes)} nodes.")
            sources[target].append(source)
        object.__setattr__(self, "_sources", {i: tuple(s) for i, s in sources.items()})

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(node.label for node in self.nodes)

    @property
    def macs(self) -> int:
        """The multiply-adds of all operations. Raises `ArchscoutError` where one has no formula, and names it."""
        unknown = sorted({node.label for node in self.nodes if not node.counted})
        if unknown:
            raise ArchscoutError(f"the multiply-adds of operator {', '.join(unknown)} are not known.")
        return sum(node.macs for node in self.nodes)

    def predecessors(self, node: int) -> tuple[int, ...]:
        return self._sources[node]
