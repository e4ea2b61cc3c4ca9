"""ASHA: asynchronous successive halving (Li, Jamieson, Rostamizadeh et al. 2020, arXiv 1810.05934)."""

from __future__ import annotations

import bisect
from collections import ChainMap, Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from archscout.core import options
from archscout.core.architecture import Architecture
from archscout.core.registry import full_name, register
from archscout.core.space import Space
from archscout.core.strategy import Strategy, unseen
from archscout.core.trial import History, Pending, Trial
from archscout.methods.rungs import Climb, Rungs, lesson
from archscout.methods.strategy import AHEAD, tell_idle


@register("method", "asha")
class ASHA(Rungs):
    """Successive halving that waits for nobody: a free worker continues what is among the best of its rung so far.

    Where no rung has such a training, a new one is begun on the lowest.

    Args:
        strategy: which proposes new architectures.
        eta: one in so many is continued to the next rung, which is so many times as long.
        least: epochs of the lowest rung.
        lag: by how many a proposal may be ahead of what it knows: more than so many workers are not kept busy.
    """

    def __init__(self, strategy: str = "random", eta: int = 4, least: int = 1, lag: int = 8) -> None:
        super().__init__("asha", strategy, eta, least)
        self.lag = options.whole(lag, "the lag of 'asha'", least=1)

    def climb(self, climb: Climb) -> None:
        text = full_name("asha", {"strategy": climb.strategy.name, "eta": self.eta, "least": self.least})
        tell_idle(climb.run, text, self.lag, 2 * AHEAD)  # parts of trainings differ more
        strategy = Promotion(climb.strategy, climb.epochs, self.eta, self.lag)
        climb.trials += climb.run.follow(strategy, climb.estimator, phase="asynchronous halving")


class Promotion(Strategy):
    """Proposes what is to be continued, else something new, and says until which rung it is trained.

    Algorithm 2 of the paper: from the second highest rung downwards, of the finished trainings of a rung those are
    candidates that are among the best 1 / eta of them and have not been continued. What failed counts as finished, and
    is never continued; what is under way is not begun twice.
    """

    def __init__(self, strategy: Strategy, epochs: Sequence[int], eta: int, lag: int = 8) -> None:
        self.lag = lag
        self.name = f"asha-{strategy.name}"
        self.strategy, self.epochs, self.eta = strategy, tuple(epochs), eta
        self._rungs = _Finished()

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        self._rungs.follow(history)
        promoted = self._rungs.promotable(history.pending, self.epochs, self.eta)
        if promoted is not None:
            return promoted.architecture
        begun = lesson(history, self.epochs, len(space.choices) + 1)
        everything = History()
        everything.seen = history.seen | {pending.canonical for pending in history.pending}
        return unseen(lambda: self.strategy.propose(space, begun, rng), space, everything)

    def fidelity(self, space: Space, history: History, proposal: Architecture) -> int:
        self._rungs.follow(history)
        reached = self._rungs.reached_with(history.pending).get(space.canonical(proposal), 0)
        return next((epochs for epochs in self.epochs if epochs > reached), self.epochs[-1])


def promotable(history: History, epochs: Sequence[int], eta: int) -> Trial | None:
    """The best training that may be continued, of the highest rung that has one."""
    rungs = _Finished()
    rungs.follow(history)
    return rungs.promotable(history.pending, epochs, eta)


class _Finished:
    """The rungs of a history, with what is appended to it taken in when it is looked at again: each time from the start
    would take longer with every trial. Of another history it begins anew."""

    def __init__(self) -> None:
        self._history: History | None = None
        self._clear()

    def _clear(self) -> None:
        self._count = 0
        self._sizes: Counter[int | None] = Counter()
        self._rankings: defaultdict[int | None, list[tuple[float, int, int]]] = defaultdict(list)
        self._reached: dict[str, int] = {}

    def follow(self, history: History) -> None:
        """Take in what is new."""
        if history is not self._history or len(history) < self._count:
            self._history = history
            self._clear()
        for place in range(self._count, len(history)):
            trial = history[place]
            self._sizes[trial.fidelity] += 1
            if trial.defined:
                bisect.insort(self._rankings[trial.fidelity], (-trial.value, trial.number, place))
            self._reached[trial.canonical] = max(self._reached.get(trial.canonical, 0), trial.fidelity or 0)
        self._count = len(history)

    def reached_with(self, pending: Sequence[Pending]) -> Mapping[str, int]:
        """How far each network has been trained, or is being trained, in epochs."""
        under_way: dict[str, int] = {}
        for one in pending:
            before = under_way.get(one.canonical, self._reached.get(one.canonical, 0))
            under_way[one.canonical] = max(before, one.fidelity or 0)
        return ChainMap(under_way, self._reached)

    def promotable(self, pending: Sequence[Pending], epochs: Sequence[int], eta: int) -> Trial | None:
        """As the function of this name."""
        assert self._history is not None
        reached = self.reached_with(pending)
        for level in reversed(epochs[:-1]):
            for _, _, place in self._rankings[level][: self._sizes[level] // eta]:
                trial = self._history[place]
                if reached[trial.canonical] == level:
                    return trial
        return None
