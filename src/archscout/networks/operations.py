"""The operations that cells are made of. One that yields nothing returns None, which sums leave out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.networks.elastic import Number, batch_norm, conv2d, linear


class Zero(nn.Module):
    """The operation `none`: no connection."""

    def forward(self, x: Tensor) -> Tensor | None:
        return None


class Noise(nn.Module):
    """Random numbers (mean 0, deviation 1) in the place of the input; in evaluation their mean.

    Args:
        stride: by which the feature map gets smaller.
    """

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return torch.randn_like(x) if self.training else torch.zeros_like(x)


class ReLUConvBN(nn.Sequential):
    """ReLU, convolution without bias, batch normalisation."""

    def __init__(self, inputs: Number, outputs: Number, kernel: Number, stride: int = 1) -> None:
        super().__init__(nn.ReLU(), conv2d(inputs, outputs, kernel, stride=stride), batch_norm(outputs))


class ConvBNActivation(nn.Sequential):
    """Convolution without bias, batch normalisation, activation."""

    def __init__(
        self,
        inputs: Number,
        outputs: Number,
        kernel: Number,
        stride: int = 1,
        *,
        depthwise: bool = False,
        dilation: int = 1,
        activation: nn.Module | None = None,
    ) -> None:
        convolution = conv2d(inputs, outputs, kernel, stride=stride, depthwise=depthwise, dilation=dilation)
        layers = [convolution, batch_norm(outputs)]
        super().__init__(*layers, *([activation] if activation is not None else []))


class ClassifierHead(nn.Module):
    """Global average pooling and a linear layer: the head of every image classifier here."""

    def __init__(self, channels: Number, classes: int) -> None:
        super().__init__()
        self.classifier = linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x.mean((2, 3)))  # type: ignore[no-any-return]


class SeparableConv(nn.Sequential):
    """ReLU, depthwise convolution, 1 x 1 convolution, batch normalisation; `repeats` times, the stride in the first."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, dilation: int = 1, repeats: int = 1
    ) -> None:
        layers: list[nn.Module] = []
        for repeat in range(repeats):
            last = repeat == repeats - 1
            step, padding = (stride if repeat == 0 else 1), dilation * (kernel // 2)
            width = outputs if last else inputs
            layers += [
                nn.ReLU(),
                nn.Conv2d(inputs, inputs, kernel, step, padding, dilation, groups=inputs, bias=False),
                nn.Conv2d(inputs, width, 1, bias=False),
                nn.BatchNorm2d(width),
            ]
        super().__init__(*layers)


class FactorizedReduce(nn.Module):
    """Halves height and width (rounded up) without leaving out a pixel: one half of the channels is made of the pixels
    at even places, the other of those at odd places; batch normalisation follows."""

    def __init__(self, inputs: int, outputs: int, *, activation: bool = True) -> None:
        super().__init__()
        self.activation = nn.ReLU() if activation else nn.Identity()
        self.even = nn.Conv2d(inputs, outputs - outputs // 2, 1, 2, bias=False)
        self.odd = nn.Conv2d(inputs, outputs // 2, 1, 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(x)
        shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        return self.norm(torch.cat([self.even(x), self.odd(shifted)], 1))  # type: ignore[no-any-return]
