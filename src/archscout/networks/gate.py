"""How one choice acts on the forward pass of a supernet: which options run, and by what they are multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


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
        terms: list[Any] = []
        taken: list[int] = []
        for position in self.run:
            with torch.no_grad() if position in self.frozen else nullcontext():
                term = options[position](*inputs, **named)
            if term is not None:
                terms.append(term)
                taken.append(position)
        if not terms:
            return None
        total: Any
        if self.weights is None:
            total = sum(terms[1:], start=terms[0])
        elif len(terms) == 1:
            total = self.weights[taken[0]] * terms[0]
        else:
            total = _WeightedSum.apply(self.weights[taken], *terms)  # type: ignore[no-untyped-call]
        if self.idle and self.weights is not None:
            rest = [position for position in range(len(self.weights)) if position not in self.run]
            total = total + self.weights[rest].sum()
        return total


class _WeightedSum(torch.autograd.Function):
    """The sum of tensors of one shape, each times its weight, without a product of its own for each: these would be
    written and read once more in either direction."""

    @staticmethod
    def forward(context: Any, weights: Tensor, *terms: Tensor) -> Tensor:
        context.save_for_backward(weights, *terms)
        first, *rest = weights.tolist()
        total: Tensor = terms[0] * first
        for weight, term in zip(rest, terms[1:], strict=True):
            total.add_(term, alpha=weight)
        return total

    @staticmethod
    @once_differentiable
    def backward(context: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        weights, *terms = context.saved_tensors
        wanted = context.needs_input_grad
        flat = slope.reshape(-1)
        of_weights = torch.stack([torch.dot(flat, term.reshape(-1)) for term in terms]) if wanted[0] else None
        values = weights.tolist()
        of_terms = (slope * v if want else None for v, want in zip(values, wanted[1:], strict=True))
        return of_weights, *of_terms
