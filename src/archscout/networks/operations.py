"""The operations that cells are made of. One that yields nothing returns None, which sums leave out."""

from __future__ import annotations

from torch import Tensor, nn

from archscout.networks.elastic import Number, batch_norm, conv2d, linear


class Zero(nn.Module):
    """The operation `none`: no connection."""

    def forward(self, x: Tensor) -> Tensor | None:
        return None


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
        activation: nn.Module | None = None,
    ) -> None:
        layers = [conv2d(inputs, outputs, kernel, stride=stride, depthwise=depthwise), batch_norm(outputs)]
        super().__init__(*layers, *([activation] if activation is not None else []))


class ClassifierHead(nn.Module):
    """Global average pooling and a linear layer: the head of every image classifier here."""

    def __init__(self, channels: Number, classes: int) -> None:
        super().__init__()
        self.classifier = linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x.mean((2, 3)))  # type: ignore[no-any-return]
