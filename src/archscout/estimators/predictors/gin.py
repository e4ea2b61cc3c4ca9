"""Graph isomorphism networks: one, or several that look at a graph from either end."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.registry import register
from archscout.core.space import Space
from archscout.estimators.predictors.dense import GraphNetwork, Isomorphism, mean_of, present, side_by_side
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.network import Inputs
from archscout.estimators.predictors.training import Schedule


@register("estimator", "gin")
def gin(encoding: str = "default", scores: str = "", members: int = 1, seed: int = 0) -> Learned:
    """A graph isomorphism network (Xu et al. 2019, arXiv 1810.00826), as NPENAS and FR-NAS use it."""
    return Learned("gin", GIN(seed=seed, reverse=(False,) * members), encoding, scores)


class GIN(GraphNetwork):
    """Three layers of width 32, the mean over nodes, a hidden layer of 16; one such network a view, averaged.

    300 epochs in batches of 16, Adam(0, 0.9) at 5e-3 with weight decay 1e-4 (Zhang, Cheng 2024, arXiv 2404.15622).

    Args:
        space, encoding, widths, epochs, seed: see `Network`.
        reverse: for each view, whether it sees the edges turned round.
        agreement: the weight of the loss that makes distances between architectures alike in two views.
    """

    schedule: ClassVar[Schedule] = Schedule(epochs=300, batch=16, rate=5e-3, decay=1e-4, betas=(0.0, 0.9))

    def __init__(
        self,
        space: Space | None = None,
        encoding: str | None = None,
        widths: tuple[int, ...] | None = None,
        epochs: int | None = None,
        seed: int = 0,
        *,
        reverse: tuple[bool, ...] = (False,),
        agreement: float = 0.0,
    ) -> None:
        super().__init__(space, encoding, widths, epochs, seed)
        self.reverse, self.agreement = reverse, agreement

    def _build(self, inputs: Inputs) -> nn.Module:
        return Views(inputs[1].shape[2], inputs[2].shape[1], self.reverse)

    def _loss(self, network: nn.Module, inputs: Inputs, target: Tensor) -> Tensor:
        assert isinstance(network, Views)
        codes = network.codes(*inputs)
        said = network.values(codes, inputs[2])
        error = ((said - target[:, None]) ** 2).mean(dim=0).sum()
        if not self.agreement:
            return error
        apart = [torch.sqrt(((code[:, None] - code[None]) ** 2).sum(dim=2) + 1e-12) for code in codes]
        # Each view learns from the other as it is; neither is drawn towards what both could say more easily.
        alike = sum(
            (((one - other.detach()) ** 2).mean() for one, other in zip(apart, apart[::-1], strict=True)),
            torch.zeros(()),
        )
        return (1 - self.agreement) * error + self.agreement * alike

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        said = self._outputs(matrix) * self.unit_ + self.centre_
        return said.mean(axis=1), said.std(axis=1, ddof=1) if said.shape[1] > 1 else np.full(len(said), np.nan)


class Views(nn.Module):
    """One isomorphism network a view: (N, views)."""

    def __init__(self, labels: int, side: int, reverse: tuple[bool, ...], hidden: int = 32, layers: int = 3) -> None:
        super().__init__()
        self.reverse = reverse
        sizes = [labels, *[hidden] * layers]
        self.layers = nn.ModuleList(
            nn.ModuleList(map(Isomorphism, sizes[:-1], sizes[1:])) for _ in reverse
        )  # fmt: skip
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(hidden + side, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1)) for _ in reverse
        )

    def codes(self, adjacency: Tensor, operations: Tensor, side: Tensor) -> list[Tensor]:
        """What each view knows of each graph: (N, hidden) each."""
        there = present(operations)
        layer_codes = []
        for turned, layers in zip(self.reverse, self.layers, strict=True):
            receives = adjacency if turned else adjacency.transpose(1, 2)
            state = operations
            for layer in layers:  # type: ignore[attr-defined]
                state = layer(state, receives, there)
            layer_codes.append(mean_of(state, there))
        return layer_codes

    def values(self, codes: list[Tensor], side: Tensor) -> Tensor:
        """What each view says: (N, views)."""
        said = [head(side_by_side(code, side))[:, 0] for head, code in zip(self.heads, codes, strict=True)]
        return torch.stack(said, dim=1)

    def forward(self, adjacency: Tensor, operations: Tensor, side: Tensor) -> Tensor:
        return self.values(self.codes(adjacency, operations, side), side)
