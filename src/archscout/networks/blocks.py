"""Layers that several spaces put in a row: plain and separable convolutions, and a shortcut around some."""

from __future__ import annotations

from torch import Tensor, nn

from archscout.networks.elastic import Number
from archscout.networks.operations import ConvBNActivation


def plain(inputs: Number, outputs: Number, kernel: Number, dilation: int = 1) -> nn.Module:
    """Convolution, batch normalisation, ReLU."""
    return ConvBNActivation(inputs, outputs, kernel, dilation=dilation, activation=nn.ReLU())


def separable(inputs: Number, outputs: Number, kernel: Number, dilation: int = 1) -> nn.Module:
    """A convolution of each channel by itself, then one of all channels at each place."""
    alone = ConvBNActivation(inputs, inputs, kernel, depthwise=True, dilation=dilation)
    return nn.Sequential(alone, ConvBNActivation(inputs, outputs, 1, activation=nn.ReLU()))


LAYERS = {"plain": plain, "residual": plain, "separable": separable}
"""What a stage of each kind has in a row; all but plain ones have a shortcut around them."""


class Shortcut(nn.Module):
    """The sum of the input, projected, and of what layers make of it; then ReLU."""

    def __init__(self, layers: nn.Module, inputs: Number, outputs: Number) -> None:
        super().__init__()
        self.layers = layers
        self.shortcut = ConvBNActivation(inputs, outputs, 1)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.shortcut(x) + self.layers(x))
        return y
