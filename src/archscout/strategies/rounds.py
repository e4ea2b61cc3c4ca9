"""Rounds of choosing by a predictor: half of what is tried is what it likes best, the other half tells it more."""

from __future__ import annotations

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.registry import register
from archscout.core.space import Space
from archscout.core.strategy import unseen
from archscout.core.trial import History
from archscout.strategies.advised import Advised


@register("strategy", "brp_nas")
def brp_nas(predictor: str = "brp_nas", batch: int = 20, pool: int = 500) -> Rounds:
    """Rounds of 20: the best predicted, and random ones of an ever better part (BRP-NAS, Dudziak et al. 2020)."""
    return Rounds("brp_nas", predictor, batch, pool, narrowing=True)


@register("strategy", "acenas")
def acenas(predictor: str = "acenas", batch: int = 20, pool: int = 500) -> Rounds:
    """Rounds of 20: the best predicted by a ranker, and random ones (AceNAS, Zhang et al. 2021)."""
    return Rounds("acenas", predictor, batch, pool, narrowing=False)


class Rounds(Advised):
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
        super().__init__(name, predictor, batch, pool)
        self.narrowing = narrowing

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        rounds = len(history) // self.batch
        predictor = self.predictor(space, history)
        if predictor is None:
            return unseen(lambda: space.sample(rng), space, history)
        fresh = {space.canonical(one): one for one in (space.sample(rng) for _ in range(self.pool))}
        pool = [one for form, one in fresh.items() if form not in history.seen] or list(fresh.values())
        best = np.argsort(-np.asarray(predictor.predict(pool)), kind="stable")
        if rng.random() < 0.5:
            return pool[int(best[0])]
        part = max(1, len(pool) // 2**rounds) if self.narrowing else len(pool)
        return pool[int(best[int(rng.integers(part))])]
