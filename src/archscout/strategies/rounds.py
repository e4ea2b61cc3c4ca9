"""Rounds of choosing by a predictor: half of what is tried is what it likes best, the other half tells it more."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.registry import create, register
from archscout.core.space import Space
from archscout.core.strategy import Strategy, unseen
from archscout.core.trial import History, Trial
from archscout.estimators.predictors.learned import Learned


@register("strategy", "brp_nas")
def brp_nas(predictor: str = "brp_nas", batch: int = 20, pool: int = 500) -> Rounds:
    """Rounds of 20: the best predicted, and random ones of an ever better part (BRP-NAS, Dudziak et al. 2020)."""
    return Rounds("brp_nas", predictor, batch, pool, narrowing=True)


@register("strategy", "acenas")
def acenas(predictor: str = "acenas", batch: int = 20, pool: int = 500) -> Rounds:
    """Rounds of 20: the best predicted by a ranker, and random ones (AceNAS, Zhang et al. 2021)."""
    return Rounds("acenas", predictor, batch, pool, narrowing=False)


class Rounds(Strategy):
    """After each round a predictor learns from all that is known; the next takes half of it by its advice.

    The first round is random. Of a pool of random architectures every other proposal is the best predicted that has not
    been tried. The others are random: of the better 1 / 2^i of the pool in round i (BRP-NAS, arXiv 2007.08668), or of
    all of it (AceNAS, arXiv 2108.03001).

    Args:
        name: of the method.
        predictor: an estimator that learns, by its name.
        batch: proposals a round.
        pool: architectures that are looked at for each proposal.
        narrowing: whether random ones come from an ever better part.
    """

    def __init__(self, name: str, predictor: str, batch: int, pool: int, narrowing: bool) -> None:
        made = create("estimator", predictor)
        if not isinstance(made, Learned) or made.scores or getattr(made, "curve", ()):
            raise UsageError(
                f"strategy '{name}' needs a predictor that learns from the architecture alone, not '{predictor}': "
                "name scout, brp_nas, random_forest or the like."
            )
        if batch < 2 or pool < 2:
            raise UsageError(f"strategy '{name}' needs rounds and a pool of 2 or more, not batch={batch}, pool={pool}.")
        self.name, self.learned = name, made
        self.batch, self.pool, self.narrowing = batch, pool, narrowing
        self._fitted: tuple[Any, Any] | None = None

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        rounds = len(history) // self.batch
        predictor = self._predictor(space, [t for t in history[: rounds * self.batch] if t.defined])
        if predictor is None:
            return unseen(lambda: space.sample(rng), space, history)
        fresh = {space.canonical(one): one for one in (space.sample(rng) for _ in range(self.pool))}
        pool = [one for form, one in fresh.items() if form not in history.seen] or list(fresh.values())
        best = np.argsort(-np.asarray(predictor.predict(pool)), kind="stable")
        if rng.random() < 0.5:
            return pool[int(best[0])]
        part = max(1, len(pool) // 2**rounds) if self.narrowing else len(pool)
        return pool[int(best[int(rng.integers(part))])]

    def _predictor(self, space: Space, known: list[Trial]) -> Any:
        """Fitted on these; None where they teach nothing. The last one is kept: it follows from them alone."""
        content = tuple((trial.architecture.text, trial.value) for trial in known)
        if self._fitted is None or self._fitted[0] != content:
            made = None
            if len(known) >= 3 and len({value for _, value in content}) > 1:
                made = clone(self.learned.predictor).set_params(space=space, encoding=self.learned.encoded_by(space))
                made.fit([trial.architecture for trial in known], [trial.value for trial in known])
            self._fitted = content, made
        return self._fitted[1]
