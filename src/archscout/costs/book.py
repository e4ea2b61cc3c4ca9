"""What architectures cost, measured once a network: screened before training, measured again for finalists."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.cost import Constraint, Cost, Measurement, meets
from archscout.core.estimator import Setting
from archscout.costs import machine
from archscout.store.store import Store
from archscout.workers.engine import TrialTimeout
from archscout.workers.engines import Engine, InlineEngine

_CHUNK, _SHORT_CHUNK = 8, 2
"""Networks of a job, and where time is short, so that what was computed until then is known."""

_LEAST_SECONDS = 0.5
"""What a job may take at least, even where no time is left."""

_LEAST_SEEN = 24
"""Measured architectures from which it can be told what others cost."""


def screen_job(
    payload: Any, cost: Cost, architectures: Sequence[Architecture], seed: int, least: float
) -> tuple[list[Measurement], float]:
    """Runs in a worker: the screened costs of some architectures, and how fast this machine has been seen to be."""
    space, task, device = payload
    machine.remember(least)
    return cost.screen(architectures, Setting(space, task, seed=seed, device=device)), machine.least()


class CostBook:
    """Costs by canonical form, kept in the store; `screened` ones are quick, `measured` ones are to be relied on."""

    def __init__(self, costs: Sequence[Cost], setting: Setting, store: Store, run: str, engine: Engine) -> None:
        self.costs = tuple(costs)
        self.setting, self.store, self.run, self.engine = setting, store, run, engine
        self._inline = InlineEngine((setting.space, setting.task, setting.device))
        self._guesses: dict[str, Guess] = {}
        self._left: Callable[[], float] | None = None
        self._known: dict[str, dict[str, Measurement]] = {
            canonical: {key: Measurement(**kept) for key, kept in row.items()}
            for canonical, row in store.costs(run).items()
        }

    def screened(self, architectures: Sequence[Architecture], extra: Sequence[Cost] = ()) -> list[dict[str, float]]:
        """The quick costs of each, by key; those not known yet are computed by the workers.

        Raises `TrialTimeout` where time is short (`within`); what was computed until then is kept.
        """
        canonicals = [self.setting.space.canonical(architecture) for architecture in architectures]
        size = _CHUNK if self._left is None else _SHORT_CHUNK
        for cost in (*self.costs, *extra):
            kept = cost.key if cost.exact else f"screened {cost.key}"
            missing = {
                c: a for c, a in zip(canonicals, architectures, strict=True) if kept not in self._known.get(c, {})
            }
            texts, todo = list(missing), list(missing.values())
            # What is timed is timed on this machine, never on another one of a cluster.
            engine = self.engine if cost.exact or self.engine.here else self._inline
            futures: list[tuple[list[str], Future[Any]]] = []
            for start in range(0, len(todo), size):
                chunk = todo[start : start + size]
                future = engine.submit(screen_job, cost, chunk, self.setting.seed, machine.least())
                futures.append((texts[start : start + size], future))
            for place, (chunk_texts, future) in enumerate(futures):
                measurements, least = self._in_time([future, *(later for _, later in futures[place + 1 :])])
                machine.remember(least)
                for canonical, measurement in zip(chunk_texts, measurements, strict=True):
                    self._keep(canonical, kept, measurement)
        return [self.known(canonical, extra) for canonical in canonicals]

    @contextmanager
    def within(self, left: Callable[[], float]) -> Iterator[None]:
        """Within it, nothing is screened for longer than so many seconds are left."""
        before, self._left = self._left, left
        try:
            yield
        finally:
            self._left = before

    def _in_time(self, futures: Sequence[Future[Any]]) -> Any:
        """The result of the first; all are cancelled where it is not there in time."""
        left = math.inf if self._left is None else max(_LEAST_SECONDS, self._left())
        try:
            return futures[0].result(None if math.isinf(left) else left)
        except TimeoutError:
            for future in futures:
                future.cancel()
            raise TrialTimeout(f"the costs of a network took longer than {left:.3g} s.") from None

    def measured(self, architecture: Architecture, extra: Sequence[Cost] = ()) -> dict[str, Measurement]:
        """The careful costs of one, measured in this process while the workers rest."""
        canonical = self.setting.space.canonical(architecture)
        result: dict[str, Measurement] = {}
        for cost in (*self.costs, *extra):
            kept = cost.key if cost.exact else f"measured {cost.key}"
            if kept not in self._known.get(canonical, {}):
                self._keep(canonical, kept, cost.measure(architecture, self.setting))
            result[cost.key] = self._known[canonical][kept]
        return result

    def learn(self, architectures: Sequence[Architecture]) -> None:
        """From what these have been seen to cost: what others should. A resumed search must give the same ones."""
        features = self.setting.space.encode(architectures)
        rows = [self._known.get(self.setting.space.canonical(architecture), {}) for architecture in architectures]
        for cost in self.costs:
            values = np.array([row[kept].value if (kept := f"screened {cost.key}") in row else np.nan for row in rows])
            seen = np.isfinite(values) & (values > 0)
            if seen.sum() >= _LEAST_SEEN:
                self._guesses[cost.key] = Guess(features[seen], values[seen])

    def hopeless(self, architectures: Sequence[Architecture], constraints: Sequence[Constraint]) -> list[bool]:
        """Which are so surely above a limit, by what similar ones cost, that they are not worth measuring."""
        over = np.zeros(len(architectures), dtype=bool)
        features = self.setting.space.encode(architectures) if self._guesses else np.empty(0)
        for constraint in constraints:
            if constraint.key in self._guesses:
                over |= self._guesses[constraint.key].at_least(features) > constraint.limit
        return [bool(each) for each in over]

    def keeping(
        self, architectures: Sequence[Architecture], constraints: Sequence[Constraint], margins: Mapping[str, float]
    ) -> list[Architecture]:
        """Those that break no constraint, as far as it can be told quickly; measured costs need a margin.

        Where time is short (`within`), those of which it was told in time. Raises `TrialTimeout` where these are none.
        """
        surely_not = self.hopeless(architectures, constraints)
        worth = [one for one, hopeless in zip(architectures, surely_not, strict=True) if not hopeless]
        try:
            self.screened(worth)
        except TrialTimeout:
            worth = [one for one in worth if len(self.at_most(one)) == len(self.costs)]
            if not worth:
                raise
        return [one for one in worth if meets(self.at_most(one), constraints, margins)]

    def known(self, canonical: str, extra: Sequence[Cost] = ()) -> dict[str, float]:
        """The values of `best`, by key."""
        return {key: measurement.value for key, measurement in self.best(canonical, extra).items()}

    def at_most(self, architecture: Architecture) -> dict[str, float]:
        """What limits are held against, of what is known of a network, by key: of predictions the upper end."""
        known = self.best(self.setting.space.canonical(architecture))
        return {key: measurement.at_most for key, measurement in known.items()}

    def best(self, canonical: str, extra: Sequence[Cost] = ()) -> dict[str, Measurement]:
        """What is known of a network without computing anything, by key; the better of two measurements."""
        row = self._known.get(canonical, {})
        measurements: dict[str, Measurement] = {}
        for cost in (*self.costs, *extra):
            for kept in (cost.key, f"measured {cost.key}", f"screened {cost.key}"):
                if kept in row:
                    measurements[cost.key] = row[kept]
                    break
        return measurements

    def _keep(self, canonical: str, kept: str, measurement: Measurement) -> None:
        self._known.setdefault(canonical, {})[kept] = measurement
        self.store.add_costs(self.run, canonical, {kept: measurement})


class Guess:
    """A measured cost by the options that are taken: ridge regression of its logarithm, with its error left out by one.

    Args:
        features: n x p.
        costs: n, above zero.
    """

    def __init__(self, features: np.ndarray, costs: np.ndarray) -> None:
        y = np.log(costs)
        self._centre, self._mean = features.mean(axis=0), float(y.mean())
        x = features - self._centre
        # In the form of n x n matrices: the samples are few, the options may be thousands.
        kernel = x @ x.T
        inverse = np.linalg.inv(kernel + np.eye(len(y)))
        self._weights = x.T @ inverse @ (y - self._mean)
        leverage = np.einsum("ij,ji->i", kernel, inverse) + 1 / len(y)
        residuals = (y - self._mean - x @ self._weights) / np.maximum(1 - leverage, 1e-6)
        self.error = float(np.sqrt(np.mean(residuals**2)))
        """Of a logarithm, on an architecture that was not seen: root of the mean square, each left out in turn."""

    def at_least(self, features: np.ndarray) -> np.ndarray:
        """What almost all with these features cost at least: two errors below what is expected."""
        expected = self._mean + (features - self._centre) @ self._weights
        return np.asarray(np.exp(expected - 2 * self.error))
