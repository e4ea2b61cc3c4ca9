"""Freeze-thaw: trainings go on step by step, wherever a model of all curves sees the most hope."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import ndtr

from archscout.core.architecture import Architecture
from archscout.core.fresh import fresh
from archscout.core.method import Method, Run
from archscout.core.registry import register
from archscout.core.space import Space
from archscout.core.trial import Trial
from archscout.estimators.encodings.encode import choices
from archscout.estimators.paused import Paused
from archscout.methods.strategy import check_trains, ranked
from archscout.methods.training_free import whole

MOST_POINTS = 300
"""Of all curves, that the process learns from: the last ones of each curve, spread evenly on a logarithmic scale."""

ACROSS = (0.25, 0.5, 0.8)
"""Shares of the variance that architectures explain, of which the likeliest is taken; the rest is a curve's own."""

DECAY, NOISE = 3.0, 0.02
"""Of the kernel over epochs (its scale, in epochs) and, as a share of the variance, of a point."""

TRIES = 20


@register("method", "freeze_thaw")
class FreezeThaw(Method):
    """Freeze-thaw: one step of one training after the other, by MFPI-random over a Gaussian process of all curves.

    Sources: Swersky, Snoek, Adams 2014, arXiv 1406.3896 (the process: curves of like architectures end alike, and each
    has a course of its own whose kernel decays with the epochs); Rakotoarison et al. 2024, arXiv 2404.16795 (the
    acquisition: the chance to exceed a random threshold above the best after a random number of further epochs). Any
    training that was begun can go on at any time, and some new architectures are candidates each time.

    Args:
        first: random architectures that get a step to begin with.
        step: epochs between one decision and the next.
        pool: new architectures that are looked at for each decision.
    """

    def __init__(self, first: int = 8, step: int = 1, pool: int = 40) -> None:
        self.name = "freeze_thaw"
        self.first, self.step, self.pool = whole(first, "first", 2), whole(step, "step"), whole(pool, "pool")

    def search(self, run: Run) -> list[Trial]:
        check_trains(run, self.name)
        curves = Curves(run.space, run.epochs)
        estimator = Paused(run.epochs)
        trials: list[Trial] = []

        def train(architectures: Sequence[Architecture]) -> bool:
            lengths = [self._next(run, curves.reached(run.space.canonical(one))) for one in architectures]
            finished = run.evaluate(architectures, estimator, fidelity=lengths, phase="freeze-thaw")
            for trial in finished:
                curves.add(trial)
            trials.extend(finished)
            return len(finished) == len(architectures)

        paid = train(self._new(run, curves, self.first, 0))
        for number in range(1, 1 + run.epochs * 100_000):
            candidates = [*curves.unfinished(), *self._new(run, curves, self.pool, number)]
            if not paid or not candidates:
                break
            paid = train([self._choose(run, curves, candidates, number)])
        top = max((trial.fidelity or 0 for trial in trials if trial.defined), default=0)
        run.note("freeze-thaw", {"begun": len(curves), "epochs": curves.epochs, "steps": len(trials)})
        return ranked(run, [trial for trial in trials if (trial.fidelity or 0) == top])

    def _next(self, run: Run, reached: int) -> int:
        """Until which epoch a training that has come so far goes on next."""
        later = (run.fidelity(epochs) for epochs in range(reached + self.step, run.epochs + 1))
        return next((epochs for epochs in later if epochs > reached), run.epochs)

    def _new(self, run: Run, curves: Curves, count: int, number: int) -> list[Architecture]:
        rng = run.rng("new", number)
        samples: Iterator[Architecture] = (run.space.simplify(run.space.sample(rng)) for _ in range(TRIES * count))
        return run.admit(fresh(run.space, samples, set(curves.by_network)), count)

    def _choose(self, run: Run, curves: Curves, candidates: Sequence[Architecture], number: int) -> Architecture:
        """MFPI-random: the likeliest to exceed a random threshold after a random number of further epochs."""
        rng = run.rng("choose", number)
        horizon = int(rng.integers(1, run.epochs + 1))
        exponent = float(rng.uniform(-4, -1))
        expected = curves.expect(candidates, horizon)
        if expected is None:
            return candidates[int(rng.integers(len(candidates)))]
        mean, deviation = expected
        threshold = curves.best + 10**exponent * curves.spread
        chance = ndtr((mean - threshold) / np.maximum(deviation, 1e-9))
        return candidates[int(np.lexsort((rng.random(len(chance)), -mean, -chance))[0])]


@dataclass
class Course:
    """The values of one training so far, by epoch; what failed goes on no more."""

    architecture: Architecture
    values: dict[int, float]
    failed: bool = False


