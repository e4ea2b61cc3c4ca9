"""Weight rules: which weights a phase trains."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.supernets.supernet import Supernet
from archscout.supernets.switched import switched

WeightRule = Callable[[Supernet], list[nn.Parameter]]


def everything(supernet: Supernet) -> list[nn.Parameter]:
    """All weights."""
    return list(supernet.network.parameters())


def unscaled(supernet: Supernet) -> list[nn.Parameter]:
    """All but the scales and shifts of batch normalisation, which stay 1 and 0.

    Else the scale of an option trades against its probability.
    """
    norms = {id(parameter) for parameter in norms_only(supernet)}
    return [parameter for parameter in everything(supernet) if id(parameter) not in norms]


def norms_only(supernet: Supernet) -> list[nn.Parameter]:
    """The scales and shifts of batch normalisation."""
    return [p for module in supernet.modules() if isinstance(module, _BatchNorm) for p in module.parameters()]


def norms_and_classifier(supernet: Supernet) -> list[nn.Parameter]:
    """Batch normalisation and the last linear layer; convolutions keep the weights they were drawn with (Zhang et al.
    2023, arXiv 2208.08835)."""
    linear = [module for module in supernet.modules() if isinstance(module, nn.Linear)]
    return norms_only(supernet) + [p for module in linear[-1:] for p in module.parameters()]


def fixed_backbone(supernet: Supernet) -> list[nn.Parameter]:
    """All but the weights that every architecture has, normalisation and the last linear layer excepted: these keep the
    values they were drawn with.

    Else the stem and the reductions of a small network learn what its cells should, and a choice hardly matters.
    """
    options = [p for places in supernet.mixed().values() for place in places for p in place.parameters()]
    trained = {id(parameter) for parameter in [*options, *norms_and_classifier(supernet)]}
    return [parameter for parameter in supernet.parameters() if id(parameter) in trained]


def last_norms(supernet: Supernet) -> list[nn.Parameter]:
    """The last batch normalisation of every option of every choice (Chen et al. 2021, arXiv 2108.07375); of numbers,
    what `archscout.supernets.switched` gave their options."""
    norms: dict[int, nn.Parameter] = {}
    for places in supernet.mixed().values():
        for place in places:
            for option in place.options.values():
                norm = last_norm(option)
                if norm is not None:
                    norms |= {id(p): p for p in norm.parameters()}
    norms |= {id(p): p for norm in switched(supernet) for p in norm.parameters()}
    return list(norms.values())


def last_norm(option: nn.Module) -> _BatchNorm | None:
    """The last batch normalisation of an option; None for one without."""
    norms = [module for module in option.modules() if isinstance(module, _BatchNorm)]
    return norms[-1] if norms else None
