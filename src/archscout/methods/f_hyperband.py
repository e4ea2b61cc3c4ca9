"""f-Hyperband: Hyperband that also leaves what a regression says will not become the best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archscout.core.registry import register
from archscout.core.trial import Trial
from archscout.estimators.curves.stopping import StoppingRule
from archscout.methods.hyperband import Hyperband
from archscout.methods.rungs import Climb, best, brackets


@register("method", "f_hyperband")
class FHyperband(Hyperband):
    """Hyperband that drops more by prediction (f-Hyperband; Baker, Gupta, Raskar, Naik 2017, arXiv 1705.10823).

    On every rung, those below the first of a bracket too, some of what would be continued is left: a regression on
    trainings that were finished says of each what it will come to, and it goes on only if that may be better than the
    best so far. What this saves begins new trainings. Ten must have been finished before.

    Reconstructed: the regression sees what a training had reached on its rung, and not the epochs in between, so that
    it is the same on tables without curves; it is the linear one of `archscout.estimators.curves.stopping`.

    Args:
        strategy: which proposes new architectures.
        eta: one in so many is continued to the next rung, which is so many times as long.
        least: epochs of the lowest rung.
        sure: how sure the regression is before it leaves one.
        margin: how much worse than the best counts as good enough to go on.
    """

    def __init__(
        self, strategy: str = "random", eta: int = 3, least: int = 1, sure: float = 0.95, margin: float = 0.0
    ) -> None:
        super().__init__(strategy, eta, least, name="f_hyperband")
        self.sure, self.margin = sure, margin
        StoppingRule(sure, margin)  # refuses what cannot be

    def climb(self, climb: Climb) -> None:
        climb.continued = lambda trials, count: self.hopeful(climb, trials, count)
        while True:
            for count, start in brackets(len(climb.epochs), self.eta):
                affordable, rung = climb.affordable(count, start)
                fresh = climb.fresh(affordable)
                if not fresh:
                    return
                for epochs in climb.epochs[:rung]:  # below its first rung a bracket halves nothing, but looks
                    trials = climb.train(fresh, epochs)
                    if len(trials) < len(fresh):
                        return
                    fresh = [trial.architecture for trial in self.hopeful(climb, trials, len(trials))]
                if not climb.halve(fresh, rung):
                    return

    def hopeful(self, climb: Climb, trials: Sequence[Trial], count: int) -> list[Trial]:
        """The best so many of a rung, without those that will probably not become the best."""
        survivors = best(trials, count)
        level = trials[0].fidelity if trials else None
        ends = {t.canonical: t.value for t in climb.trials if t.defined and t.fidelity == climb.epochs[-1]}
        here = {t.canonical: t.value for t in climb.trials if t.defined and t.fidelity == level}
        pairs = np.asarray([[here[one], end] for one, end in ends.items() if one in here]).reshape(-1, 2)
        rule = StoppingRule(self.sure, self.margin, first=1, linear=True).fit(pairs, pairs[:, 1])
        return [trial for trial in survivors if not rule.stops([trial.value], list(ends.values()))]
