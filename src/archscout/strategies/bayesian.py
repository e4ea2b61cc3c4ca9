"""Bayesian optimisation: what a predictor expects, and how sure it is, decide what is tried next."""

from __future__ import annotations

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.registry import register
from archscout.core.space import Space
from archscout.core.strategy import unseen
from archscout.core.trial import History
from archscout.strategies.advised import Advised


@register("strategy", "bayesian")
def bayesian(predictor: str = "gaussian_process", first: int = 10, batch: int = 5, pool: int = 200) -> Bayesian:
    """Bayesian optimisation: Thompson samples of a Gaussian process on the pruned graph, on mutants of the best."""
    return Bayesian("bayesian", predictor, first, batch, pool)


@register("strategy", "bananas")
def bananas(predictor: str = "bananas", first: int = 10, batch: int = 10, pool: int = 200) -> Bayesian:
    """BANANAS: Thompson samples of networks on the path encoding (White, Neiswanger, Savani 2021, arXiv 1910.11858)."""
    return Bayesian("bananas", predictor, first, batch, pool)


class Bayesian(Advised):
    """Of mutants of the best so far and random architectures, the one with the greatest draw is tried.

    Each candidate's value is drawn by itself from the normal distribution that the predictor expects: independent
    Thompson sampling, the best of five rules in the study of BANANAS (arXiv 1910.11858), which mutates the best alone;
    here every other candidate is random, so that what lies far off is looked at too. Networks that have been tried are
    no candidates.

    Args:
        name: of the strategy.
        predictor: an estimator that learns and gives standard deviations, by its name.
        first: random architectures before it is asked.
        batch: proposals between one lesson and the next.
        pool: candidates for each proposal.
    """

    parents = 5

    def __init__(self, name: str, predictor: str, first: int, batch: int, pool: int) -> None:
        super().__init__(name, predictor, batch, pool)
        if first < 1:
            raise UsageError(f"strategy '{name}' needs 1 random architecture or more to begin with, not first={first}.")
        self.first = first

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        predictor = self.predictor(space, history) if len(history) >= self.first else None
        if predictor is None:
            return unseen(lambda: space.sample(rng), space, history)
        best = sorted((t for t in history if t.defined), key=lambda trial: trial.rank)[: self.parents]
        fresh: dict[str, Architecture] = {}
        for place in range(self.pool):
            one = best[int(rng.integers(len(best)))].architecture if place % 2 else space.sample(rng)
            for _ in range(int(rng.integers(1, 3)) if place % 2 else 0):
                one = space.mutate(one, rng)
            if (form := space.canonical(one)) not in history.seen:
                fresh.setdefault(form, one)
        if not fresh:
            return space.sample(rng)
        pool = list(fresh.values())
        mean, deviation = predictor.predict(pool, return_std=True)
        return pool[int(np.argmax(mean + np.nan_to_num(deviation) * rng.standard_normal(len(pool))))]
