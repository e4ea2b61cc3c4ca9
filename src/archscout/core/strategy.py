"""Proposes architectures: a pure function of (space, history, rng), so that resume is replay."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.trial import History, Trial


class Strategy(ABC):
    """Which architecture to try next.

    `propose` may use nothing but its arguments. Proposal number k is asked when trials 0 .. k - `lag` are known, for
    any number of workers: it is what lets them run side by side while one seed gives one search. A lag of twice the
    number of workers keeps all of them busy, and teaches the strategy later.
    """

    name: str = "strategy"
    lag: int = 4

    @abstractmethod
    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        """One architecture; `history` is in the order of asking and may contain failed trials."""

    def fidelity(self, space: Space, history: History, proposal: Architecture) -> int | None:
        """For how many epochs a proposal is trained; None for as many as whoever follows the strategy says."""
        return None


def unseen(
    draw: Callable[[], Architecture],
    space: Space,
    history: History,
    *,
    walk: Callable[[Architecture], Architecture] | None = None,
    tries: int = 32,
) -> Architecture:
    """The first of several draws whose network is not in the history, or the last draw.

    `walk` changes a draw further, one step more after every eight tries: for where the whole neighbourhood is known.
    """
    for attempt in range(tries):
        architecture = draw()
        for _ in range(attempt // 8 if walk else 0):
            architecture = walk(architecture)  # type: ignore[misc]
        if space.canonical(architecture) not in history.seen:
            break
    return architecture


class AskTell:
    """A strategy with the history kept for it, for those who own their loop.

    >>> loop = AskTell(strategy, space, seed=0)           # doctest: +SKIP
    >>> architecture = loop.ask()                         # doctest: +SKIP
    >>> loop.tell(trial)                                  # doctest: +SKIP
    """

    def __init__(self, strategy: Strategy, space: Space, *, seed: int = 0) -> None:
        self.strategy, self.space, self.seed = strategy, space, seed
        self.history = History()
        self.asked = 0

    def ask(self) -> Architecture:
        """The next architecture, from all that has been told."""
        rng = stream(self.seed, "propose", self.strategy.name, self.asked)
        architecture = self.strategy.propose(self.space, self.history, rng)
        self.asked += 1
        return architecture

    def tell(self, trial: Trial) -> None:
        """A finished trial, in the order of asking."""
        self.history.append(trial)
