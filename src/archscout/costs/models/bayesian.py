"""The default model of latency: Bayesian linear regression under a prior that other devices taught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.space import Space
from archscout.costs.models.base import LatencyModel, checked
from archscout.costs.models.features import ALIKE, Counts
from archscout.costs.models.prior import SHORTEST, Group, Prior, shipped

NOISES = (0.02, 0.04, 0.08, 0.16)
"""Relative errors of single times that are thought possible, each as likely as the others."""

NEGLIGIBLE = 1e-4
"""Hypotheses less likely than this after fitting do not count in probabilities."""

SCALE = 0.3
"""How far a device's mean latency may lie from what the measured architectures suggest, relatively."""

FLOOR = 0.02
"""No latency is predicted to be below this share of the device's mean."""


class Looseness(NamedTuple):
    """How much freer than the devices seen so far a new one is thought to be, in one group of features."""

    independent: float
    """Share of each weight's variance over devices that has nothing to do with the other weights."""

    own: float
    """Variance of each weight that no device so far has shown."""

    odds: float = 1.0
    """How likely it is, before measuring, that these features are the right ones, relative to other groups."""


LOOSENESS: Mapping[str, Looseness] = {
    "operators": Looseness(0.6, 3e-4),
    "needed": Looseness(0.6, 3e-4, odds=0.2),
    "totals": Looseness(0.3, 1e-4),
    "stages": Looseness(0.3, 4e-4),
    "choices": Looseness(0.01, 1e-6),
}
"""Chosen on the training devices of HELP, each left out with its family.

(`benchmarks/hardware/latency_transfer.py --tune`.)
"""

UNTAUGHT = (0.1, 0.3, 1.0)
"""Without other devices: how far latencies may spread, relatively, each as likely as the others."""


@dataclass(frozen=True)
class _Hypothesis:
    """A Gaussian over the weights of all groups; those of other groups are zero."""

    mean: np.ndarray
    covariance: np.ndarray
    odds: float


