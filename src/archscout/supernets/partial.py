"""Partial channels: only a part of the channels goes through a choice, the rest past it (PC-DARTS: Xu et al. 2020,
arXiv 1907.05737)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.errors import UsageError
from archscout.networks.elastic import ElasticBatchNorm2d, ElasticConv2d, ElasticLinear
from archscout.networks.pick import MixedOp
from archscout.supernets.pooling import FastAveragePool
from archscout.supernets.supernet import Supernet


def use_part(supernet: Supernet, share: int) -> Supernet:
    """Send one channel in `share` through each choice of a supernet; it is changed in place.

    Options shrink to the channels that they get and keep the first of their weights; pools are normalised, as
    published, for what they give is larger than what convolutions give.

    Raises:
        UsageError: where channels cannot be shared out so, or widths are choices themselves.
    """
    for parent in list(supernet.network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, MixedOp):
                setattr(parent, name, PartOp(child, share))
    return supernet


class PartOp(nn.Module):
    """The first channels through a choice, the others past it (at stride 2 through a maximum), then shuffled."""

    def __init__(self, mixed: MixedOp, share: int) -> None:
        super().__init__()
        self.mixed, self.share = mixed, share
        strides = (_stride(module) for option in mixed.options.values() for module in option.modules())
        self.stride = max(strides, default=1)
        channels = max((m.num_features for m in mixed.modules() if isinstance(m, _BatchNorm)), default=0) // share
        for key, option in mixed.options.items():
            _narrow(option, share, mixed.choice)
            # Where no option has weights (in a part of a space), pools have nothing to outdo, and nobody says how wide.
            if channels and isinstance(option, nn.AvgPool2d | nn.MaxPool2d | FastAveragePool):
                mixed.options[key] = nn.Sequential(option, nn.BatchNorm2d(channels, affine=False))
        self.shuffle = nn.ChannelShuffle(share)

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[1] // self.share
        y, past = self.mixed(x[:, :count].contiguous()), x[:, count:]
        if y is None:  # `none` was chosen
            y = torch.zeros_like(x[:, :count, :: self.stride, :: self.stride])
        if self.stride > 1:
            past = F.max_pool2d(past, self.stride, self.stride, ceil_mode=True)
        return self.shuffle(torch.cat([y, past], 1))  # type: ignore[no-any-return]


def _stride(module: nn.Module) -> int:
    stride = getattr(module, "stride", 1)
    return int(max(stride) if isinstance(stride, tuple) else stride)


def _narrow(module: nn.Module, share: int, choice: str) -> None:
    """Cut the layers of an option down to one channel in `share`."""
    for layer in module.modules():
        if isinstance(layer, ElasticConv2d | ElasticBatchNorm2d | ElasticLinear | nn.Linear):
            raise UsageError(
                f"choice '{choice}' has widths of its own, or works on more than feature maps: take a method without "
                "partial channels."
            )
        sizes: list[int] = []
        if isinstance(layer, nn.Conv2d):
            sizes = [layer.in_channels, layer.out_channels, *([layer.groups] if layer.groups > 1 else [])]
        elif isinstance(layer, _BatchNorm):
            sizes = [layer.num_features]
        if any(size % share for size in sizes):
            raise UsageError(
                f"one channel in {share} of choice '{choice}' cannot be had: it has {min(sizes)}; take a wider network "
                "or a smaller share."
            )
        if isinstance(layer, nn.Conv2d):
            layer.in_channels //= share
            layer.out_channels //= share
            layer.groups = max(1, layer.groups // share)
            within = layer.in_channels // layer.groups
            layer.weight = nn.Parameter(layer.weight.detach()[: layer.out_channels, :within].clone())
            if layer.bias is not None:
                layer.bias = nn.Parameter(layer.bias.detach()[: layer.out_channels].clone())
        elif isinstance(layer, _BatchNorm):
            layer.num_features //= share
            for name in ("weight", "bias"):
                tensor = getattr(layer, name)
                if tensor is not None:
                    setattr(layer, name, nn.Parameter(tensor.detach()[: layer.num_features].clone()))
            for name in ("running_mean", "running_var"):
                if getattr(layer, name) is not None:
                    setattr(layer, name, getattr(layer, name)[: layer.num_features].clone())
