"""After a cut, what layers give has the mean and spread that it had before, channel by channel.

Where batch normalisation is folded into the weights there are no statistics to estimate anew; what it would do, weights
and biases do here (as REPAIR does for averaged networks: Jordan et al. 2022, arXiv 2211.08403).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from archscout.backbones.adapted import inner
from archscout.networks.channels import Group
from archscout.networks.cutting import Cut, gone_of

LARGEST = 10.0
"""Times that a channel is made larger, at most: one that hardly varies has nothing to tell."""

_SMALLEST = 1e-6


def recalibrate(smaller: nn.Module, whole: nn.Module, groups: Sequence[Group], what: Cut, x: Tensor) -> None:
    """Give the layers of a cut network, in place, the statistics that they have in the whole one.

    Changed are layers with a bias for each channel that run once for an input.

    Args:
        smaller: the cut network.
        whole: the network that it was cut from, its tensors under the same names.
        groups, what: the cut.
        x: examples; both networks are in evaluation mode.
    """
    gone, known = gone_of(groups, what), dict[str, list[tuple[Tensor, Tensor]]]()

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            known.setdefault(name, []).append(_statistics(module, output))

        return hook

    def mend(name: str) -> Callable[..., Tensor | None]:
        def hook(module: Any, inputs: Any, output: Tensor) -> Tensor | None:
            if len(known.get(name, ())) != 1:
                return None
            stays = [i for i in range(len(known[name][0][0])) if i not in gone.get((f"{name}.bias", 0), ())]
            mean, spread = (each[stays] for each in known[name][0])
            now, varied = _statistics(module, output)
            times = (spread / varied.clamp(min=_SMALLEST)).clamp(max=LARGEST)
            module.weight.mul_(times.view(-1, *[1] * (module.weight.ndim - 1)))
            module.bias.copy_((module.bias - now) * times + mean)
            now, times, mean = (_along(module, output, each) for each in (now, times, mean))
            return (output - now) * times + mean

        return hook

    for network, hook_of in ((whole, note), (smaller, mend)):
        layers = [(name, module) for name, module in inner(network).named_modules() if _has_bias(module)]
        handles = [module.register_forward_hook(hook_of(name)) for name, module in layers]
        try:
            with torch.no_grad():
                network(x)
        finally:
            for handle in handles:
                handle.remove()


def _has_bias(module: nn.Module) -> bool:
    kinds = isinstance(module, (_ConvNd, _BatchNorm, nn.Linear)) and not isinstance(module, _ConvTransposeNd)
    return kinds and module._parameters.get("weight") is not None and module._parameters.get("bias") is not None


def _axis(module: nn.Module, output: Tensor) -> int:
    return output.ndim - 1 if isinstance(module, nn.Linear) else 1


def _along(module: nn.Module, output: Tensor, values: Tensor) -> Tensor:
    shape = [1] * output.ndim
    shape[_axis(module, output)] = -1
    return values.view(shape)


def _statistics(module: nn.Module, output: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over examples and places.

    By sums of each example, which are many times as quick as `std` and no less exact where channels vary at all.
    """
    values = output.detach().float().movedim(_axis(module, output), 1).reshape(len(output), -1, _places(module, output))
    means = values.mean(2).double()
    squares = torch.linalg.vector_norm(values, dim=2).double().square() / values.shape[2]
    mean = means.mean(0)
    return mean.float(), (squares.mean(0) - mean.square()).clamp(min=0).sqrt().float()


def _places(module: nn.Module, output: Tensor) -> int:
    return output.numel() // (len(output) * output.shape[_axis(module, output)])
