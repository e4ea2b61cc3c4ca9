"""Search by a surrogate: a predictor, an acquisition and an inner search make most model-based methods of the field.

BANANAS, NPENAS, BRP-NAS, AceNAS and WeakNAS differ in these three, and are configurations of one strategy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.registry import register
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.strategy import unseen
from archscout.core.trial import History, Trial
from archscout.estimators.predictors.base import Predictor
from archscout.strategies.acquisition import Beliefs, acquisition_named
from archscout.strategies.advised import Advised
from archscout.strategies.candidates import Search, inner_named
from archscout.strategies.pareto import points, within_reach

WHOLE = 20_000
"""A space of no more networks is looked at whole where the inner search is `whole`; of a larger one, a mixed pool."""

AUGMENTED = 0.05
"""Weight of the sum beside the largest term in the scalarisation of ParEGO."""


class SurrogateSearch(Advised):
    """Asks a predictor about candidates, and tries the one that an acquisition likes best.

    With objectives, each lesson is about one random scalarisation of value and costs (the augmented Chebyshev norm of
    ParEGO, Knowles 2006), so that lesson after lesson another part of the Pareto front is looked for.

    Args:
        name: of the strategy.
        predictor: an estimator that learns from the architecture alone, by its name.
        acquisition: how candidates are judged (`archscout.strategies.acquisition`).
        inner: where candidates come from (`archscout.strategies.candidates`), or `whole`: the whole space.
        first: random architectures before the predictor is asked.
        batch: proposals between one lesson and the next.
        pool: candidates for each proposal.
        objectives: keys of the costs to trade against the value.
    """

    def __init__(
        self,
        name: str,
        predictor: str,
        acquisition: str,
        inner: str,
        first: int,
        batch: int,
        pool: int,
        objectives: Sequence[str] = (),
    ) -> None:
        super().__init__(name, predictor, batch, pool)
        if first < 1:
            raise UsageError(f"strategy '{name}' needs 1 random architecture or more to begin with, not first={first}.")
        self.first, self.objectives = first, tuple(objectives)
        self._acquisition = acquisition_named(acquisition)
        self._inner = None if inner == "whole" else inner_named(inner)
        self._space: tuple[str, list[Architecture], list[str], np.ndarray] | None = None
        self._expected: tuple[Predictor, np.ndarray, np.ndarray] | None = None

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        predictor = self.predictor(space, history) if len(history) >= self.first else None
        if predictor is None:
            return self.drawn(space, history, rng)
        candidates, mean, deviation = self._candidates(space, history, predictor, rng)
        if not candidates:
            return unseen(lambda: space.sample(rng), space, history)
        beliefs = Beliefs(mean, np.nan_to_num(deviation), self._best(history), len(history) // self.batch)
        return candidates[int(np.argmax(self._acquisition(beliefs, rng)))]

    def _candidates(
        self, space: Space, history: History, predictor: Predictor, rng: np.random.Generator
    ) -> tuple[list[Architecture], np.ndarray, np.ndarray]:
        """Architectures that have not been asked for, and what is expected of them."""
        if self._inner is None and space.size() <= WHOLE:
            return self._whole(space, history, predictor)
        search = Search(space, history, self.pool, lambda some: np.asarray(predictor.predict(some)))
        candidates = (self._inner or inner_named("evolution"))(search, rng)
        mean, deviation = predictor.predict(candidates, return_std=True) if candidates else (np.empty(0), np.empty(0))
        return candidates, np.asarray(mean), np.asarray(deviation)

    def _whole(
        self, space: Space, history: History, predictor: Predictor
    ) -> tuple[list[Architecture], np.ndarray, np.ndarray]:
        """All networks of a space but for those that have been asked for; they are encoded once."""
        if self._space is None or self._space[0] != space.digest:
            networks = {space.canonical(one): one for one in reversed(list(space))}
            everything = list(networks.values())
            self._space = space.digest, everything, list(networks), predictor.matrix(everything)
        _, everything, forms, matrix = self._space
        if self._expected is None or self._expected[0] is not predictor:
            mean, deviation = predictor.predict(matrix, return_std=True)
            self._expected = predictor, np.asarray(mean), np.asarray(deviation)
        known = history.seen | {pending.canonical for pending in history.pending}
        free = np.asarray([place for place, form in enumerate(forms) if form not in known], dtype=np.int64)
        return [everything[int(place)] for place in free], self._expected[1][free], self._expected[2][free]

    def _learn(self, space: Space, known: Sequence[Trial]) -> Predictor | None:
        if self.objectives and known:
            values = scalarised(known, self.objectives, stream(0, "parego", len(known), known[0].architecture.text))
            known = [replace(trial, value=float(value)) for trial, value in zip(known, values, strict=True)]
        self._best_known = max((trial.value for trial in known), default=0.0)
        return super()._learn(space, known)

    def _best(self, history: History) -> float:
        """The best value so far, on the scale that the predictor has learned."""
        if self.objectives:
            return self._best_known
        return max(trial.value for trial in history if trial.defined)


def scalarised(trials: Sequence[Trial], objectives: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """One number a trial, higher is better: the augmented Chebyshev norm, by random weights, of value and costs.

    Value and costs are brought to the interval from 0 to 1 first; a cost that is not known counts as the worst one.
    """
    rows = points(trials, objectives)
    scaled = within_reach(rows)
    weights = rng.dirichlet(np.ones(rows.shape[1]))
    weighted = scaled * weights
    return np.asarray(-(weighted.max(axis=1) + AUGMENTED * weighted.sum(axis=1)))


@register("strategy", "surrogate")
def surrogate(
    predictor: str = "scout",
    acquisition: str = "mostly_greedy",
    inner: str = "whole",
    first: int = 10,
    batch: int = 10,
    pool: int = 400,
    objectives: Sequence[str] = (),
) -> SurrogateSearch:
    """Any predictor, acquisition and inner search; as it is: greedy 80/20 by the default predictor."""
    return SurrogateSearch("surrogate", predictor, acquisition, inner, first, batch, pool, objectives)


@register("strategy", "bayesian")
def bayesian(
    predictor: str = "gaussian_process",
    first: int = 10,
    batch: int = 5,
    pool: int = 200,
    acquisition: str = "thompson",
    objectives: Sequence[str] = (),
) -> SurrogateSearch:
    """Bayesian optimisation: Thompson samples of a Gaussian process on the pruned graph, on mutants of the best."""
    return SurrogateSearch("bayesian", predictor, acquisition, "mixed", first, batch, pool, objectives)


@register("strategy", "bananas")
def bananas(predictor: str = "bananas", first: int = 10, batch: int = 10, pool: int = 200) -> SurrogateSearch:
    """BANANAS: Thompson samples of networks on the path encoding (White, Neiswanger, Savani 2021, arXiv 1910.11858)."""
    return SurrogateSearch("bananas", predictor, "thompson", "mixed", first, batch, pool)


@register("strategy", "npenas")
def npenas(predictor: str = "gin", first: int = 10, batch: int = 10, pool: int = 100) -> SurrogateSearch:
    """NPENAS: mutants of the best, chosen by a graph network (Wei et al. 2022, arXiv 2003.12857)."""
    return SurrogateSearch("npenas", predictor, "greedy", "mutation", first, batch, pool)


@register("strategy", "brp_nas")
def brp_nas(predictor: str = "brp_nas", batch: int = 20, pool: int = 500) -> SurrogateSearch:
    """Rounds of 20: the best predicted, and random ones of an ever better part (BRP-NAS, Dudziak et al. 2020)."""
    return SurrogateSearch("brp_nas", predictor, "narrowing", "random", batch, batch, pool)


@register("strategy", "acenas")
def acenas(predictor: str = "acenas", batch: int = 20, pool: int = 500) -> SurrogateSearch:
    """Rounds of 20: the best predicted by a ranker, and random ones (AceNAS, Zhang et al. 2021)."""
    return SurrogateSearch("acenas", predictor, "half_random", "random", batch, batch, pool)


@register("strategy", "weaknas")
def weaknas(predictor: str = "mlp", first: int = 10, batch: int = 10, pool: int = 2000) -> SurrogateSearch:
    """WeakNAS: random ones of the 100 best predicted, round after round (Wu et al. 2021, arXiv 2102.10490)."""
    return SurrogateSearch("weaknas", predictor, "top100", "whole", first, batch, pool)


@register("strategy", "parego")
def parego(
    predictor: str = "gaussian_process",
    first: int = 10,
    batch: int = 1,
    pool: int = 200,
    objectives: Sequence[str] = (),
) -> SurrogateSearch:
    """ParEGO, for several objectives: expected improvement of random scalarisations (Knowles 2006)."""
    return SurrogateSearch("parego", predictor, "log_ei", "mixed", first, batch, pool, objectives)
