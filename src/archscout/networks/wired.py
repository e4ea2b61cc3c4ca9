"""Modules wired as any graph: a weighted sum of what feeds a node goes into it (Xie et al. 2019, arXiv 1904.01569)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Weighted(nn.Module):
    """Its input, after a module if one is given, times the sigmoid of one weight: an edge of a wired graph."""

    def __init__(self, module: nn.Module | None = None) -> None:
        super().__init__()
        self.module = nn.Identity() if module is None else module
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.weight) * self.module(x)  # type: ignore[no-any-return]


class Wired(nn.Module):
    """Nodes in topological order. One that no edge leads into reads the input; the output is the mean of all nodes that
    no edge leads out of.

    Args:
        nodes: what each node makes of the sum that it is given.
        edges: from one node (by its place) to a later one; what gives None is no edge.
        entries: what the input goes through before a node reads it, for nodes where it is not read as it is.
        exits: likewise what a node's output goes through before it is part of the output.
    """

    def __init__(
        self,
        nodes: Sequence[nn.Module],
        edges: Mapping[tuple[int, int], nn.Module],
        entries: Mapping[int, nn.Module] | None = None,
        exits: Mapping[int, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.nodes = nn.ModuleList(nodes)
        self.edges = nn.ModuleDict({f"{i}to{j}": edge for (i, j), edge in edges.items()})
        self.entries = nn.ModuleDict({str(node): module for node, module in (entries or {}).items()})
        self.exits = nn.ModuleDict({str(node): module for node, module in (exits or {}).items()})

    def forward(self, x: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        taken: set[int] = set()
        for place, node in enumerate(self.nodes):
            total: Tensor | None = None
            for source, output in enumerate(outputs):
                name = f"{source}to{place}"
                term = self.edges[name](output) if name in self.edges else None
                if term is not None:
                    taken.add(source)
                    total = term if total is None else total + term
            if total is None:
                total = self.entries[str(place)](x) if str(place) in self.entries else x
            outputs.append(node(total))
        ends = [place for place in range(len(outputs)) if place not in taken]
        last = [
            self.exits[str(place)](outputs[place]) if str(place) in self.exits else outputs[place] for place in ends
        ]
        return sum(last[1:], last[0]) / len(last)
