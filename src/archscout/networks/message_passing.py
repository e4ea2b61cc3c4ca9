"""Graph convolutions in plain torch: a node's neighbours are rows of a padded table, and no sparse matrix is needed.

Each convolution maps the features of all nodes (N x inputs) to N x outputs. Names and number of parameters are those of
the layers of PyTorch Geometric that carry the same names.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.networks.elastic import Number, linear

HEADS = 2
"""Attention heads; they divide the outputs among them."""


class Neighbourhood(nn.Module):
    """Which nodes a node hears.

    Args:
        edges: E x 2, from a node to another; for an undirected graph both directions, and no node to itself.
        nodes: how many there are.
    """

    index: Tensor
    present: Tensor
    degree: Tensor

    def __init__(self, edges: np.ndarray, nodes: int) -> None:
        super().__init__()
        degree = np.bincount(edges[:, 1], minlength=nodes)
        index = np.zeros((nodes, max(1, int(degree.max(initial=0)))), np.int64)
        present = np.zeros(index.shape, np.float32)
        ordered = edges[np.lexsort((edges[:, 0], edges[:, 1]))]
        place = np.arange(len(ordered)) - np.repeat(np.cumsum(degree) - degree, degree)
        index[ordered[:, 1], place] = ordered[:, 0]
        present[ordered[:, 1], place] = 1.0
        # Not persistent: the graph is data, and no part of the weights.
        self.register_buffer("index", torch.tensor(index), persistent=False)
        self.register_buffer("present", torch.tensor(present), persistent=False)
        self.register_buffer("degree", torch.tensor(degree[:, None].astype(np.float32)), persistent=False)

    def forward(self, x: Tensor, kind: str) -> Tensor:
        """What nodes hear: `self`, `sum` or `mean` of the neighbours, the symmetrically `normalised` sum, or that
        with the node among its own neighbours (`looped`)."""
        if kind == "self":
            return x
        if kind == "looped":
            scale = (self.degree + 1).rsqrt()
            return scale * (self._sum(scale * x) + scale * x)
        if kind == "normalised":
            scale = self.degree.clamp(min=1).rsqrt()
            return scale * self._sum(scale * x)
        total = self._sum(x)
        return total / self.degree.clamp(min=1) if kind == "mean" else total

    def _sum(self, x: Tensor) -> Tensor:
        return (x[self.index] * self.present[..., None]).sum(1)


TERMS: Mapping[str, tuple[tuple[str, float], ...]] = {
    "gcn": (("looped", 1.0),),
    "gin": (("sum", 1.0), ("self", 1.0)),
    "cheb": (("self", 1.0), ("normalised", -1.0)),
    "sage": (("mean", 1.0), ("self", 1.0)),
    "arma": (("normalised", 1.0), ("self", 1.0)),
    "graph": (("sum", 1.0), ("self", 1.0)),
    "fc": (("self", 1.0),),
}
"""What each convolution adds up: kinds of hearing, with a factor.

- `gcn`: Kipf, Welling 2017, arXiv 1609.02907.
- `gin`: Xu et al. 2019, arXiv 1810.00826, with a linear map and epsilon 0.
- `cheb`: Defferrard et al. 2016, arXiv 1606.09375, of order 2.
- `sage`: Hamilton et al. 2017, arXiv 1706.02216.
- `arma`: Bianchi et al. 2019, arXiv 1901.01343, one stack of one layer.
- `graph`: Morris et al. 2019, arXiv 1810.02244.
"""

SHARED = frozenset({"gin"})
"""Convolutions whose terms go through one map."""


class Convolution(nn.Module):
    """A sum of what a node hears in several ways, each through a linear map; one bias."""

    def __init__(self, kind: str, inputs: Number, outputs: int) -> None:
        super().__init__()
        self.kind = kind
        maps = 1 if kind in SHARED else len(TERMS[kind])
        self.maps = nn.ModuleList(linear(inputs, outputs, bias=False) for _ in range(maps))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, around: Neighbourhood) -> Tensor:
        total = self.bias.expand(len(x), -1)
        for place, (hearing, factor) in enumerate(TERMS[self.kind]):
            # Mapped first: most maps make features fewer, and hearing costs by the feature.
            total = total + factor * around(self.maps[min(place, len(self.maps) - 1)](x), hearing)
        return F.relu(total) if self.kind == "arma" else total


class Attention(nn.Module):
    """A node hears itself and its neighbours as much as they concern it (Velickovic et al. 2018, arXiv 1710.10903)."""

    def __init__(self, inputs: Number, outputs: int) -> None:
        super().__init__()
        self.map = linear(inputs, outputs, bias=False)
        bound = (6 / (1 + outputs // HEADS)) ** 0.5
        self.source = nn.Parameter(torch.empty(HEADS, outputs // HEADS).uniform_(-bound, bound))
        self.target = nn.Parameter(torch.empty(HEADS, outputs // HEADS).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, around: Neighbourhood) -> Tensor:
        mapped = self.map(x).unflatten(1, (HEADS, -1))
        spoken, heard = (mapped * self.source).sum(2), (mapped * self.target).sum(2)
        scores = F.leaky_relu(spoken[around.index] + heard[:, None], 0.2)
        scores = scores.masked_fill(around.present[..., None] == 0, -torch.inf)
        own = F.leaky_relu(spoken + heard, 0.2)[:, None]
        shares = torch.cat([own, scores], 1).softmax(1)
        said = torch.cat([mapped[:, None], mapped[around.index]], 1)
        return (shares[..., None] * said).sum(1).flatten(1) + self.bias


class Skip(nn.Module):
    """The features as they are."""

    def forward(self, x: Tensor, around: Neighbourhood) -> Tensor:
        return x
