"""Bayesian optimisation where one point is a distribution: each has a noise of its own (NAGO)."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Continuous, Option
from archscout.core.errors import UsageError
from archscout.core.registry import register
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.strategy import Strategy, unseen
from archscout.core.trial import History, Trial
from archscout.strategies.acquisition import Beliefs, log_improvement
from archscout.strategies.candidates import Search, mixed
from archscout.strategies.surrogate import scalarised

PRIOR = 2
"""Samples that the noise of all points together counts for in that of one."""

MOST_SCALES = 12
"""Columns that have a length scale each."""

MOST_POINTS = 200
"""The last so many teach, for the time of a proposal grows with the third power."""

LEAST_NOISE = 1e-3
"""Of a mean, as a share of the variance of all means."""


@register("strategy", "noisy_bayesian")
class NoisyBayesian(Strategy):
    """Bayesian optimisation with a noise for each point, where networks are drawn (NAGO, Ru et al. 2020, 2004.01395).

    Architectures that differ in the draw alone (`Space.repetitions`) are samples of one point: a Gaussian process
    learns their mean, with the variance of that mean as noise (that of the point's own samples, shrunk towards that of
    all points). The candidate with the best logarithmic expected improvement over the best expectation is tried;
    sometimes another draw of the best point, so that its noise is known. With objectives, each proposal is about one
    random scalarisation of value and costs (ParEGO). The paper takes a Bayesian neural network for the process.

    Args:
        first: random architectures to begin with.
        pool: candidates for each proposal.
        again: share of proposals that are another draw of the best point.
        objectives: keys of the costs to trade against the value.
    """

    def __init__(self, first: int = 10, pool: int = 200, again: float = 0.1, objectives: Sequence[str] = ()) -> None:
        if first < 2 or pool < 2 or not 0 <= again < 1:
            raise UsageError(
                "strategy 'noisy_bayesian' needs 2 random architectures or more to begin with, a pool of 2 or more and "
                f"a share of further draws from 0 to below 1, not first={first}, pool={pool}, again={again}."
            )
        self.name = "noisy_bayesian"
        self.first, self.pool, self.again, self.objectives = first, pool, again, tuple(objectives)

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        known = [trial for trial in history if trial.defined]
        if self.objectives and known:
            values = scalarised(known, self.objectives, stream(0, "noisy", len(known), known[0].architecture.text))
            known = [replace(trial, value=float(value)) for trial, value in zip(known, values, strict=True)]
        points = gathered(space, known)[-MOST_POINTS:]
        if len(history) < self.first or len(points) < 2 or len({point.mean for point in points}) < 2:
            return unseen(lambda: space.sample(rng), space, history)
        process = Process(space, points)
        expected = process.predict([point.architecture for point in points])[0]
        if rng.random() < self.again and space.repetitions:
            another = self._another_draw(space, history, points[int(np.argmax(expected))].architecture, rng)
            if another is not None:
                return another
        candidates = mixed(Search(space, history, self.pool, lambda some: process.predict(some)[0]), rng)
        if not candidates:
            return unseen(lambda: space.sample(rng), space, history)
        mean, deviation = process.predict(candidates)
        beliefs = Beliefs(mean, deviation, float(expected.max()), len(known))
        return candidates[int(np.argmax(log_improvement(beliefs, rng)))]

    def _another_draw(
        self, space: Space, history: History, best: Architecture, rng: np.random.Generator
    ) -> Architecture | None:
        """The best point in a draw that nobody has asked for; None where there is none."""
        known = history.seen | {pending.canonical for pending in history.pending}
        draws = [choice for choice in space.choices if choice.name in space.repetitions and choice.name in best]
        for choice in draws:
            for place in rng.permutation(len(choice.landmarks)):
                drawn = space.architecture({**best, choice.name: choice.landmarks[int(place)]})
                if space.canonical(drawn) not in known:
                    return drawn
        return None


@dataclass(frozen=True)
class Point:
    """A distribution of networks: one of its architectures, the mean of its samples, and the variance of that mean."""

    architecture: Architecture
    mean: float
    noise: float


def gathered(space: Space, trials: Sequence[Trial]) -> list[Point]:
    """The points that trials are samples of, in the order in which they first came."""
    samples: defaultdict[tuple[object, ...], list[Trial]] = defaultdict(list)
    for trial in trials:
        key = tuple((name, value) for name, value in trial.architecture.items() if name not in space.repetitions)
        samples[key].append(trial)
    groups = list(samples.values())
    squares = [sum((t.value - np.mean([o.value for o in group])) ** 2 for t in group) for group in groups]
    freedom = sum(len(group) - 1 for group in groups)
    pooled = sum(squares) / freedom if freedom else 0.0
    points = []
    for group, square in zip(groups, squares, strict=True):
        variance = (PRIOR * pooled + square) / (PRIOR + len(group) - 1)
        mean = float(np.mean([trial.value for trial in group]))
        points.append(Point(group[0].architecture, mean, float(variance) / len(group)))
    return points


class Process:
    """A Gaussian process over what points are, without their draws; each mean has its own noise.

    Numbers and ordinal choices have one column, from 0 to 1, others one an option. Length scales are those of the
    greatest likelihood: one a column where there are few, one for all where there are many.
    """

    def __init__(self, space: Space, points: Sequence[Point]) -> None:
        self.space = space
        self.choices = [choice for choice in space.choices if choice.name not in space.repetitions]
        means = np.asarray([point.mean for point in points])
        self.centre, self.scale = means.mean(), means.std()
        noise = np.maximum([point.noise / self.scale**2 for point in points], LEAST_NOISE)
        matrix = self._matrix([point.architecture for point in points])
        count = matrix.shape[1]
        scales = np.full(count, np.sqrt(count) / 2) if count <= MOST_SCALES else np.sqrt(count) / 2
        kernel = ConstantKernel(1.0, "fixed") * Matern(scales, (0.05, 100), nu=2.5)
        self.process = GaussianProcessRegressor(kernel, alpha=noise, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # that a length scale is at an end is no news
            self.process.fit(matrix, (means - self.centre) / self.scale)

    def predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        """Expected value of each and its standard deviation."""
        mean, deviation = self.process.predict(self._matrix(architectures), return_std=True)
        return self.centre + self.scale * mean, self.scale * deviation

    def _matrix(self, architectures: Sequence[Architecture]) -> np.ndarray:
        simple = [self.space.simplify(one) for one in architectures]
        return np.asarray([[number for c in self.choices for number in _columns(c, one.get(c.name))] for one in simple])


def _columns(choice: Choice, value: Option | None) -> Sequence[float]:
    """What stands for a value; -1 for a number that is not active."""
    if not choice.ordinal:
        return [0.0] * len(choice.columns) if value is None else choice.encode(value)
    if value is None:
        return [-1.0]
    if isinstance(choice, Continuous):
        return [choice.share(value)]
    return [choice.index(value) / max(1, len(choice.options) - 1)]
