"""Candidates with their zero-cost scores, and what is expected of them: where searches with scores choose from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.fresh import fresh
from archscout.core.method import Run
from archscout.core.trial import Trial
from archscout.estimators.encodings.encode import default_encoding, encode, widths
from archscout.estimators.zero_cost.ranks import log_ranks_among, places
from archscout.strategies.pareto import order

EXPLORE_FIRST, EXPLORE = 0.5, 0.2
"""Share of each batch that is drawn at random: of the first, which only the scores have chosen, and of later ones.

What the scores and the predictor think is so tested outside their favourites.
"""

SPARSE = 0.1
"""A score that is undefined for a larger share of the candidates is no feature."""


LEAST_POOL = 10
"""Candidates that are too few to choose from."""


def check_pool(method: str, pool: int) -> int:
    """How many candidates are scored at most. Raises `UsageError`."""
    if type(pool) is not int or pool < LEAST_POOL:
        raise UsageError(f"method '{method}' needs a pool of {LEAST_POOL} candidates or more, not pool={pool!r}.")
    return pool


def score_names(method: str, scores: str) -> tuple[str, ...]:
    """The names that `+` joins; none in an empty text. Raises `UsageError`."""
    names = tuple(scores.split("+")) if scores else ()
    if "" in names or len(set(names)) < len(names):
        raise UsageError(
            f"the scores of method '{method}' are names joined by '+', each once (naswot+params), not {scores!r}."
        )
    return names


class Pool:
    """Candidates with their zero-cost scores, and the predictor that learns to order them."""

    def __init__(self, run: Run, scores: Sequence[str]) -> None:
        self.run, self.scores = run, tuple(scores)
        self.architectures: list[Architecture] = []
        self.values: list[list[float]] = []
        self.seconds: list[float] = []
        self._canonicals: set[str] = set()
        self._place: dict[str, int] = {}
        self._encoded = np.empty((0, 0))
        self.first: list[str] = []
        """Canonical forms of those that are trained before any other."""

    def __len__(self) -> int:
        return len(self.architectures)

    def place(self, canonical: str) -> int:
        """Where the candidate of a canonical form stands."""
        return self._place[canonical]

    def extend(self, count: int, parents: Sequence[Architecture] = ()) -> None:
        """Add up to `count` new networks, with their scores.

        Where most of the space keeps the limits, costs are looked at when a candidate is about to be trained;
        where little does, before it is scored.
        """
        space = self.run.space
        new = map(space.simplify, fresh(space, self._candidates(20 * count, parents), self._canonicals))
        most_meet = self.run.share > 0.5
        self._score(list(itertools.islice(new, count)) if most_meet else self.run.admit(new, count))

    def add(self, architectures: Sequence[Architecture]) -> None:
        """Add these, with their scores, as far as they are new; they are trained before any other."""
        new = list(fresh(self.run.space, architectures, self._canonicals))
        self.first += [self.run.space.canonical(architecture) for architecture in new]
        self._score(new)

    def _score(self, architectures: Sequence[Architecture]) -> None:
        columns = self.run.score(architectures, self.scores)
        for architecture, *trials in zip(architectures, *columns, strict=True):
            self._place[self.run.space.canonical(architecture)] = len(self.architectures)
            self.architectures.append(architecture)
            self.values.append([trial.value for trial in trials])
            self.seconds.append(sum(trial.seconds for trial in trials))

    def _candidates(self, tries: int, parents: Sequence[Architecture]) -> Iterator[Architecture]:
        """What may join: samples, mutants of `parents`, or of members where few samples meet the limits."""
        space = self.run.space
        rng = self.run.rng("pool", len(self.architectures), len(self._canonicals), len(parents))
        for _ in range(tries):
            local = parents or (self.architectures if self.run.share < 0.2 and rng.random() < 0.7 else ())
            if local:
                candidate = space.mutate(local[int(rng.integers(len(local)))], rng)
                yield space.mutate(candidate, rng) if rng.random() < 0.5 else candidate
            else:
                yield space.sample(rng)

    def prior(self) -> np.ndarray:
        """The zero-cost rank sum: sum of log(rank / m), the rule of AZ-NAS (Lee, Ham 2024, arXiv 2403.19232).

        An undefined score ranks last.
        """
        return log_ranks_among(np.asarray(self.values, dtype=float), ties="ordinal")

    def choose(self, trials: Sequence[Trial], count: int, rng: np.random.Generator) -> list[Architecture]:
        """The next to train: mostly what the predictor (before any training, the rank sum) likes, some at random."""
        defined = [trial for trial in trials if trial.defined]
        if len(defined) >= 6:
            best = [trial.architecture for trial in sorted(defined, key=merit, reverse=True)[:5]]
            self.extend(min(32, 2 * count), parents=best)
            hopes, explore = self.predict(defined), EXPLORE
        else:
            hopes, explore = self.prior(), EXPLORE_FIRST
        tried = {trial.canonical for trial in trials}
        canonicals = [self.run.space.canonical(architecture) for architecture in self.architectures]
        free = [i for i in range(len(self)) if canonicals[i] not in tried]
        if self.run.objectives:
            free = self._spread(free, hopes)
        else:
            free.sort(key=lambda i: (canonicals[i] not in self.first, -hopes[i], i))
        explored = int(explore * count)
        greedy = self.run.admit((self.architectures[i] for i in free), count - explored)
        taken = set(greedy)
        rest = [self.architectures[i] for i in free if self.architectures[i] not in taken]
        return greedy + self.run.admit((rest[int(j)] for j in rng.permutation(len(rest))), explored)

    def _spread(self, free: list[int], hopes: np.ndarray) -> list[int]:
        """With several objectives: by Pareto front of (hopes, costs)."""
        costs = self.run.screened([self.architectures[i] for i in free])
        rows = np.asarray(
            [[-hopes[i], *(row[key] for key in self.run.objectives)] for i, row in zip(free, costs, strict=True)]
        )
        return [free[i] for i in order(rows)]

    def features(self) -> tuple[np.ndarray, tuple[int, ...]]:
        """Encodings and places by each score that most candidates have, and how many columns belong together."""
        name = default_encoding(self.run.space)
        start = self._encoded.shape[0]
        new = encode(name, self.run.space, self.architectures[start:])
        self._encoded = np.concatenate([self._encoded, new]) if start else new
        values = np.asarray(self.values, dtype=float).reshape(len(self), len(self.scores))
        informative = values[:, np.isnan(values).mean(axis=0) < SPARSE]
        ranks = (places(informative, ties="ordinal") - 1) / max(1, len(informative) - 1)
        return np.hstack([self._encoded, ranks]), widths(name, self.run.space) + (1,) * ranks.shape[1]

    def predict(self, trials: Sequence[Trial]) -> np.ndarray:
        """What a forest over encoding and score ranks, fitted on the trained ones, expects of everyone in the pool."""
        from sklearn.ensemble import ExtraTreesRegressor

        values = np.asarray(self.values, dtype=float)
        ranks = (places(values, ties="ordinal") - 1) / max(1, len(values) - 1)
        features = np.hstack([self.run.space.encode(self.architectures), ranks, self.prior()[:, None]])
        known = [(self._place[t.canonical], t) for t in trials if t.canonical in self._place]
        ordered = sorted(range(len(known)), key=lambda i: merit(known[i][1]))
        target = np.empty(len(known))
        target[ordered] = np.linspace(0, 1, len(known))
        forest = ExtraTreesRegressor(200, min_samples_leaf=2, random_state=self.run.seed, n_jobs=1)
        forest.fit(features[[place for place, _ in known]], target)
        return np.asarray(forest.predict(features))

    def agreement(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """How well the zero-cost rank sum told the lowest training rung."""
        prior = self.prior()
        pairs = [
            (prior[self._place[t.canonical]], merit(t)) for t in trials if t.defined and t.canonical in self._place
        ]
        above = f"{self.run.estimator}@{trials[0].fidelity}" if trials else ""
        return correlation("+".join(self.scores), above, pairs, float(np.mean(self.seconds or [0.0])))


def merit(trial: Trial) -> float:
    """How good a short training says that a network is: by its validation loss, which tells more than its accuracy.

    (On few validation examples accuracies tie; how well each tells full training: `benchmarks/training/fidelity.py`.)
    """
    return -trial.loss if math.isfinite(trial.loss) else trial.value


def correlation(below: str, above: str, pairs: Sequence[tuple[float, float]], seconds: float) -> dict[str, Any]:
    """Spearman's coefficient with a 95 % bootstrap interval; None with fewer than four pairs or no spread."""
    from scipy.stats import rankdata

    note: dict[str, Any] = {
        "estimator": below, "against": above, "count": len(pairs), "seconds_each": seconds,
        "spearman": None, "low": None, "high": None,
    }  # fmt: skip
    data = np.asarray(pairs, dtype=float).reshape(-1, 2)

    def spearman(rows: np.ndarray) -> float:
        ranks = rankdata(rows, axis=0)
        spread = ranks.std(axis=0).prod()
        return float(((ranks - ranks.mean(axis=0)).prod(axis=1).mean()) / spread) if spread else math.nan

    if len(data) < 4 or math.isnan(value := spearman(data)):
        return note
    rng = np.random.default_rng(0)
    draws = [spearman(data[rng.integers(len(data), size=len(data))]) for _ in range(200)]
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return note | {"spearman": value, "low": float(low), "high": float(high)}
