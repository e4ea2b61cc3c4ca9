"""What batch normalisation tells of architectures when all operators have it (after Zhu et al. 2021, arXiv 2112.00265).

With batch normalisation on every operator no option is put aside for having none, but the sizes of the scales no longer
rank; instead three properties of the network with trained normalisation are put together. The published formula was not
at hand: the three measures and their sum of ranks are this package's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from scipy.stats import percentileofscore
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.networks.operations import Zero
from archscout.networks.pick import MixedOp
from archscout.supernets.distributions import Distribution
from archscout.supernets.evaluate import examples, kept_statistics, mode
from archscout.supernets.gates import soft
from archscout.supernets.supernet import Supernet
from archscout.supernets.weights import last_norm, norms_only

LARGEST = 1e12
"""Condition numbers beyond this are rounding."""


def normalise_everything(supernet: Supernet) -> Supernet:
    """Put batch normalisation after every option that gives something and has none; the supernet is changed in place.

    Raises `UsageError` for a space whose choices are not all between modules on feature maps.
    """
    space = supernet.space
    if set(supernet.mixed()) != {choice.name for choice in space.choices}:
        raise UsageError(
            f"choices of space '{space.name}' are not all between modules, which normalisation of every operator "
            "needs: use bn_nas without fair=true."
        )
    channels: dict[MixedOp, int] = {}

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, MixedOp)
        channels[module] = inputs[0].shape[1]

    places = [place for layers in supernet.mixed().values() for place in layers]
    hooks = [place.register_forward_pre_hook(look) for place in places]
    with mode(supernet, training=True), kept_statistics(supernet), torch.no_grad():
        supernet.gate(soft(Distribution(space)))(examples(supernet))
    for hook in hooks:
        hook.remove()
    for place, count in channels.items():
        for key, option in place.options.items():
            if last_norm(option) is None and not isinstance(option, Zero):
                place.options[key] = nn.Sequential(option, nn.BatchNorm2d(count))
    return supernet


def measures(supernet: Supernet, architecture: Architecture, x: Tensor) -> tuple[float, float, float]:
    """Expressivity, trainability and certainty of an architecture with inherited normalisation; higher is better.

    Expressivity is the number of rectifiers that open for different sets of examples, trainability minus the log
    condition number of the tangent kernel of the normalisation's weights, certainty minus the mean entropy (nats) of
    the predicted classes.

    Args:
        supernet: whose weights.
        architecture: which.
        x: at most 60 examples.
    """
    codes: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _, inputs, output: codes.append((output > 0).flatten(1)))
        for module in supernet.modules()
        if isinstance(module, nn.ReLU)
    ]
    norms = norms_only(supernet)
    before = [weight.requires_grad for weight in norms]
    for weight in norms:
        weight.requires_grad_(True)
    with mode(supernet, training=True), kept_statistics(supernet):
        outputs = supernet.select(architecture)(x)
        rows = []
        for each in outputs.sum(1):
            gradients = torch.autograd.grad(each, norms, retain_graph=True, allow_unused=True)
            rows.append(torch.cat([slope.flatten() for slope in gradients if slope is not None]))
    for weight, was in zip(norms, before, strict=True):
        weight.requires_grad_(was)
    for hook in hooks:
        hook.remove()
    places = 2 ** torch.arange(len(x))
    patterns = torch.unique((torch.cat(codes, 1).to(torch.int64) * places[:, None]).sum(0)).numel() if codes else 0
    jacobian = torch.stack(rows).double()
    eigenvalues = torch.linalg.eigvalsh(jacobian @ jacobian.T)
    largest = float(eigenvalues[-1])
    condition = min(largest / max(float(eigenvalues[0]), largest / LARGEST), LARGEST) if largest > 0 else LARGEST
    p = torch.softmax(outputs.detach(), 1)
    certainty = float((p * torch.log(p.clamp(min=1e-12))).sum(1).mean())
    return float(patterns), -math.log(condition), certainty


class Indicator:
    """The sum of the three measures' ranks among reference architectures: from 0 to 3, the same whoever else is scored.

    Args:
        supernet: with trained normalisation.
        reference: architectures to rank among.
        x: examples, see `measures`.
    """

    def __init__(self, supernet: Supernet, reference: Sequence[Architecture], x: Tensor) -> None:
        self.supernet, self.x = supernet, x
        self.columns = list(zip(*(measures(supernet, architecture, x) for architecture in reference), strict=True))

    def __call__(self, architectures: Sequence[Architecture]) -> list[float]:
        rows = [measures(self.supernet, architecture, self.x) for architecture in architectures]
        return [
            sum(float(percentileofscore(c, v, kind="mean")) / 100 for c, v in zip(self.columns, values, strict=True))
            for values in rows
        ]
