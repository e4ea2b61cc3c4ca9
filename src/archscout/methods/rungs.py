"""Rungs of full trainings that pause: what successive halving, Hyperband, ASHA and BOHB have in common.

The rungs lie at `least`, `least` x `eta`, ... epochs, the last at full training. A training that reaches a rung pauses
there (`archscout.estimators.paused`), and who is among the best of a rung is continued to the next. Trials of different
lengths are never compared: the strategy that proposes learns from the highest rung that has enough of them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.method import Method, Run
from archscout.core.registry import create
from archscout.core.strategy import Strategy, unseen
from archscout.core.trial import History, Trial
from archscout.estimators.paused import Paused
from archscout.methods.strategy import check_trains, ranked

TRIES = 200
"""Proposals in a row that bring nothing new, after which a space has nothing left."""


class Rungs(Method):
    """A method over rungs. A subclass writes `climb`.

    Args:
        name: of the method.
        strategy: which proposes new architectures, by its name.
        eta: one in so many is continued to the next rung, which is so many times as long.
        least: epochs of the lowest rung.
    """

    def __init__(self, name: str, strategy: str, eta: int, least: int) -> None:
        if eta < 2 or least < 1:
            raise UsageError(
                f"method '{name}' needs eta of 2 or more and a least training of 1 epoch or more, not eta={eta}, "
                f"least={least}."
            )
        self.name = name
        self.strategy: Strategy = create("strategy", strategy)
        self.eta, self.least = eta, least

    def search(self, run: Run) -> list[Trial]:
        check_trains(run, self.name)
        climb = Climb(run, self.strategy, self.eta, levels(run, self.eta, self.least))
        self.climb(climb)
        climb.note()
        return climb.ranking()

    @abstractmethod
    def climb(self, climb: Climb) -> None:
        """Spend the budget."""


class Climb:
    """One search over rungs: what has been trained how far.

    Args:
        run: what the method searches with.
        strategy: which proposes new architectures.
        eta: one in so many is continued.
        epochs: of the rungs, rising.
    """

    def __init__(self, run: Run, strategy: Strategy, eta: int, epochs: Sequence[int]) -> None:
        self.run, self.strategy, self.eta, self.epochs = run, strategy, eta, tuple(epochs)
        self.estimator = Paused(run.epochs)
        self.trials: list[Trial] = []
        self.continued: Callable[[Sequence[Trial], int], list[Trial]] = best
        """Which of a rung are continued, of so many at most."""
        self._asked = 0

    def train(self, architectures: Sequence[Architecture], epochs: int) -> list[Trial]:
        """Continue these until a rung; fewer trials come back where the budget ends first."""
        trials = self.run.evaluate(
            architectures, self.estimator, fidelity=epochs, phase=f"rung of {epochs} epoch{'s' if epochs > 1 else ''}"
        )
        self.trials += trials
        return trials

    def halve(self, architectures: Sequence[Architecture], start: int = 0) -> bool:
        """Successive halving from a rung on, by its number; whether the budget paid for all of it."""
        for epochs in self.epochs[start:]:
            trials = self.train(architectures, epochs)
            if len(trials) < len(architectures):
                return False
            architectures = [trial.architecture for trial in self.continued(trials, len(trials) // self.eta)]
        return True

    def fresh(self, count: int) -> list[Architecture]:
        """So many new architectures that keep the limits, by the strategy; fewer where the space has no more."""
        taken = {trial.canonical for trial in self.trials}
        history = lesson(self.trials, self.epochs, enough(self.run))

        def proposals() -> Iterator[Architecture]:
            stale = 0
            while stale < TRIES:
                rng = self.run.rng(self.strategy.name, "rungs", self._asked)
                self._asked += 1
                propose = partial(self.strategy.propose, self.run.space, history, rng)
                proposal = self.run.space.simplify(unseen(propose, self.run.space, history))
                canonical = self.run.space.canonical(proposal)
                stale += 1
                if canonical not in taken:
                    taken.add(canonical)
                    stale = 0
                    yield proposal

        return self.run.admit(proposals(), count)

    def price(self, count: int, start: int = 0) -> float:
        """What successive halving of so many from a rung on takes, in full trainings."""
        spent, before = 0, 0
        for epochs in self.epochs[start:]:
            spent += count * (epochs - before)
            count, before = count // self.eta, epochs
        return spent / self.epochs[-1]

    def affordable(self, count: int, start: int = 0) -> tuple[int, int]:
        """So many from this rung on; where the rest of a budget in trials does not pay for that, fewer.

        As few as leave one for full training, then fewer from a higher rung; none where not even one is paid for.
        """
        left = self.run.trials_left() + 1e-9
        while self.price(count, start) > left:
            rungs = len(self.epochs) - 1 - start
            if count > self.eta**rungs:
                count -= 1
            elif rungs:
                count, start = self.eta ** (rungs - 1), start + 1
            else:
                return 0, start
        return count, start

    def ranking(self) -> list[Trial]:
        """The trials that came furthest, best first."""
        top = max((trial.fidelity or 0 for trial in self.trials if trial.defined), default=0)
        return ranked(self.run, [trial for trial in self.trials if (trial.fidelity or 0) == top])

    def note(self) -> None:
        """For the report: how many reached each rung."""
        counts = {epochs: sum(trial.fidelity == epochs for trial in self.trials) for epochs in self.epochs}
        self.run.note("reached", [{"epochs": epochs, "trainings": count} for epochs, count in counts.items()])


def levels(run: Run, eta: int, least: int) -> list[int]:
    """The epochs of the rungs, rising; only those that a table answers for.

    From full training downwards, as published: R, R / eta, R / eta^2, ...
    """
    epochs = [run.epochs]
    while epochs[-1] // eta >= least:
        epochs.append(epochs[-1] // eta)
    return sorted({min(run.fidelity(each), run.epochs) for each in epochs})


def best(trials: Sequence[Trial], count: int) -> list[Trial]:
    """The best so many by value, earlier ones first among equals; undefined ones never."""
    return sorted((trial for trial in trials if trial.defined), key=lambda t: (-t.value, t.number))[:count]


def enough(run: Run) -> int:
    """How many trials a rung must have before a strategy learns from it: one more than choices, as in BOHB."""
    return len(run.space.choices) + 1


def lesson(trials: Sequence[Trial], epochs: Sequence[int], count: int) -> History:
    """The trials of the highest rung that has enough; nothing where none has, so that proposals are random."""
    for level in sorted(epochs, reverse=True):
        rung = [trial for trial in trials if trial.fidelity == level]
        if sum(trial.defined for trial in rung) >= count:
            return History(rung)
    return History()


def brackets(rungs: int, eta: int) -> list[tuple[int, int]]:
    """Hyperband's brackets: how many begin, and on which rung, from the most to the least exploring.

    >>> brackets(5, 3)
    [(81, 0), (34, 1), (15, 2), (8, 3), (5, 4)]
    """
    return [(math.ceil(rungs / (s + 1) * eta**s), rungs - 1 - s) for s in reversed(range(rungs))]