class BayesianLatency(LatencyModel):
    """Multi-device Bayesian linear regression in closed form, with uncertainty and a choice of what to measure next.

    Latency on a device is its mean times 1 plus a weighted sum of features of the architecture; times have a relative
    error. For each group of features, the mean and the covariance of the weights over known devices make one prior;
    each prior with each size of the error (`NOISES`) is a hypothesis, weighed by the probability that it gave the
    measured times. All are Gaussian, so that fitting solves a few linear systems as large as the number of measured
    architectures. With no known device, priors of three widths without correlations stand in.

    >>> import archscout
    >>> space = archscout.space("nasbench201")
    >>> cells = list(space)
    >>> model = BayesianLatency()
    >>> measured = model.choose(space, cells, 10)
    >>> milliseconds = [2.0 + str(cell).count("conv_3x3") for cell in measured]       # stands for measuring them
    >>> predicted, deviation = model.fit(space, measured, milliseconds).predict(cells)
    >>> bool(abs(predicted[-1] - 2.0) < 0.1)
    True

    Args:
        prior: what is known of other devices. Default: the coefficients that the package ships for the space.
        counts: columns (n, counts) of an architecture's costs, such as multiply-adds and bytes moved, which predict
            latency; used in spaces of which no device is known.
        dead_operations: whether the device runs operations that no input reaches or whose output reaches nothing: so
            in published tables, not in networks that this package builds.

    Source: Archscout; the idea of a latency that few measurements of a new device adapt is that of HELP (Lee et al.
    2021, arXiv 2106.08630).
    """

    def __init__(
        self, prior: Prior | None = None, *, counts: Counts | None = None, dead_operations: bool = False
    ) -> None:
        self.prior, self.counts, self.dead_operations = prior, counts, dead_operations
        self._space: Space | None = None
        self._unit: np.ndarray | None = None
        self._measured: frozenset[Architecture] = frozenset()
        self._ms: float | None = None

    # -- before measuring -----------------------------------------------------------------------------------------

    def choose(self, space: Space, candidates: Sequence[Architecture], count: int) -> list[Architecture]:
        """Which candidates to measure next: those that together shrink the uncertainty about all of them most.

        Before the first fit, or after one to the same space (then none that was measured). Greedy; networks whose
        output does not depend on their input are never chosen.

        Raises:
            UsageError: there are fewer candidates than `count`.
        """
        if self._space is not space:
            self._begin(space, candidates)
        useless = space.constant(candidates)
        open_ = [a for a, bad in zip(candidates, useless, strict=True) if not bad and a not in self._measured]
        if len(open_) < count:
            raise UsageError(f"{count} architectures to measure cannot be chosen among {len(open_)}: give more.")
        design = self._design(open_)
        level = np.maximum(design @ self._mean, FLOOR)
        relative = design / level[:, None]
        wanted = relative.T @ relative / len(relative)
        covariance, free = self._covariance.copy(), np.ones(len(open_), dtype=bool)
        chosen: list[Architecture] = []
        for _ in range(count):
            lead = design @ covariance
            variance = np.einsum("ij,ij->i", lead, design) + self._noise * level**2
            gain = np.where(free, np.einsum("ij,ij->i", lead @ wanted, lead) / variance, -np.inf)
            best = int(gain.argmax())
            covariance -= np.outer(lead[best], lead[best]) / variance[best]
            free[best] = False
            chosen.append(open_[best])
        return chosen

    def device(self, space: Space, name: str) -> Self:
        """Set the model to a device whose coefficients are known, without a measurement.

        Raises:
            UsageError: the device is not among those known for the space.
        """
        prior = self._known(space)
        if prior is None:
            raise UsageError(f"no device is known for space '{space.name}': measure architectures on it, and fit.")
        one = prior.only([name])
        best = min(one.groups, key=lambda group: float(one.groups[group].errors[0]))
        self._space, self._unit, self._measured = space, None, frozenset()
        self._groups = {best: one.groups[best]}
        mean = one.groups[best].weights[0]
        self._settle([(1.0, mean, np.zeros((len(mean), len(mean))), float(one.groups[best].errors[0]))])
        self._ms = float(one.mean_ms[0])
        return self

    # -- the contract ---------------------------------------------------------------------------------------------

    def fit(self, space: Space, architectures: Sequence[Architecture], ms: Sequence[float] | np.ndarray) -> Self:
        """Learn from the times of some architectures; those of networks that ignore their input are left out.

        Raises:
            DataError: the times are of no use (`base.checked`).
        """
        times = checked(space, architectures, ms)
        use = ~space.constant(architectures)
        varying = [architecture for architecture, used in zip(architectures, use, strict=True) if used]
        times = checked(space, varying, times[use])
        self._begin(space, varying)
        self._measured = frozenset(architectures)
        design = self._design(varying)
        self._ms = float(np.median(times / np.maximum(design @ self._expected, FLOOR)))
        shares = times / self._ms
        settled, evidence = [], []
        for hypothesis in self._hypotheses:
            expected = design @ hypothesis.mean
            spread = design @ hypothesis.covariance
            for noise in NOISES:
                variance = spread @ design.T + np.diag((noise * np.maximum(expected, SHORTEST)) ** 2)
                root = np.linalg.cholesky(variance)
                error = np.linalg.solve(root, shares - expected)
                lead = np.linalg.solve(root, spread)
                settled.append((hypothesis.mean + lead.T @ error, hypothesis.covariance - lead.T @ lead, noise))
                evidence.append(np.log(hypothesis.odds) - 0.5 * error @ error - np.log(np.diag(root)).sum())
        odds = np.exp(np.array(evidence) - max(evidence))
        self._settle([(p, *rest) for p, rest in zip(odds / odds.sum(), settled, strict=True)])
        return self

    def predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        if self._ms is None:
            raise UsageError("a latency model must be fitted before it predicts: call fit(space, architectures, ms).")
        if not architectures:
            return np.empty(0), np.empty(0)
        design = self._design(architectures)
        share = np.maximum(design @ self._mean, FLOOR)
        variance = np.einsum("ij,ij->i", design @ self._covariance, design) + self._noise * share**2
        return share * self._ms, np.sqrt(np.log1p(variance / share**2))

    def within(self, architectures: Sequence[Architecture], limit: float) -> np.ndarray:
        """The probability that each architecture takes at most `limit` milliseconds: (n,).

        That of the mixture of all hypotheses, whose tails the one deviation of `predict` does not have.
        """
        from scipy.special import ndtr

        if self._ms is None:
            raise UsageError("a latency model must be fitted before it predicts: call fit(space, architectures, ms).")
        if not architectures:
            return np.empty(0)
        design = self._design(architectures)
        probability = np.zeros(len(architectures))
        for odds, mean, covariance, noise in self._components:
            share = np.maximum(design @ mean, FLOOR)
            variance = np.einsum("ij,ij->i", design @ covariance, design) + (noise * share) ** 2
            probability += odds * ndtr((limit / self._ms - share) / np.sqrt(variance))
        return probability

    # -- inside ---------------------------------------------------------------------------------------------------

    def _known(self, space: Space) -> Prior | None:
        return self.prior if self.prior is not None else shipped(space.name.partition(":")[0])

    def _columns(self, space: Space, architectures: Sequence[Architecture]) -> dict[str, np.ndarray]:
        columns = space.operator_counts(architectures, dead_operations=self.dead_operations)
        if self.counts is not None and self._known(space) is None:
            counts = np.asarray(self.counts(architectures), dtype=float).reshape(len(architectures), -1)
            columns["counts"] = counts / self._unit if self._unit is not None else counts
        return columns

    def _begin(self, space: Space, architectures: Sequence[Architecture]) -> None:
        """What is believed before anything is measured."""
        self._space, self._unit, self._measured, self._ms = space, None, frozenset(), None
        columns = self._columns(space, architectures)
        prior = self._known(space)
        if prior is not None:
            self._groups = {name: group for name, group in prior.groups.items() if name in columns}
            believed = [(n, *_taught(g, LOOSENESS[n]), LOOSENESS[n].odds) for n, g in self._groups.items()]
        else:
            if "counts" in columns:
                self._unit = np.maximum(columns["counts"].mean(axis=0), 1e-12)
                columns["counts"] = columns["counts"] / self._unit
            self._groups = {name: Group(c.mean(axis=0), np.empty(0), np.empty(0)) for name, c in columns.items()}
            believed = [(name, *_untaught(c, width), 1.0) for name, c in columns.items() for width in UNTAUGHT]
        places, width = self._places()
        self._hypotheses = []
        for name, mean, covariance, odds in believed:
            wide, square = np.zeros(width), np.zeros((width, width))
            wide[places[name]] = mean
            square[np.ix_(places[name], places[name])] = covariance
            self._hypotheses.append(_Hypothesis(wide, square, odds))
        total = sum(h.odds for h in self._hypotheses) * len(NOISES)
        self._settle([(h.odds / total, h.mean, h.covariance, noise) for h in self._hypotheses for noise in NOISES])
        self._expected = self._mean

    def _places(self) -> tuple[dict[str, np.ndarray], int]:
        """Where the weights of each group are, and how many there are in all; the constant is shared."""
        places, start = {}, 1
        for name, group in self._groups.items():
            stop = start + len(group.centre)
            places[name] = np.r_[0, start:stop]
            start = stop
        return places, start

    def _design(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """The constant and the centred features of all groups: (n, weights)."""
        assert self._space is not None
        columns = self._columns(self._space, architectures)
        # Without dead operations, a group that differs from another only by them has that one's columns.
        parts = [columns[name if name in columns else ALIKE[name]] - g.centre for name, g in self._groups.items()]
        return np.hstack([np.ones((len(architectures), 1)), *parts])

    def _settle(self, components: Sequence[tuple[float, np.ndarray, np.ndarray, float]]) -> None:
        """The mean and covariance of a mixture of Gaussians with sizes of the relative error."""
        self._components = [component for component in components if component[0] > NEGLIGIBLE]
        odds = np.array([component[0] for component in components])
        means = np.array([component[1] for component in components])
        self._mean = odds @ means
        apart = means - self._mean
        self._covariance = (apart.T * odds) @ apart
        for share, _, covariance, _ in components:
            self._covariance += share * covariance
        self._noise = float(odds @ [noise**2 for *_, noise in components])


def _taught(group: Group, loose: Looseness) -> tuple[np.ndarray, np.ndarray]:
    """The mean and covariance of weights over devices."""
    mean = group.weights.mean(axis=0)
    covariance = np.atleast_2d(np.cov(group.weights.T)) if len(group.weights) > 1 else np.zeros((len(mean), len(mean)))
    own = np.diag(loose.independent * np.diag(covariance) + loose.own)
    return mean, (1 - loose.independent) * covariance + own + SCALE**2 * np.outer(mean, mean)


def _untaught(columns: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights of equal variance, under which latencies spread by `width`, relatively."""
    each = width**2 / max(columns.var(axis=0).sum(), 1e-12)
    mean = np.eye(columns.shape[1] + 1)[0]
    return mean, np.diag([SCALE**2, *[each] * columns.shape[1]])
