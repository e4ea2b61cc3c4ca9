"""Bits by measuring every choice: the truth that other methods are held against, of networks of a few layers."""

from __future__ import annotations

import itertools

from archscout.core.errors import UsageError
from archscout.shrink.bits.problem import BitProblem, Choice

_MOST = 10_000
"""Choices."""


def exhaustive(problem: BitProblem, seed: int) -> Choice:
    """Every choice within the limits, measured. Raises `UsageError` where there are too many."""
    count = len(problem.bits) ** len(problem.places)
    if count > _MOST:
        raise UsageError(f"{count:,} choices of bits are too many to measure each: use another method.")
    for choice in itertools.product(range(len(problem.bits)), repeat=len(problem.places)):
        if problem.keeps(choice):
            problem.loss_of(choice)
    return problem.best()
