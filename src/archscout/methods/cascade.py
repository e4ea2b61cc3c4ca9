"""The default method: a ladder of estimators from cheap to dear in which each rung filters for the next.

No single estimator wins at every budget: zero-cost scores are cheap and noisy, predictors need labels, training needs
time (White, Zela, Ru, Liu, Hutter 2021, arXiv 2104.01177). So many candidates get zero-cost scores; some of them are
trained for a few epochs, at first those that the scores like best; a predictor over encoding and scores learns from
these and chooses the next; the best go on to longer training by successive halving (Jamieson, Talwalkar 2016, arXiv
1502.07943); the top rung is full training. How well each rung told the next one is measured on the way, and decides how
sharply it filters. Where time is left, the ladder is climbed again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.fresh import fresh
from archscout.core.method import Method, Run
from archscout.core.registry import register
from archscout.core.trial import Trial
from archscout.estimators.zero_cost.ranks import log_ranks_among, places
from archscout.methods.race import race
from archscout.methods.strategy import affordable, check_trains, ranked
from archscout.strategies.pareto import order

ROUNDS = 3
"""Batches in which the lowest training rung is filled; after each, the predictor learns."""

SHARES = (0.15, 0.2, 0.65)
"""Of the training budget, for the rungs from the lowest to full training."""

TELLING = 0.3
"""Short trainings whose `reliability` is lower are not worth filtering by."""

EXPLORE_FIRST, EXPLORE = 0.5, 0.2
"""Share of each batch that is drawn at random: of the first, which only the scores have chosen, and of later ones.

What the scores and the predictor think is so tested outside their favourites.
"""

BATCH = 16
"""Networks asked for at once where there is no plan of their number, by each worker where time is what is short.

