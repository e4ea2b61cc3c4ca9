"""From a feature map to an embedding, and how near that is to each class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.networks.elastic import Number, linear
from archscout.networks.series import conv1d

ATTENTION = 32
"""Channels inside of what weighs places."""

_LEAST = 1e-5
"""Of a variance, before its root is taken."""


class EmbeddingHead(nn.Module):
    """Attentive statistics pooling (Okabe, Koshinaka, Shinoda 2018, arXiv 1803.10963), and a linear layer.

    Takes a map N x channels x ... and gives N x (size + classes): an embedding of length 1, and its cosine with a
    vector of each class of training.
    """

    def __init__(self, channels: Number, size: int, classes: int) -> None:
        super().__init__()
        self.look = nn.Sequential(conv1d(channels, ATTENTION, 1), nn.BatchNorm1d(ATTENTION), nn.Tanh())
        self.weigh = conv1d(ATTENTION, channels, 1)
        # Over mean and deviation side by side, as a sum.
        self.of_mean, self.of_deviation = linear(channels, size), linear(channels, size, bias=False)
        self.norm = nn.BatchNorm1d(size)
        self.classes = nn.Linear(size, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2)
        weights = self.weigh(self.look(x)).softmax(2)
        mean = (weights * x).sum(2)
        deviation = ((weights * x.square()).sum(2) - mean.square()).clamp(min=_LEAST).sqrt()
        embedding = F.normalize(self.norm(self.of_mean(mean) + self.of_deviation(deviation)), dim=1)
        cosines = F.linear(embedding, F.normalize(self.classes.weight, dim=1))
        return torch.cat([embedding, cosines], 1)
