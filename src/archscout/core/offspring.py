"""How evolutions breed: parents drawn uniformly; so many choices of one changed, or two of them crossed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.space import Space


def mutant(
    space: Space, parents: Sequence[Architecture], rng: np.random.Generator, changes: Callable[[Architecture], int]
) -> Architecture:
    """A changed copy of one of the parents; a later change may take an earlier one back.

    Args:
        space: of the parents.
        parents: each as likely as any other.
        rng: of every decision.
        changes: how many mutations a parent gets.
    """
    architecture = parents[int(rng.integers(len(parents)))]
    for _ in range(changes(architecture)):
        architecture = space.mutate(architecture, rng)
    return architecture


def child(space: Space, parents: Sequence[Architecture], rng: np.random.Generator) -> Architecture:
    """The crossover of two of the parents, each drawn as likely as any other; they may be one."""
    one, other = (parents[int(rng.integers(len(parents)))] for _ in range(2))
    return space.crossover(one, other, rng)