Those trained together take less time each.
"""


FEW = 20.0
"""With fewer full trainings than this in the budget a ladder has too few networks a rung to tell anything."""

Ladder = dict[int, list[Trial]]
"""The trials of each training rung, by its epochs, the lowest first."""

Stage = tuple[int, float]
"""Epochs, and the share of the training budget."""


@register("method", "cascade")
class Cascade(Method):
    """Zero-cost scores, then successive halving over real training, then full training of the finalists.

    Args:
        scores: the zero-cost scores of the first rung, joined by `+`.
        share: of a time budget, for the zero-cost rung.
        pool: candidates of the zero-cost rung at most.
        eta: the factor between the epochs of one rung and the next.
    """

    plans_final: ClassVar[bool] = True

    def __init__(
        self, scores: str = "naswot+synflow+params", share: float = 0.1, pool: int = 2000, eta: int = 3
    ) -> None:
        self.name = "cascade"
        self.scores = tuple(scores.split("+"))
        self.share, self.most, self.eta = share, pool, eta

    def search(self, run: Run) -> list[Trial]:
        check_trains(run, self.name)
        if run.trainings < FEW and not run.objectives:
            return race(run)
        pool = Pool(run, self.scores)
        pool.add([candidate.architecture for candidate in run.candidates])
        self._score(run, pool)
        # Where every training counts alike, a short one is as dear as a full one, and tells less.
        lengths = fidelities(run.epochs, self.eta) if run.cheaper else [run.epochs]
        ladder: dict[int, list[Trial]] = {run.fidelity(epochs): [] for epochs in lengths}
        stages = plan(ladder)
        for bracket in itertools.count():
            if not run.decide(f"bracket {bracket}", partial(self._affords, run, stages, bracket == 0)):
                break
            before = sum(map(len, ladder.values()))
            self._climb(run, pool, ladder, stages, bracket)
            if sum(map(len, ladder.values())) == before:
                break  # the space has nothing new to train
        self._spend_the_rest(run, ladder)
        run.note("rungs", self._notes(run, pool, ladder))
        return ranked(run, next((rung for rung in reversed(ladder.values()) if any(t.defined for t in rung)), []))

    def _score(self, run: Run, pool: Pool) -> None:
        """Fill the pool: to its size, or for its share of a time budget."""
        start, whole = run.seconds_left(), run.seconds_left() * self.share
        # With a budget of trials: twenty candidates for each training, which costs about as much as one short training.
        most = self.most if math.isfinite(whole) else int(min(self.most, 20 * run.trials_left()))
        while len(pool) < most:
            step = len(pool)
            if not run.decide(f"score after {step}", lambda: start - run.seconds_left() < whole or math.isinf(whole)):
                break
            pool.extend(min(32, most - step))
            if len(pool) == step:
                break

    def _affords(self, run: Run, stages: Sequence[Stage], first: bool) -> bool:
        """Whether what is left pays for another climb, with one full training at its end."""
        return first or self._count(run, stages, len(stages) - 1, whole=True) >= 1

    def _count(self, run: Run, stages: Sequence[Stage], place: int, whole: bool = False) -> float:
        """How many a stage may train: its share of what is left for it and the stages after it (or of the whole)."""
        rest = stages if whole else stages[place:]
        epochs, share = stages[place]
        if math.isfinite(run.trials_left()):
            return run.trials_left() * (share / epochs) / sum(s / e for e, s in rest)
        return affordable(run, epochs, run.seconds_left() * share / sum(s for _, s in rest))

    def _planned(self, run: Run, stages: Sequence[Stage], place: int, factor: float) -> int:
        """How many a stage trains. Of few trials, one is kept for the last stage: full training."""
        count = max(1, round(self._count(run, stages, place) * factor))
        left = run.trials_left()
        return count if place == len(stages) - 1 or math.isinf(left) else max(0, min(count, int(left) - 1))

    def _climb(self, run: Run, pool: Pool, ladder: Ladder, stages: Sequence[Stage], bracket: int) -> None:
        """Once up the ladder: new candidates on the lowest rung, the best that have not gone on to each next one."""
        lowest = stages[0][0]
        below: list[Trial] = []
        told: float | None = None
        for place, (epochs, _) in enumerate(stages):
            sharp = 1.0 if epochs == lowest else sharpness(told)
            planned = partial(self._planned, run, stages, place, sharp)
            count = run.decide(f"bracket {bracket} stage {place}", planned)
            rung = ladder[epochs]
            if not count:
                continue
            if epochs == lowest or not below:
                chosen = pool.choose(rung, min(count, len(pool)), run.rng("choose", bracket, place))
            else:
                done = {trial.canonical for trial in rung}
                chosen = [t.architecture for t in promising(run, below) if t.canonical not in done][:count]
            rung += run.evaluate(chosen, run.estimator, fidelity=epochs, phase=phase_name(epochs, run.epochs))
            if place == 0 and len(stages) > 1 and reliability(run, rung) < TELLING:
                self._skip_to_full_training(run, pool, ladder)
                return
            # How well the rung below told this one says how sharply this one may filter for the next.
            told = (
                pool.agreement(rung)["spearman"]
                if epochs == lowest
                else agreement("", below, "", rung, 0.0)["spearman"]
            )
            below = rung

    def _skip_to_full_training(self, run: Run, pool: Pool, ladder: Ladder) -> None:
        """Where short trainings tell networks apart no better than chance does: all that is left, in full rounds."""
        top = ladder[run.epochs]
        phase = phase_name(run.epochs, run.epochs)
        for step in itertools.count():
            chosen = pool.choose(top, batch(run), run.rng("skip", step))
            more = run.evaluate(chosen, run.estimator, fidelity=run.epochs, phase=phase)
            top += more
            if not more:
                return

    def _spend_the_rest(self, run: Run, ladder: Ladder) -> None:
        """Train in full the best that have not been, as long as the budget lasts."""
        top = ladder[run.epochs]
        phase = phase_name(run.epochs, run.epochs)
        for rung in list(reversed(ladder.values()))[1:]:
            done = {trial.canonical for trial in top}
            waiting = iter([t.architecture for t in promising(run, rung) if t.canonical not in done])
            while some := list(itertools.islice(waiting, batch(run))):
                more = run.evaluate(some, run.estimator, fidelity=run.epochs, phase=phase)
                top += more
                if not more:
                    return

    def _notes(self, run: Run, pool: Pool, ladder: Ladder) -> list[dict[str, Any]]:
        """For the report: how well each rung told the next."""
        notes = [pool.agreement(next(iter(ladder.values())))]
        for (below, lower), (above, upper) in itertools.pairwise(ladder.items()):
            each = mean_seconds(lower)
            notes.append(agreement(f"{run.estimator}@{below}", lower, f"{run.estimator}@{above}", upper, each))
        return notes


class Pool:
    """Candidates with their zero-cost scores, and the predictor that learns to order them."""

    def __init__(self, run: Run, scores: Sequence[str]) -> None:
        self.run, self.scores = run, tuple(scores)
        self.architectures: list[Architecture] = []
        self.values: list[list[float]] = []
        self.seconds: list[float] = []
        self._canonicals: set[str] = set()
        self._place: dict[str, int] = {}
        self.first: list[str] = []
        """Canonical forms of those that are trained before any other."""

    def __len__(self) -> int:
        return len(self.architectures)

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
        self.first = [self.run.space.canonical(architecture) for architecture in new]
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


def plan(rungs: Iterable[int]) -> list[Stage]:
    """The stages of one climb: the lowest rung in rounds, then each higher one.

    >>> [epochs for epochs, _ in plan([3, 9, 27])]
    [3, 3, 3, 9, 27]
    """
    lowest, *above = rungs
    shares = SHARES[-1 - len(above) :]
    return [(lowest, shares[0] / ROUNDS)] * ROUNDS + list(zip(above, shares[1:], strict=True))


def batch(run: Run) -> int:
    """How many networks are asked for at once where there is no plan of their number."""
    return BATCH * (run.workers if math.isfinite(run.seconds_left()) else 1)


def mean_seconds(trials: Sequence[Trial]) -> float:
    """What each of these has taken."""
    return float(np.mean([trial.seconds for trial in trials])) if trials else 0.0


def reliability(run: Run, trials: Sequence[Trial]) -> float:
    """The share of the variance of these accuracies that is not the chance of a finite validation split.

    1 minus the mean of p (1 - p) / n over the variance between networks; 1 where the metric is not an accuracy.
    """
    values = np.asarray([trial.value for trial in trials if trial.defined])
    if str(getattr(run.task, "metric", "")) != "accuracy" or len(values) < 4:
        return 1.0
    chance = float((values * (1 - values)).mean() / len(run.task.valid))
    return 1.0 - chance / max(float(values.var(ddof=1)), 1e-12)


def fidelities(epochs: int, eta: int) -> list[int]:
    """The epochs of each rung, up to full training.

    >>> fidelities(27, 3)
    [3, 9, 27]
    """
    return sorted({max(1, round(epochs / eta**place)) for place in range(3)})


def merit(trial: Trial) -> float:
    """How good a short training says that a network is: by its validation loss, which tells more than its accuracy.

    (On few validation examples accuracies tie; how well each tells full training: `benchmarks/training/fidelity.py`.)
    """
    return -trial.loss if math.isfinite(trial.loss) else trial.value


def promising(run: Run, trials: Sequence[Trial]) -> list[Trial]:
    """The defined trials of one rung, the best first; with several objectives by Pareto front and crowding."""
    defined = [trial for trial in trials if trial.defined]
    if run.objectives and defined:
        rows = [[-merit(trial), *(trial.costs.get(key, math.inf) for key in run.objectives)] for trial in defined]
        return [defined[i] for i in order(np.asarray(rows))]
    return sorted(defined, key=lambda trial: (-merit(trial), trial.number))


def phase_name(epochs: int, full: int) -> str:
    """How the report calls a rung."""
    return "final training" if epochs == full else f"training, {epochs} epoch{'s' if epochs > 1 else ''}"


def sharpness(spearman: float | None) -> float:
    """By what factor more (or fewer) than planned go on: a rung that tells little must not filter sharply."""
    return 1.0 if spearman is None else float(np.clip(1.5 - spearman, 0.75, 1.5))


def agreement(below: str, lower: Sequence[Trial], above: str, upper: Sequence[Trial], seconds: float) -> dict[str, Any]:
    """How well one rung told the next, on the architectures that both trained."""
    by_canonical = {trial.canonical: trial for trial in lower if trial.defined}
    pairs = [(merit(by_canonical[t.canonical]), merit(t)) for t in upper if t.defined and t.canonical in by_canonical]
    return correlation(below, above, pairs, seconds)


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
