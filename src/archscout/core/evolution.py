"""Evolution on a score that costs next to nothing, generation after generation, within limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.fresh import fresh
from archscout.core.offspring import child, mutant
from archscout.core.space import Space

Score = Callable[[Sequence[Architecture]], Sequence[float]]
"""Higher is better; NaN counts as worst."""

Admit = Callable[[Iterable[Architecture], int], list[Architecture]]
"""The first so many that keep every limit, in order."""


def evolve(
    space: Space,
    score: Score,
    admit: Admit,
    rng: np.random.Generator,
    *,
    first: Sequence[Architecture] = (),
    most: int = 1000,
    population: int = 50,
    parents: int = 10,
    change: float = 0.1,
) -> list[tuple[Architecture, float]]:
    """Evolution on a cheap score, with the defaults of SPOS (Guo et al. 2020, arXiv 1904.00420).

    Generation after generation, half of the new ones are mutants (each choice changes with probability `change`, at
    least one does) and half are children of two of the best so far; what is missing is drawn at random. No network is
    scored twice, and none that breaks a limit is scored at all.

    Args:
        space: where to look.
        score: of a list of architectures.
        admit: keeps those that break no limit.
        rng: of every decision.
        first: architectures to start with.
        most: architectures that are scored in all.
        population: new ones a generation.
        parents: of the best so far, how many have offspring.
        change: see above.

    Returns:
        All that were scored with their scores, the best first.
    """
    seen: set[str] = set()
    scored: list[tuple[Architecture, float]] = []

    def changes(parent: Architecture) -> int:
        return max(1, int(rng.binomial(len(parent), change)))

    def unseen(candidates: Iterator[Architecture]) -> Iterator[Architecture]:
        return fresh(space, candidates, seen)

    start: Iterator[Architecture] = iter(first)
    while len(scored) < most:
        room = min(population, most - len(scored))
        best = [architecture for architecture, _ in scored[:parents]]
        batch = admit(unseen(start), room)
        start = iter(())
        if best:
            # Several times as many tries as places: in a small space most offspring have been seen.
            batch += admit(
                unseen(mutant(space, best, rng, changes) for _ in range(10 * room)), (room - len(batch)) // 2
            )
            batch += admit(unseen(child(space, best, rng) for _ in range(10 * room)), room - len(batch))
        if len(batch) < room:
            batch += admit(unseen(space.sample(rng) for _ in range(20 * room)), room - len(batch))
        if not batch:
            break
        values = [value if np.isfinite(value) else -np.inf for value in score(batch)]
        scored += zip(batch, values, strict=True)
        scored.sort(key=lambda pair: -pair[1])
    return scored
