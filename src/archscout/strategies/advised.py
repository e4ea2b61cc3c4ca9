"""Strategies that ask a predictor, which learns from the trials that are known."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from sklearn.base import clone

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.space import Space
from archscout.core.strategy import Strategy, unseen
from archscout.core.trial import History, Trial
from archscout.estimators.encodings.encode import encode
from archscout.estimators.predictors.base import LEAST, Predictor
from archscout.estimators.predictors.learned import Learned

MOST = 300
"""Trials that teach at most, so that a lesson takes a second or two however long a search is."""

STEPS = 450
"""Of training a network where there are more trials than that."""


class Advised(Strategy):
    """Takes the advice of a predictor that learns again after every batch of proposals.

    Args:
        name: of the strategy.
        predictor: an estimator that learns from the architecture alone, by its name.
        batch: proposals between one lesson and the next.
        pool: architectures that are looked at for each proposal.
    """

    most: ClassVar[int | None] = MOST

    def __init__(self, name: str, predictor: str, batch: int, pool: int) -> None:
        estimator = create("estimator", predictor)
        if not isinstance(estimator, Learned) or estimator.scores or getattr(estimator, "curve", ()):
            raise UsageError(
                f"strategy '{name}' needs a predictor that learns from the architecture alone, not '{predictor}': "
                "name scout, brp_nas, random_forest or the like."
            )
        if batch < 1 or pool < 2:
            raise UsageError(
                f"strategy '{name}' needs batches of 1 or more and a pool of 2 or more, not batch={batch}, pool={pool}."
            )
        self.name, self.learned = name, estimator
        self.batch, self.pool = batch, pool
        self._fitted: tuple[tuple[tuple[str, float], ...], Predictor | None] | None = None

    @abstractmethod
    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture: ...

    def predictor(self, space: Space, history: History) -> Predictor | None:
        """What has learned from the first trials, as many as `lesson` says; None where they teach nothing."""
        known = [trial for trial in history[: self.lesson(len(history))] if trial.defined]
        content = tuple((trial.architecture.text, trial.value) for trial in known)
        if self._fitted is None or self._fitted[0] != content:  # the last one is kept: it follows from these alone
            self._fitted = content, self._learn(space, known)
        return self._fitted[1]

    def lesson(self, known: int) -> int:
        """From how many trials it learns where so many are known: all whole batches."""
        return known // self.batch * self.batch

    def _learn(self, space: Space, known: Sequence[Trial]) -> Predictor | None:
        values = [trial.value for trial in known]
        if len(set(values)) < 2 or len(values) < LEAST:
            return None
        fitted: Predictor = clone(self.learned.predictor).set_params(
            space=space, encoding=self.learned.encoded_by(space)
        )
        if "widths" in fitted.get_params():
            fitted.set_params(widths=self.learned.widths(space))
        if self.most is not None and len(known) > self.most:
            known = telling(known, self.most)
            schedule = getattr(fitted, "schedule", None)
            if schedule is not None:
                fitted.set_params(epochs=max(1, min(schedule.epochs, STEPS * schedule.batch // self.most)))
        return fitted.fit([trial.architecture for trial in known], [trial.value for trial in known])

    def drawn(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        """A random architecture. Raises `UsageError` at once for a space that the predictor cannot read."""
        one = unseen(lambda: space.sample(rng), space, history)
        if not history and not history.pending:
            try:
                encode(self.learned.encoded_by(space), space, [one])
            except (UsageError, NotImplementedError) as error:
                raise UsageError(
                    f"strategy '{self.name}' cannot learn in space '{space.name}' ({str(error).rstrip('.')}): give it "
                    "another predictor (predictor=scout), or take evolution or noisy_bayesian."
                ) from error
        return one


def telling(trials: Sequence[Trial], most: int) -> list[Trial]:
    """So many of the trials, in their order: half of them the best, the others the latest of the rest.

    All, where those have one value.
    """
    best = {trial.number for trial in sorted(trials, key=lambda trial: (-trial.value, trial.number))[: most // 2]}
    latest = {trial.number for trial in [t for t in trials if t.number not in best][-(most - len(best)) :]}
    some = [trial for trial in trials if trial.number in best | latest]
    return some if len({trial.value for trial in some}) > 1 else list(trials)
