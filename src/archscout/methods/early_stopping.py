"""Any strategy, with trainings that are left early where they will probably not become the best."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

from archscout.core import options
from archscout.core.architecture import Architecture
from archscout.core.estimator import TRAINING, Setting
from archscout.core.method import Method, Run
from archscout.core.registry import create, register
from archscout.core.strategy import unseen
from archscout.core.trial import History, Trial
from archscout.estimators.curves.stopping import Stopped, StoppingRule
from archscout.methods.strategy import ranked

BATCH = 8
"""Trainings after which the rule learns again."""

TRIES = 200
"""Proposals for a batch, of which those count that keep the limits."""


@register("method", "early_stopping")
class EarlyStopping(Method):
    """A strategy whose trainings are left early by prediction (Baker et al. 2017, arXiv 1705.10823).

    The first trainings are whole; from then on each may be left, and those that are not teach the rule.

    Args:
        strategy: which proposes.
        whole: trainings before the first may be left.
        sure: how sure the rule is before it leaves one.
        linear: whether a line predicts the ends of curves, and not the published regression.
    """

    simulates: ClassVar[bool] = False
    """How a training would be left is not in a table."""

    def __init__(self, strategy: str = "random", whole: int = 20, sure: float = 0.99, linear: bool = False) -> None:
        self.name = "early_stopping"
        self.strategy = create("strategy", strategy)
        self.whole = options.whole(whole, "the whole trainings of method 'early_stopping'", 1)
        self.sure, self.linear = sure, linear
        StoppingRule(sure)  # refused here, before anything is trained, where it is no probability

    def search(self, run: Run) -> list[Trial]:
        rule = Stopped(self.sure, epochs=run.epochs, linear=self.linear)
        run.evaluate([], rule, fidelity=run.epochs, phase="stopped early")  # of none: a table refuses it at once
        most = run.trials_left()
        first = int(min(self.whole, most))
        trials = run.follow(self.strategy, TRAINING, fidelity=run.epochs, phase="whole trainings", trials=first)
        setting = Setting(run.space, run.task, run.seed, run.device)
        history = History(trials)
        while 0 < len(history) < most and len(trials) >= first:
            rule.fit(trials, setting)
            batch = run.admit(self._proposals(run, history), int(min(BATCH, most - len(history))))
            if not batch:
                break  # nothing new keeps the limits
            stopped = run.evaluate(batch, rule, fidelity=run.epochs, phase="stopped early")
            for trial in stopped:
                history.append(trial)
            trials += [trial for trial in stopped if len(trial.curve) == run.epochs]
            if len(stopped) < len(batch):
                break
        run.note("early stopping", {"trainings": len(history), "epochs": sum(len(t.curve) for t in history)})
        return ranked(run, trials)

    def _proposals(self, run: Run, history: History) -> Iterator[Architecture]:
        taken: set[str] = set()
        for number in range(TRIES):
            rng = run.rng("early stopping", len(history), number)
            propose = partial(self.strategy.propose, run.space, history, rng)
            proposal = run.space.simplify(unseen(propose, run.space, history))
            canonical = run.space.canonical(proposal)
            if canonical not in history.seen | taken:
                taken.add(canonical)
                yield proposal
