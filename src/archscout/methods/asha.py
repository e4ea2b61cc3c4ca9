"""ASHA: asynchronous successive halving (Li, Jamieson, Rostamizadeh et al. 2020, arXiv 1810.05934)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.registry import register
from archscout.core.space import Space
from archscout.core.strategy import Strategy, unseen
from archscout.core.trial import History, Trial
from archscout.methods.rungs import Climb, Rungs, lesson


@register("method", "asha")
class ASHA(Rungs):
    """Successive halving that waits for nobody: a free worker continues what is among the best of its rung so far.

    Where no rung has such a training, a new one is begun on the lowest.

    Args:
        strategy: which proposes new architectures.
        eta: one in so many is continued to the next rung, which is so many times as long.
        least: epochs of the lowest rung.
    """

    def __init__(self, strategy: str = "random", eta: int = 4, least: int = 1) -> None:
        super().__init__("asha", strategy, eta, least)

    def climb(self, climb: Climb) -> None:
        strategy = Promotion(climb.strategy, climb.epochs, self.eta)
        climb.trials += climb.run.follow(strategy, climb.estimator, phase="asynchronous halving")


class Promotion(Strategy):
    """Proposes what is to be continued, else something new, and says until which rung it is trained.

    Algorithm 2 of the paper: from the second highest rung downwards, of the finished trainings of a rung those are
    candidates that are among the best 1 / eta of them and have not been continued. What failed counts as finished, and
    is never continued; what is under way is not begun twice.
    """

    lag = 8

    def __init__(self, strategy: Strategy, epochs: Sequence[int], eta: int) -> None:
        self.name = f"asha-{strategy.name}"
        self.strategy, self.epochs, self.eta = strategy, tuple(epochs), eta

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        promoted = promotable(history, self.epochs, self.eta)
        if promoted is not None:
            return promoted.architecture
        begun = lesson(history, self.epochs, len(space.choices) + 1)
        everything = History(history)
        everything.seen |= {pending.canonical for pending in history.pending}
        return unseen(lambda: self.strategy.propose(space, begun, rng), space, everything)

    def fidelity(self, space: Space, history: History, proposal: Architecture) -> int:
        canonical = space.canonical(proposal)
        reached = _reached(history).get(canonical, 0)
        return next((epochs for epochs in self.epochs if epochs > reached), self.epochs[-1])


def promotable(history: History, epochs: Sequence[int], eta: int) -> Trial | None:
    """The best training that may be continued, of the highest rung that has one."""
    reached = _reached(history)
    for level in reversed(epochs[:-1]):
        rung = [trial for trial in history if trial.fidelity == level]
        ranking = sorted((t for t in rung if t.defined), key=lambda t: (-t.value, t.number))
        for trial in ranking[: len(rung) // eta]:
            if reached[trial.canonical] == level:
                return trial
    return None


def _reached(history: History) -> dict[str, int]:
    """How far each network has been trained, or is being trained, in epochs."""
    reached: dict[str, int] = {}
    for one in (*history, *history.pending):
        reached[one.canonical] = max(reached.get(one.canonical, 0), one.fidelity or 0)
    return reached
