"""NAR: a transformer that says in which fifth of all architectures one is, and where within it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from archscout.core.registry import register
from archscout.estimators.predictors.dense import GraphNetwork, present
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.network import Inputs
from archscout.estimators.predictors.training import Schedule

TIERS = 5
"""Parts of equal size that samples are cut into by their values, the best first."""

SOFTNESS = 0.1
"""Share of the probability that the wanted label leaves to all tiers alike."""


@register("estimator", "nar")
def nar(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """A transformer over nodes that ranks by tiers (NAR, Guo et al. 2022, ACM Multimedia, arXiv 2201.12725)."""
    return Learned("nar", NAR(seed=seed), encoding, scores)


class NAR(GraphNetwork):
    """A transformer over the nodes of the graph, and a decoder that compares them with the mean member of each tier.

    The samples are cut by their values into five tiers. The embedding of a tier is the mean of what the encoder makes
    of its members, taken anew in each epoch; it is the query of the decoder, which looks at the encoded nodes. What the
    decoder says for all tiers is summed and tells the tier; a second head tells the score from the encoder alone. The
    loss is the cross-entropy of the tier (soft labels) plus the mean over pairs of the logistic loss of the difference
    of their scores. What `predict` says is the score, brought to the mean and the deviation of the values learned from.

    As published: this arrangement, heads, loss, sinusoidal positions and AdamW(0.9, 0.982) with weight decay 1e-2.
    Reconstructed: a token is a node with its operation and its row and column of the adjacency matrix, where published
    tokens are patches of operations, multiply-adds and parameters (in a cell, functions of the operation); the
    embedding of a tier is one token, its mean over nodes too; 3 layers of width 64 for 6 of width 128; a cosine for the
    schedule of Noam; 120 epochs in batches of 64 for 55 of 128, as fewer samples are learned from than the published
    1,000; soft labels leave 0.1 to all tiers.

    Parameters: see `Network`.
    """

    schedule: ClassVar[Schedule] = Schedule(
        epochs=120, batch=64, rate=1e-3, decay=1e-2, decoupled=True, betas=(0.9, 0.982)
    )

    def _build(self, inputs: Inputs) -> nn.Module:
        return TierNetwork(inputs[1].shape[1], inputs[1].shape[2], inputs[2].shape[1])

    def _train(self, inputs: Inputs, target: Tensor, rng: np.random.Generator) -> None:
        assert isinstance(self.network_, TierNetwork)
        self.network_.samples = len(target)
        tier = torch.from_numpy(tiers(target.numpy()))
        super()._train(inputs, torch.stack([target, tier], dim=1), rng)
        with torch.no_grad():
            self.network_.remember(self.network_.encode(*inputs[:2]), tier.long(), anew=True)
        self._level(inputs)

    def _score(self, outputs: np.ndarray) -> np.ndarray:
        return outputs[:, 0]

    def _loss(self, network: nn.Module, inputs: Inputs, target: Tensor) -> Tensor:
        assert isinstance(network, TierNetwork)
        value, tier = target[:, 0], target[:, 1].long()
        encoded = network.encode(*inputs[:2])
        network.remember(encoded.detach(), tier)
        classification = nn.functional.cross_entropy(network.told(encoded), tier, label_smoothing=SOFTNESS)
        return classification + rank_loss(network.score(encoded, inputs[2]), value)

    def tier_of(self, X: np.ndarray | Sequence[Any]) -> np.ndarray:  # noqa: N803
        """The most probable tier of each architecture, 0 for the best: int, (N,)."""
        matrix = self.matrix(X)
        return np.asarray(self._outputs(matrix)[:, 1:].argmax(axis=1) if len(matrix) else [], dtype=np.int64)


def tiers(y: np.ndarray) -> np.ndarray:
    """The tier of each value, 0 for the highest fifth; equal values are in the same one: float32."""
    return np.asarray(np.floor((rankdata(-y) - 0.5) / len(y) * TIERS), dtype=np.float32)


def rank_loss(score: Tensor, value: Tensor) -> Tensor:
    """The mean over ordered pairs of unequal values of log(1 + exp(-d)), d the difference of scores, better - worse."""
    sign = torch.sign(value[:, None] - value[None])
    each = nn.functional.softplus(-(score[:, None] - score[None]) * sign) * sign.abs()
    return each.sum() / sign.abs().sum().clamp(min=1)


class TierNetwork(nn.Module):
    """From adjacency, operations and further columns to a score and a logit a tier: (N, 1 + TIERS)."""

    def __init__(
        self, vertices: int, labels: int, side: int, width: int = 64, heads: int = 4, layers: int = 3, wide: int = 256
    ) -> None:
        super().__init__()
        self.project = nn.Linear(labels + 2 * vertices, width)
        self.places, self.sums, self.members = sinusoids(vertices, width), torch.zeros(TIERS, width), torch.zeros(TIERS)
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, wide, 0.1, batch_first=True) for _ in range(layers)
        )
        self.decoder = nn.ModuleList(
            nn.TransformerDecoderLayer(width, heads, wide, 0.1, batch_first=True) for _ in range(layers)
        )
        self.tier = nn.Sequential(nn.Linear(width, wide), nn.ReLU(), nn.Linear(wide, TIERS))
        self.head = nn.Sequential(nn.Linear(vertices * width + side, wide), nn.ReLU(), nn.Linear(wide, 1))
        self.scale = width**-0.5
        self.samples, self.seen = 1, 0

    def encode(self, adjacency: Tensor, operations: Tensor) -> Tensor:
        """(N, V, width), 0 for padding; nodes look at those that are there, and at what pads them if there is none."""
        there = present(operations)
        state: Tensor = self.project(torch.cat([operations, adjacency, adjacency.transpose(1, 2)], dim=2)) + self.places
        hidden = (there[:, :, 0] == 0) & (there.amax(dim=1) > 0)
        for layer in self.encoder:
            state = layer(state, src_key_padding_mask=hidden)
        return state * there

    def remember(self, encoded: Tensor, tier: Tensor, *, anew: bool = False) -> None:
        """Take these into the means of their tiers; forget those of the last epoch first, or all, if `anew`."""
        if anew or self.seen >= self.samples:
            self.sums.zero_()
            self.members.zero_()
            self.seen = 0
        self.sums.index_add_(0, tier, encoded.mean(dim=1))
        self.members.index_add_(0, tier, torch.ones(len(tier)))
        self.seen += len(tier)

    def told(self, encoded: Tensor) -> Tensor:
        """The logit of each tier: (N, TIERS)."""
        state = (self.sums / self.members.clamp(min=1)[:, None]).expand(len(encoded), -1, -1)
        for layer in self.decoder:
            state = layer(state, encoded)
        out: Tensor = self.tier(state.sum(dim=1)) * self.scale
        return out

    def score(self, encoded: Tensor, side: Tensor) -> Tensor:
        """The order of architectures: (N,)."""
        out: Tensor = self.head(torch.cat([encoded.flatten(1), side], dim=1))[:, 0]
        return out

    def forward(self, adjacency: Tensor, operations: Tensor, side: Tensor) -> Tensor:
        encoded = self.encode(adjacency, operations)
        return torch.cat([self.score(encoded, side)[:, None], self.told(encoded)], dim=1)


def sinusoids(places: int, width: int) -> Tensor:
    """Sines and cosines of each place at wavelengths from 2 pi to 20,000 pi (Vaswani et al. 2017, 1706.03762)."""
    angle = torch.arange(places)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    return torch.stack([torch.sin(angle), torch.cos(angle)], dim=2).flatten(1)
