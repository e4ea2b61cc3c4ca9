"""Many architectures in one pass through a supernet, each with batch statistics of its own.

Their feature maps lie side by side as N x A x C x H x W, which is a batch of N * A for convolutions and has A * C
channels for batch normalisation; each option of a choice runs once, on the architectures that take it. As a plan
(`grouped`), they share out the examples of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.architecture import Architecture
from archscout.core.space import Space
from archscout.networks.gate import Gate
from archscout.supernets.supernet import Supernet


class NotOneMap(Exception):  # noqa: N818 - an answer, not a fault
    """A choice takes something else than one feature map."""


class Crowd(dict[str, Gate]):
    """The gates through which each of several architectures takes its own options.

    Args:
        space: of the architectures.
        architectures: those that are side by side.
    """

    def __init__(self, space: Space, architectures: Sequence[Architecture]) -> None:
        super().__init__({choice.name: _Spread(self, choice.name) for choice in space.choices})
        simple = [space.simplify(architecture) for architecture in architectures]
        # Which of them are in the feature map that is being computed, and what each of them chose.
        self.present = torch.arange(len(simple))
        self.codes = {
            choice.name: torch.tensor([choice.index(architecture[choice.name]) for architecture in simple])
            for choice in space.choices
        }

    def run(self, supernet: Supernet, x: Tensor) -> Tensor:
        """The outputs for inputs of which number n goes through architecture n modulo A; N * A of them.

        Running statistics are neither used nor changed. Raises `NotOneMap` where choices take something else.
        """
        norms = [module for module in supernet.modules() if isinstance(module, _BatchNorm)]
        for norm in norms:
            norm.forward = _by_architecture(norm, self)  # type: ignore[method-assign, assignment]
        try:
            return supernet.gate(self)(x)  # type: ignore[no-any-return]
        finally:
            for norm in norms:
                del norm.forward
            supernet.selection.gates = {}


class _Spread(Gate):
    """A gate through which each architecture takes its own option."""

    def __init__(self, crowd: Crowd, choice: str) -> None:
        super().__init__(run=())
        object.__setattr__(self, "crowd", crowd)
        object.__setattr__(self, "choice", choice)

    def mix(self, options: Sequence[nn.Module], *inputs: Any, **named: Any) -> Any:
        crowd: Crowd = self.crowd  # type: ignore[attr-defined]
        if len(inputs) != 1 or named or not isinstance(inputs[0], Tensor):
            raise NotOneMap
        everyone = crowd.present
        codes = crowd.codes[self.choice][everyone]  # type: ignore[attr-defined]
        apart = torch.unflatten(inputs[0], 0, (-1, len(everyone)))
        total: Tensor | None = None
        for position, option in enumerate(options):
            rows = (codes == position).nonzero()[:, 0]
            if not len(rows):
                continue
            crowd.present = everyone[rows]
            # Where all take one option there is nothing to gather.
            part = option(apart[:, rows].flatten(0, 1) if len(rows) < len(everyone) else inputs[0])
            if part is None:
                continue
            part = torch.unflatten(part, 0, (-1, len(rows)))
            if total is None:
                total = part.new_zeros(apart.shape[0], len(everyone), *part.shape[2:])
            total[:, rows] = part
        crowd.present = everyone
        return None if total is None else total.flatten(0, 1)


def _by_architecture(norm: _BatchNorm, crowd: Crowd) -> Callable[[Tensor], Tensor]:
    """Batch normalisation with the statistics of each architecture apart."""

    def forward(x: Tensor) -> Tensor:
        count = len(crowd.present)
        apart = torch.unflatten(x, 0, (-1, count)).flatten(1, 2)
        weight, bias = (None if p is None else p.repeat(count) for p in (norm.weight, norm.bias))
        y = F.batch_norm(apart, None, None, weight, bias, True, 0.0, norm.eps)
        return torch.unflatten(y, 1, (count, -1)).flatten(0, 1)

    return forward
