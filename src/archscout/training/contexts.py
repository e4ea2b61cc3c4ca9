"""What a network or the process is set to for a while, and put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def evaluation(network: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode and nothing recorded for gradients; each goes back to the mode it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """No weight of a network is trained."""
    before = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, wanted in before:
            parameter.requires_grad_(wanted)


@contextmanager
def norm_momentum(network: nn.Module, momentum: float) -> Iterator[None]:
    """Running statistics that follow with this momentum, unless a layer averages over all batches (momentum None)."""
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.momentum is not None]
    before = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = momentum
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.momentum = own


@contextmanager
def own_randomness(device: str) -> Iterator[None]:
    """Leave the global generators as they were."""
    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def seed_modules(seed: int, device: str) -> None:
    """Seed the generators that modules (dropout) draw from; see `own_randomness`."""
    torch.default_generator.manual_seed(seed)
    if torch.device(device).type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def hookable(network: nn.Module) -> list[nn.Module]:
    """The modules of a network that take hooks: those of TorchScript do not, nor what is in them."""
    return [module for module in network.modules() if not isinstance(module, torch.jit.ScriptModule)]
