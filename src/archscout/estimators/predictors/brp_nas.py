"""BRP-NAS: a graph network that learns which of two architectures is better."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.registry import register
from archscout.core.space import Space
from archscout.estimators.predictors.dense import GraphNetwork, side_by_side, with_global
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.network import Inputs
from archscout.estimators.predictors.training import Schedule


@register("estimator", "brp_nas")
def brp_nas(encoding: str = "default", scores: str = "", binary: bool = True, seed: int = 0) -> Learned:
    """A graph network that compares pairs (BRP-NAS, Dudziak et al. 2020, arXiv 2007.08668)."""
    return Learned("brp_nas", BRP(seed=seed, binary=binary), encoding, scores)


class BRP(GraphNetwork):
    """Four graph convolutions with layer normalisation; a global node is read out.

    The comparator is linear in the two embeddings side by side, so that the probability that one is better than the
    other is that of a difference of scores, up to a term that antisymmetry removes; the score orders a space without
    any comparison. Trained for the cross-entropy to the softmax of the two (standardised) values, on all pairs within a
    batch.

    AdamW with weight decay 5e-4, dropout 0.2, 250 epochs. Published: width 600 and batches of 12 to 60 pairs at 3.5e-4;
    here width 128 and all pairs of 16 architectures at 1e-3, to be fast. What it says is brought to the mean and the
    deviation of the values learned from.

    Args:
        space, encoding, widths, epochs, seed: see `Network`.
        binary: compares pairs; else the same network learns values by their squared error.
    """

    schedule: ClassVar[Schedule] = Schedule(epochs=250, batch=16, rate=1e-3, decay=5e-4, decoupled=True)

    def __init__(
        self,
        space: Space | None = None,
        encoding: str | None = None,
        widths: tuple[int, ...] | None = None,
        epochs: int | None = None,
        seed: int = 0,
        *,
        binary: bool = True,
    ) -> None:
        super().__init__(space, encoding, widths, epochs, seed)
        self.binary = binary

    def _inputs(self, matrix: np.ndarray) -> Inputs:
        """With the global node: once, not in every step."""
        adjacency, operations, side = super()._inputs(matrix)
        return *with_global(adjacency, operations), side

    def _build(self, inputs: Inputs) -> nn.Module:
        return Comparator(inputs[1].shape[2], inputs[2].shape[1])

    def _loss(self, network: nn.Module, inputs: Inputs, target: Tensor) -> Tensor:
        shares = network(*inputs)
        if not self.binary:
            return nn.functional.mse_loss(shares[:, 0], target)
        better = shares[:, None, 0] + shares[None, :, 1]  # the logit that the row is better than the column
        wanted = torch.sigmoid(target[:, None] - target[None])
        pairs = (~torch.eye(len(target), dtype=torch.bool)).float()
        each = nn.functional.binary_cross_entropy_with_logits(better, wanted, reduction="none")
        return (each * pairs).sum() / pairs.sum().clamp(min=1)

    def _train(self, inputs: Inputs, target: Tensor, rng: np.random.Generator) -> None:
        super()._train(inputs, target, rng)
        if self.binary:
            self._level(inputs)

    def _score(self, outputs: np.ndarray) -> np.ndarray:
        return outputs[:, 0] - outputs[:, 1] if self.binary else outputs[:, 0]


class Comparator(nn.Module):
    """Each graph's share in a comparison as the first, and as the second of two: (N, 2)."""

    def __init__(self, labels: int, side: int, hidden: int = 128, layers: int = 4, dropout: float = 0.2) -> None:
        super().__init__()
        sizes = [labels, *[hidden] * layers]
        self.layers = nn.ModuleList(map(nn.Linear, sizes[:-1], sizes[1:]))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(hidden + side, 2)

    def forward(self, receives: Tensor, state: Tensor, side: Tensor) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            state = self.dropout(torch.relu(norm(torch.bmm(receives, layer(state)))))
        out: Tensor = self.head(side_by_side(state[:, -1], side))
        return out