class Curves:
    """All trainings so far, and a Gaussian process over them.

    The value of architecture x at epoch t is m(t) + f(x) + g(x, t): the mean of all curves, what like architectures
    have in common (Matern 5/2 over the options taken), and a course of its own, with covariance (1 + (t + t') / s)^-1
    for the same architecture, which goes out as a curve goes on.

    Args:
        space: of the architectures.
        final: epochs of full training.
    """

    def __init__(self, space: Space, final: int) -> None:
        self.space, self.final = space, final
        self.by_network: dict[str, Course] = {}
        self.best, self.epochs = -np.inf, 0

    def __len__(self) -> int:
        return len(self.by_network)

    def reached(self, canonical: str) -> int:
        """After how many epochs a training has paused; 0 for one that has not begun."""
        course = self.by_network.get(canonical)
        return max(course.values, default=0) if course else 0

    def add(self, trial: Trial) -> None:
        """One more step of a training."""
        course = self.by_network.setdefault(trial.canonical, Course(trial.architecture, {}))
        if trial.defined and trial.fidelity is not None:
            self.epochs += trial.fidelity - self.reached(trial.canonical)
            course.values[trial.fidelity] = trial.value
            self.best = max(self.best, trial.value)
        else:
            course.failed = True

    def unfinished(self) -> list[Architecture]:
        """Those that can go on."""
        courses = self.by_network.values()
        return [c.architecture for c in courses if not c.failed and max(c.values, default=0) < self.final]

    @property
    def spread(self) -> float:
        """Of the highest values of all curves."""
        values = [max(course.values.values()) for course in self.by_network.values() if course.values]
        return float(np.ptp(values)) or 1.0

    def expect(self, candidates: Sequence[Architecture], horizon: int) -> tuple[np.ndarray, np.ndarray] | None:
        """What each is expected to have come to so many epochs further on, and how sure that is; None if unknown."""
        known = [course for course in self.by_network.values() if course.values]
        points = [(n, t, v) for n, course in enumerate(known) for t, v in self._points(course, len(known))]
        if len(known) < 2 or len({value for _, _, value in points}) < 2:
            return None
        owner, epoch, value = (np.asarray(column) for column in zip(*points, strict=True))
        level = self._level(known)
        residual = value - level[epoch]
        scale = residual.std() or 1.0
        features = choices(self.space, [course.architecture for course in known]).astype(float)
        near = _matern(features, features)[np.ix_(owner, owner)]
        own = (owner[:, None] == owner) * _decay(epoch, epoch)
        fits = [
            _Fit(share * near + (1 - share) * own + NOISE * np.eye(len(owner)), residual / scale, share)
            for share in ACROSS
        ]
        fit = max(fits, key=lambda each: each.likelihood)
        place = {course.architecture.text: n for n, course in enumerate(known)}
        which = np.asarray([place.get(one.text, -1) for one in candidates])
        reached = [max(known[n].values) if n >= 0 else 0 for n in which]
        later = np.minimum(np.asarray(reached) + horizon, self.final)
        across = _matern(choices(self.space, candidates).astype(float), features)[:, owner]
        joint = fit.share * across + (1 - fit.share) * (which[:, None] == owner) * _decay(later, epoch)
        prior = fit.share + (1 - fit.share) * np.diag(_decay(later, later))
        mean, variance = fit.predict(joint, prior)
        return level[later] + scale * mean, scale * np.sqrt(np.maximum(variance, 1e-9))

    def _points(self, course: Course, curves: int) -> list[tuple[int, float]]:
        """Those points of a curve that are learned from: its last, and earlier ones at ever greater distances."""
        most = max(1, MOST_POINTS // curves)
        epochs = sorted(course.values, reverse=True)
        places = {round(p) - 1 for p in np.geomspace(1, len(epochs), min(most, len(epochs)))}
        return [(epochs[p], course.values[epochs[p]]) for p in sorted(places)]

    def _level(self, known: Sequence[Course]) -> np.ndarray:
        """The mean curve by epoch, from 0 on: gains between epochs, each the mean over curves that have both."""
        level = np.zeros(self.final + 1)
        first = [course.values[min(course.values)] for course in known]
        level[:] = np.mean(first)
        for epoch in range(2, self.final + 1):
            gains = [
                c.values[epoch] - c.values[epoch - 1] for c in known if epoch in c.values and epoch - 1 in c.values
            ]
            level[epoch:] = level[epoch - 1] + (np.mean(gains) if gains else 0.0)
        return level


class _Fit:
    """A Gaussian process on given covariances, and how likely its targets are."""

    def __init__(self, covariance: np.ndarray, targets: np.ndarray, share: float) -> None:
        self.share = share
        self.factor = cho_factor(covariance, lower=True)
        self.weights = cho_solve(self.factor, targets)
        self.likelihood = float(-targets @ self.weights / 2 - np.log(np.diag(self.factor[0])).sum())

    def predict(self, joint: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means and variances: `joint` covariances (N, n) with the targets, `prior` variances (N,)."""
        return joint @ self.weights, prior - np.einsum("ij,ji->i", joint, cho_solve(self.factor, joint.T))


def _matern(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Matern 5/2 of the distance of one-hot rows, whose length scale is that of half of the choices changed."""
    squared = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    taken = max(1.0, float(first.sum(1).max())) if len(first) else 1.0
    distance = np.sqrt(5 * np.maximum(squared, 0) / taken)
    return np.asarray((1 + distance + distance**2 / 3) * np.exp(-distance))


def _decay(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The covariance of two epochs of one curve."""
    return np.asarray(1 / (1 + (first[:, None] + second) / DECAY))
