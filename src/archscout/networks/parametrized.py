"""Weights that are computed from other tensors (`torch.nn.utils.parametrize`): as one is deployed, they are plain."""

from __future__ import annotations

from torch import nn
from torch.nn.utils import parametrize


def settle(network: nn.Module) -> bool:
    """Replace what parametrizations compute by what they came to, in place; whether there were any.

    Weight and spectral normalisation and the like are for training: afterwards the weights no longer change, and need
    not be computed anew for each example. The network must be in evaluation mode.
    """
    # PyTorch's own `remove_parametrizations` changes the class, which copies of a module share.
    settled = [module for module in network.modules() if parametrize.is_parametrized(module)]
    for module in settled:
        weights = {name: getattr(module, name).detach() for name in module.parametrizations}  # type: ignore[union-attr]
        module.__class__ = parametrize.type_before_parametrizations(module)
        del module.parametrizations
        for name, weight in weights.items():
            setattr(module, name, nn.Parameter(weight, requires_grad=weight.is_floating_point()))
    return bool(settled)
