"""How one choice acts on the forward pass of a supernet: which options run, and by what they are multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Gate:
    """One choice at run time; every way of gating in the field is some way of making these.

    Args:
        run: the positions of the options that are executed.
        weights: a multiplier for each option (n,), of which those of `run` are used; 1 where None.
        frozen: of `run`, the positions whose own weights get no gradient.
        idle: whether multipliers of options that do not run are added to the output, so that each receives the sum of
            the output's gradient. They must be zero in value, as those of a straight-through sample are.
    """

    run: tuple[int, ...]
    weights: Tensor | None = None
    frozen: frozenset[int] = frozenset()
    idle: bool = False

    def weight(self, position: int) -> Tensor | None:
        return None if self.weights is None else self.weights[position]

    def mix(self, options: Sequence[nn.Module], *inputs: Any, **named: Any) -> Any:
        """The weighted sum of what the options that run make of the inputs; None where all of them yield nothing."""
        total: Any = None
        for position in self.run:
            if position in self.frozen:
                with torch.no_grad():
                    term = options[position](*inputs, **named)
            else:
                term = options[position](*inputs, **named)
            if term is not None and self.weights is not None:
                term = self.weights[position] * term
            if term is not None:
                total = term if total is None else total + term
        if self.idle and self.weights is not None and total is not None:
            rest = [position for position in range(len(self.weights)) if position not in self.run]
            total = total + self.weights[rest].sum()
        return total
