"""Layers for series (N x channels x length): their width and kernel may be choices, as those of images may."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.networks.elastic import Elastic, ElasticBatchNorm2d, Number, linear, maximum, now, profile


def conv1d(inputs: Number, outputs: Number, kernel: Number, *, dilation: int = 1, depthwise: bool = False) -> nn.Module:
    """A convolution without bias that keeps the length; depthwise ones have `outputs` equal to `inputs`."""
    if not any(isinstance(number, Elastic) for number in (inputs, outputs, kernel)):
        size = now(kernel)
        groups = now(inputs) if depthwise else 1
        padding = dilation * (size // 2)
        return nn.Conv1d(now(inputs), now(outputs), size, 1, padding, dilation, groups=groups, bias=False)
    return ElasticConv1d(inputs, outputs, kernel, dilation=dilation, depthwise=depthwise)


def batch_norm1d(channels: Number) -> nn.Module:
    """Batch normalisation over the channels of series."""
    return ElasticBatchNorm1d(channels) if isinstance(channels, Elastic) else nn.BatchNorm1d(channels)


class ElasticBatchNorm1d(ElasticBatchNorm2d):
    """Batch normalisation of the first channels of series: the same arithmetic."""


class ElasticConv1d(nn.Conv1d):
    """A convolution of which the first channels and the centre of the kernel run."""

    def __init__(self, inputs: Number, outputs: Number, kernel: Number, *, dilation: int, depthwise: bool) -> None:
        size = maximum(kernel)
        groups = maximum(inputs) if depthwise else 1
        padding = dilation * (size // 2)
        super().__init__(maximum(inputs), maximum(outputs), size, 1, padding, dilation, groups=groups, bias=False)
        self.numbers = (inputs, outputs, kernel)
        self.depthwise = depthwise

    def active_state(self) -> dict[str, Tensor]:
        """The slices that run now, as the state of a plain layer."""
        inputs, outputs, kernel = (now(number) for number in self.numbers)
        start = (self.kernel_size[0] - kernel) // 2
        return {"weight": self.weight[:outputs, : 1 if self.depthwise else inputs, start : start + kernel]}

    def forward(self, x: Tensor) -> Tensor:
        weight = self.active_state()["weight"]
        half = weight.shape[-1] // 2
        groups = x.shape[1] if self.depthwise else 1
        kernel = profile(self.numbers[2])
        if kernel is not None:
            # From the middle outwards, as in two dimensions.
            place = (torch.arange(2 * half + 1, device=x.device) - half).abs()
            weight = weight * kernel[2 * place]
        y = F.conv1d(x, weight, None, 1, self.dilation[0] * half, self.dilation, groups)
        mask = profile(self.numbers[1])
        return y if mask is None else y * mask.view(-1, 1)


class ConvBN(nn.Sequential):
    """Convolution that keeps the length, batch normalisation, and ReLU where asked for."""

    def __init__(
        self,
        inputs: Number,
        outputs: Number,
        kernel: Number,
        *,
        dilation: int = 1,
        depthwise: bool = False,
        activation: bool = False,
    ) -> None:
        convolution = conv1d(inputs, outputs, kernel, dilation=dilation, depthwise=depthwise)
        super().__init__(convolution, batch_norm1d(outputs), *([nn.ReLU()] if activation else []))


class Recurrent(nn.Module):
    """What a gated recurrent unit (Cho et al. 2014, arXiv 1406.1078) makes of a series, added to it."""

    def __init__(self, channels: Number, hidden: int) -> None:
        super().__init__()
        self.inner = ConvBN(channels, hidden, 1)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.outer = ConvBN(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(self.inner(x).transpose(1, 2))
        y: Tensor = self.outer(states.transpose(1, 2))
        return x + y


class SeriesHead(nn.Module):
    """The mean over time and a linear layer."""

    def __init__(self, channels: Number, outputs: int) -> None:
        super().__init__()
        self.classifier = linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(x.mean(2))
        return y


class DeployedSeries(nn.Module):
    """A network that takes series as they are stored (float32, N x channels x length)."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1))
        self.network = network

    def forward(self, x: Tensor) -> Any:
        return self.network((x - self.mean) / self.std)
