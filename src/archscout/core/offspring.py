"""How evolutions breed: a parent drawn uniformly, and so many of its choices changed."""

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
