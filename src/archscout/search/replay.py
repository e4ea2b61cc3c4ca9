"""What both kinds of run share: the streams of the seed, and how a strategy is asked.

Whether evaluations are paid for or looked up, proposal number k of a strategy sees the trials up to k - lag, in the
order of asking, whoever of the workers is quicker: one seed is one search, however many workers there are. No more of
them than the lag are busy at once; a strategy is told of another lag in its text (`random:lag=128`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterable, Sequence

import numpy as np

from archscout.core import seeds
from archscout.core.architecture import Architecture
from archscout.core.space import Space
from archscout.core.strategy import Strategy
from archscout.core.trial import History, Pending, Trial
from archscout.store.store import StoredTrial

PROPOSAL = "proposal"
"""Under this key of `extra`: the number of the strategy among those that a run follows, the place among its proposals,
how many were rejected until then, and the fidelity that was asked for. A search that is resumed takes its proposals
from there.
"""

STALE = 200
"""Proposals in a row that bring nothing new, after which a strategy has nothing left to propose."""


class Replay(ABC):
    """The part of `archscout.core.method.Run` that is the same whoever answers."""

    space: Space
    seed: int
    workers: int
    start: Sequence[Trial] = ()
    """See `Run`; strategies are told of these before all others."""

    @abstractmethod
    def admit(self, architectures: Iterable[Architecture], count: int) -> list[Architecture]:
        """See `Run`."""

    @abstractmethod
    def seconds_left(self) -> float:
        """See `Run`."""

    def show(self, phase: str, done: float, total: float | None = None) -> None:  # noqa: B027 - optional
        """See `Run`; nobody waits for what is looked up."""

    def say(self, text: str) -> None:  # noqa: B027 - optional
        """See `Run`; nobody watches what is looked up."""

    def fidelity(self, epochs: int) -> int:
        return epochs

    def rng(self, *keys: str | int) -> np.random.Generator:
        return seeds.stream(self.seed, *keys)


class Proposals:
    """What a strategy has proposed in a run, each by the key of its evaluation, and the trials that it is told of.

    Args:
        run: whose streams they are drawn from, and whose limits they keep.
        strategy: proposes.
        most: how many different evaluations are asked for; None for no limit.
    """

    def __init__(self, run: Replay, strategy: Strategy, most: int | None) -> None:
        self.run, self.strategy, self.lag = run, strategy, strategy.lag
        self.keys: dict[str, int | None] = {}
        """With how many epochs each is trained, where that was said."""
        self.total = most
        """How many evaluations there will be; None where that is not known."""
        self._asked: list[tuple[str, Architecture]] = []
        self._history = History(run.start)
        self._before = len(run.start)
        self._forms: list[Pending] = []
        """All that was asked for, in this order, with canonical forms."""
        self._networks = set(self._history.seen)
        self._size = run.space.size()
        self._stale, self._over = 0, False
        self._answered = 0
        """Of how many of those asked for, from the first, it is known that they are answered."""

    def __len__(self) -> int:
        """How many have been asked for."""
        return len(self._asked)

    @property
    def ended(self) -> bool:
        """Whether no more is to be asked for."""
        enough = self.total is not None and len(self.keys) >= self.total
        patience = self.lag if len(self._networks) >= self._size else STALE
        return self._over or enough or self._stale >= patience

    def end(self) -> None:
        """Nothing more is asked for: the budget has ended, or the strategy has nothing to propose."""
        self._over = True

    def wait(self, answered: Container[str]) -> bool:
        """Whether the next proposal needs to see a trial that is not among those answered."""
        # What a resumed search has proposed before it need not see again: only what was asked for since is looked at.
        end = max(0, len(self._asked) + 1 - self.lag)
        for place in range(max(self._answered, self._told), end):
            if self._asked[place][0] not in answered:
                self._answered = place
                return True
        self._answered = max(self._answered, end)
        return False

    def next(self, trial: Callable[[str, Architecture], Trial]) -> Architecture | None:
        """The next proposal that keeps the limits; None where none is found, or the time ends while it is looked for.

        `trial` says how an evaluation that was asked for went.
        """
        for key, architecture in self._unseen():
            self._history.append(trial(key, architecture))
        self._history.pending = self._forms[self._told :]
        for attempt in range(STALE):
            rng = self.run.rng("propose", self.strategy.name, len(self._asked), attempt)
            proposal = self.run.space.simplify(self.strategy.propose(self.run.space, self._history, rng))
            if self.run.admit([proposal], 1):
                return proposal
            if self.run.seconds_left() <= 0:
                return None
        return None

    def fidelity(self, proposal: Architecture, otherwise: int | None) -> int | None:
        """For how many epochs what was proposed last is trained: as the strategy says, or otherwise."""
        wished = self.strategy.fidelity(self.run.space, self._history, proposal)
        return otherwise if wished is None else wished

    def ask(self, key: str, architecture: Architecture, fidelity: int | None) -> None:
        """What was proposed last is evaluated under this key, with this fidelity."""
        self._stale = self._stale + 1 if key in self.keys else 0
        self.keys[key] = fidelity
        self._asked.append((key, architecture))
        self._forms.append(Pending(architecture, self.run.space.canonical(architecture), fidelity))
        self._networks.add(self._forms[-1].canonical)

    def distinct(self) -> list[tuple[str, Architecture]]:
        """What was asked for, in this order; what was asked for again counts once."""
        first: dict[str, Architecture] = {}
        for key, architecture in self._asked:
            first.setdefault(key, architecture)
        return list(first.items())

    def _unseen(self) -> list[tuple[str, Architecture]]:
        return self._asked[self._told : max(0, len(self._asked) + 1 - self.lag)]

    @property
    def _told(self) -> int:
        """How many of those asked for the strategy has been told of."""
        return len(self._history) - self._before


def followed(
    trials: Iterable[StoredTrial], follow: int, estimator: str, fidelity: int | None
) -> dict[int, StoredTrial]:
    """What the strategy of this number is known to have proposed before a search was stopped, by its place."""
    known = ((trial.extra.get(PROPOSAL), trial) for trial in trials if trial.estimator == estimator)
    return {
        place[1]: trial for place, trial in known if place is not None and (place[0], place[3]) == (follow, fidelity)
    }
