"""Bits by a genetic search over measured losses (as SPOS searches precision: Guo et al. 2020, arXiv 1904.00420)."""

from __future__ import annotations

import numpy as np

from archscout.core.seeds import stream
from archscout.shrink.bits.problem import BitProblem, Choice

_POPULATION = 24
_PATIENCE = 60
"""Children in a row that are known, before the search ends early."""


def genetic(problem: BitProblem, seed: int, evaluations: int = 240) -> Choice:
    """Uniform and random choices, then children of the better ones; all are rolled back to the limits.

    Args:
        problem: what is searched.
        seed: of the random decisions.
        evaluations: different choices that are measured.
    """
    rng = stream(seed, "bits", "genetic")
    count, positions = len(problem.places), len(problem.bits)
    problem.loss_of(problem.uniform())
    for position in range(positions):
        problem.loss_of(problem.rolled_back((position,) * count))
    known = 0
    while len(problem.known) < evaluations and known < _PATIENCE:
        ranked = sorted((c for c in problem.known if problem.keeps(c)), key=problem.known.__getitem__)[:_POPULATION]
        if len(problem.known) < _POPULATION:
            child = rng.integers(positions, size=count)
        else:
            # Parents are drawn by rank: the better of two.
            mother, father = (np.array(ranked[min(rng.integers(len(ranked), size=2))]) for _ in range(2))
            child = np.where(rng.random(count) < 0.5, mother, father)
            changed = rng.random(count) < 1.5 / count
            child = np.where(changed, (child + rng.choice([-1, 1], size=count)).clip(0, positions - 1), child)
        choice = problem.rolled_back(tuple(int(position) for position in child))
        known = known + 1 if choice in problem.known else 0
        problem.loss_of(choice)
    return problem.best()
