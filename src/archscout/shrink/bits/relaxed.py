"""Bits that are learned by gradients: what methods share that relax the choice. The weights of the network stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam

from archscout.shrink.bits.limits import Limit
from archscout.shrink.bits.problem import BitProblem, Choice
from archscout.training.optimizers import descend

Mixture = Sequence[Tensor]
"""Of each choice how much of each position it is: weights that add to 1."""

STEPS = 60
RATE = 0.1


def expected(problem: BitProblem, limit: Limit, mixture: Mixture) -> Tensor:
    """What a mixture costs, layer by layer, as if positions were drawn independently."""
    total = torch.zeros(())
    for layer, source in enumerate(problem.sources):
        bits = (problem.how.preset.activations.bits,) if source is None else problem.bits
        table = torch.tensor([[limit.cost(layer, w, a) for a in bits] for w in problem.bits])
        # What the table does not have is far too dear.
        table = torch.where(table.isfinite(), table, torch.full_like(table, 10 * limit.most))
        of_source = torch.ones(1) if source is None else mixture[source]
        total = total + mixture[layer] @ table.float() @ of_source
    return total


def learn(
    problem: BitProblem,
    parameters: Sequence[Tensor],
    mixture: Callable[[], Mixture],
    *,
    steps: int = STEPS,
    rate: float = RATE,
) -> None:
    """Move parameters so that the loss of the mixture falls while its cost keeps the limits.

    What is above a limit is paid for at a price that rises with each step in which it is, in units of the limit and of
    the loss at the fewest bits.
    """
    optimizer = Adam(list(parameters), lr=rate)
    unit = max(abs(problem.loss_of((0,) * len(problem.places))), 1e-12)
    if not np.isfinite(unit):
        unit = 1.0
    prices = [1.0 for _ in problem.limits]

    def backward() -> None:
        now = mixture()
        value = problem.loss(problem.outputs(now)) / unit
        for number, limit in enumerate(problem.limits):
            above = (expected(problem, limit, now) / limit.most - 1).clamp(min=0)
            value = value + prices[number] * above
            if float(above.detach()) > 0:
                prices[number] *= 1.05
        value.backward()  # type: ignore[no-untyped-call]

    for _ in range(steps):
        with torch.enable_grad():
            descend(optimizer, partial(backward))


def likeliest(problem: BitProblem, mixture: Mixture) -> Choice:
    """The choice within the limits whose positions are most of the mixture together."""
    return problem.settle([-torch.log(each.detach().clamp(min=1e-9)).double().numpy() for each in mixture])
