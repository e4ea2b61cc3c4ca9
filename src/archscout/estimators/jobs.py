"""What workers do for a search (estimates, or several zero-cost scores in shared passes), and what is under way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from archscout.core.architecture import Architecture
from archscout.core.errors import ArchscoutError
from archscout.core.estimator import Estimator, Setting
from archscout.core.trial import Estimate
from archscout.workers.engines import Engine, TrialTimeout
from archscout.workers.folder import Files, Folder

Estimated = tuple[list[Estimate], float, Files]
"""What a job comes to: estimates, the seconds that they took, and files that it could not write into the folder."""

Start = Callable[[Sequence[Architecture], int | None], Future[Estimated]]
"""Hands architectures, to be estimated with one fidelity, to the workers."""


def estimate_job(
    payload: Any,
    estimator: Estimator,
    architectures: Sequence[Architecture],
    seed: int,
    folder: Folder | None,
    fidelity: int | None,
) -> Estimated:
    """Runs in a worker."""
    space, task, device = payload
    began = time.perf_counter()

    def estimate(place: Path | None) -> list[Estimate]:
        setting = Setting(space, task, seed=seed, device=device, folder=place)
        return estimator.estimate(architectures, setting, fidelity=fidelity)

    estimates, files = (estimate(None), {}) if folder is None else folder.use(estimate)
    return estimates, time.perf_counter() - began, files


def score_job(
    payload: Any, names: Sequence[str], architectures: Sequence[Architecture], seed: int
) -> list[list[Estimate]]:
    """Runs in a worker: some estimates by each of several zero-cost scores, in passes that they share."""
    from archscout.estimators.zero_cost.harness import score

    space, task, device = payload
    columns = score(architectures, names, Setting(space, task, seed=seed, device=device))
    return [[columns[name][i] for name in names] for i in range(len(architectures))]


def scored_alone(
    engine: Engine, names: Sequence[str], architectures: Sequence[Architecture], seed: int
) -> list[list[Estimate]]:
    """As `score_job`, each in a job of its own: one of them has brought a worker down."""
    rows: list[list[Estimate]] = []
    for architecture in architectures:
        try:
            rows += engine.submit(score_job, tuple(names), [architecture], seed).result()
        except ArchscoutError as error:
            rows.append([Estimate(math.nan, reason=str(error), extra={"failed": True})] * len(names))
    return rows


@dataclass(frozen=True)
class Evaluation:
    """An evaluation that is asked for: its key in the store, and the number that its trial will have."""

    key: str
    architecture: Architecture
    number: int
    fidelity: int | None


class Jobs:
    """The jobs of one estimator that are under way; their length is how many there are.

    Args:
        start: begins a job.
        take: gets the files of a job that could not write them itself.
    """

    def __init__(self, start: Start, take: Callable[[Files], None]) -> None:
        self._start, self._take = start, take
        self.flying: dict[Future[Estimated], list[Evaluation]] = {}
        """Those that have not been collected, in the order in which they were begun."""

    def __len__(self) -> int:
        return len(self.flying)

    @property
    def evaluations(self) -> int:
        """How many evaluations are under way."""
        return sum(map(len, self.flying.values()))

    def submit(self, batch: list[Evaluation]) -> None:
        """Begin a job of evaluations of one fidelity."""
        self.flying[self._start([each.architecture for each in batch], batch[0].fidelity)] = batch

    def collect(self) -> list[tuple[Evaluation, Estimate]]:
        """What is finished, after at least one job is, or a second has passed; failed where a job came to nothing."""
        finished, _ = wait(self.flying, timeout=1.0, return_when=FIRST_COMPLETED)
        done: list[tuple[Evaluation, Estimate]] = []
        for future in finished:
            batch = self.flying.pop(future)
            seconds: float | None = None
            try:
                estimates, seconds, files = future.result()
            except ArchscoutError as error:
                if len(batch) > 1 and not isinstance(error, TrialTimeout):
                    # One of a chunk brought the worker down: each alone tells which.
                    for each in batch:
                        self.submit([each])
                    continue
                stopped = {"stopped": True} if isinstance(error, TrialTimeout) else {}
                estimates = [Estimate(math.nan, reason=str(error), extra={"failed": True, **stopped})] * len(batch)
            else:
                if files:  # before the trial counts: whoever finds it finds its weights
                    self._take(files)
            shared = {"together": len(batch), "job_seconds": seconds}
            for each, estimate in zip(batch, estimates, strict=True):
                done.append((each, replace(estimate, extra={**estimate.extra, **shared})))
        return done
