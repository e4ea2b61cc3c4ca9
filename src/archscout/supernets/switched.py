"""Batch normalisation of its own for each combination of options that a layer's numbers have.

A number of an elastic layer (a kernel, an expansion) is a slice of one tensor, and all its options share the batch
normalisation behind it. Where that is what tells options apart (BN-NAS), each gets its own, as slimmable networks have
it for widths (Yu et al. 2019, arXiv 1812.08928).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.choice import Option
from archscout.networks.elastic import ElasticBatchNorm2d, ElasticChoice, ElasticConv2d, leaves
from archscout.supernets.supernet import Supernet

MOST = 256
"""Combinations of a layer; one with more keeps its shared normalisation."""


class SwitchedNorm(nn.Module):
    """Of several batch normalisations the one of the options that are selected.

    Args:
        norm: what stands there; each of the several begins as it began.
        choices: that decide, by name.
    """

    def __init__(self, norm: _BatchNorm, choices: Mapping[str, ElasticChoice]) -> None:
        super().__init__()
        self.choices = dict(choices)
        options = [leaf.choice.options for leaf in self.choices.values()]
        self.places = {combination: place for place, combination in enumerate(itertools.product(*options))}
        self.norms = nn.ModuleList(
            ElasticBatchNorm2d(norm.channels) if isinstance(norm, ElasticBatchNorm2d) else type(norm)(norm.num_features)
            for _ in self.places
        )

    def of(self, values: Mapping[str, Option]) -> _BatchNorm:
        """The normalisation where the choices have these values."""
        norm = self.norms[self.places[tuple(values[name] for name in self.choices)]]
        assert isinstance(norm, _BatchNorm)
        return norm

    def scale(self, values: Mapping[str, Option]) -> float:
        """The mean size of the scales that run where the choices have these values; 0 where they are not active."""
        if not all(name in values for name in self.choices):
            return 0.0
        norm = self.of(values)
        count = norm.channels.at(values) if isinstance(norm, ElasticBatchNorm2d) else norm.num_features
        return float(norm.weight.detach()[:count].abs().mean())

    def forward(self, x: Tensor) -> Tensor:
        now = {name: leaf.selection.values.get(name, leaf.first) for name, leaf in self.choices.items()}
        y: Tensor = self.of(now)(x)
        return y


def switched(supernet: Supernet) -> list[SwitchedNorm]:
    """Those that a supernet has."""
    return [module for module in supernet.modules() if isinstance(module, SwitchedNorm)]


def switch_norms(supernet: Supernet) -> Supernet:
    """Give the options of elastic convolutions batch normalisations of their own; the supernet is changed in place.

    Of each convolution with batch normalisation behind it those choices count that are named deepest (the block's own,
    not those of the stage around it). Of several convolutions that depend on the same choices, or on fewer of them, the
    last with most has them: one for each block.
    """
    norms: dict[frozenset[str], tuple[nn.Sequential, int, dict[str, ElasticChoice]]] = {}
    for module in supernet.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for place, (layer, norm) in enumerate(itertools.pairwise(module)):
            if isinstance(layer, ElasticConv2d) and isinstance(norm, _BatchNorm):
                own = _deepest({name: leaf for number in layer.numbers for name, leaf in leaves(number).items()})
                if own:
                    norms[frozenset(own)] = (module, place + 1, own)
    for names, (parent, place, own) in norms.items():
        if any(names < other for other in norms):
            continue
        norm = parent[place]
        assert isinstance(norm, _BatchNorm)
        if math.prod(len(leaf.choice.options) for leaf in own.values()) <= MOST:
            parent[place] = SwitchedNorm(norm, own)
    return supernet


def _deepest(choices: Mapping[str, ElasticChoice]) -> dict[str, ElasticChoice]:
    """Those with most dots in their name."""
    depth = max((name.count(".") for name in choices), default=0)
    return {name: leaf for name, leaf in sorted(choices.items()) if name.count(".") == depth}
