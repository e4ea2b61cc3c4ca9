"""Local search (White, Nolen, Savani 2021, arXiv 2005.02960): strong where a space has few local optima."""

from __future__ import annotations

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.registry import register
from archscout.core.space import Space
from archscout.core.strategy import Strategy, unseen
from archscout.core.trial import History


@register("strategy", "local_search")
class LocalSearch(Strategy):
    """Hill climbing: neighbours of the best of a climb are tried in random order, and a better one is gone on from.

    Where all neighbours have been tried the climb has ended, and another begins at a random architecture. The variant
    of the paper that moves as soon as a neighbour is better, and not when all have been looked at.
    """

    def __init__(self) -> None:
        self.name = "local_search"

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        top = _top(space, history)
        if top is None:
            return unseen(lambda: space.sample(rng), space, history)
        known = history.seen | {pending.canonical for pending in history.pending}
        free = [one for one in space.neighbours(top) if space.canonical(one) not in known]
        return free[int(rng.integers(len(free)))] if free else unseen(lambda: space.sample(rng), space, history)


def _top(space: Space, history: History) -> Architecture | None:
    """Where the latest climb has come to: replayed from the history."""
    top, height, climb = None, -np.inf, set[str]()
    for trial in history:
        if not trial.defined:
            continue
        begins = trial.canonical not in climb
        if begins or trial.value > height:
            top, height = trial.architecture, trial.value
            # What is told late may be a neighbour of where the climb was before.
            near = {space.canonical(one) for one in space.neighbours(top)} | {trial.canonical}
            climb = near if begins else climb | near
    return top
