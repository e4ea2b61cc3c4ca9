"""A network as it is cut: the module itself, in a copy, whose weights are parameters."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from archscout.core.errors import UsageError, reason_of


def copied(network: nn.Module) -> nn.Module:
    """A copy of a network. Raises `UsageError` where it cannot be copied."""
    try:
        return copy.deepcopy(network)
    except Exception as error:  # whatever the user's code raises
        raise UsageError(
            f"the network cannot be copied ({reason_of(error)}): weights that are computed from others "
            "(torch.nn.utils.prune, weight_norm) must be made plain first, by the remove function of what made them."
        ) from error


def plain_weights(network: nn.Module) -> list[str]:
    """Weights that parametrizations compute (weight_norm, spectral_norm) become parameters of these numbers, in place;
    the names of their layers."""
    names = [name for name, module in network.named_modules() if parametrize.is_parametrized(module)]
    for name in names:
        module: Any = network.get_submodule(name)
        values = {tensor: getattr(module, tensor).detach().clone() for tensor in module.parametrizations}
        # Torch's own way takes the weight from the class as well, which a copy has in common with its original.
        module.__class__ = parametrize.type_before_parametrizations(module)
        computing = module._modules.pop("parametrizations")
        for tensor, value in values.items():
            learned = [weight.requires_grad for weight in computing[tensor].parameters()]
            if learned:
                module.register_parameter(tensor, nn.Parameter(value, any(learned)))
            else:
                module.register_buffer(tensor, value)
    return names


def uncompiled(network: nn.Module) -> nn.Module:
    """The module that `torch.compile` was given, whose weights are the same; any other as it is."""
    original = getattr(network, "_orig_mod", network)
    return original if isinstance(original, nn.Module) else network
