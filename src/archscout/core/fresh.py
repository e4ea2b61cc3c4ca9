"""New networks among candidates: each once, told by its canonical form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from archscout.core.architecture import Architecture
from archscout.core.space import Space


def fresh(space: Space, candidates: Iterable[Architecture], seen: set[str]) -> Iterator[Architecture]:
    """Those candidates whose network is not among the canonical forms seen so far; what comes is added to these.

    Candidates are looked at one by one, as they are asked for.
    """
    for candidate in candidates:
        canonical = space.canonical(candidate)
        if canonical not in seen:
            seen.add(canonical)
            yield candidate
