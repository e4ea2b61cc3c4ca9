"""What a job will take, by what such jobs have taken: trainings of a stack share most of their time."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

CALLS = 1.4
"""Of small networks, what the calling of operators takes, for each second of arithmetic of one network: with it, 16 and
32 that are trained at once take 2.2 and 2.3 times less than alone (`benchmarks/training/batched_training.py`: 2.2,
2.4).
"""

RECENT = 8
"""Jobs of one size that are remembered."""


@dataclass(frozen=True)
class Timing:
    """What a job has taken.

    Args:
        epochs: of its trainings; 0 where it trained nothing.
        seconds: that it took.
        epoch_seconds: of these, the last epoch of all its trainings.
    """

    epochs: int
    seconds: float
    epoch_seconds: float


class Finished(Protocol):
    """A trial that is done, as it is stored or as strategies see it."""

    @property
    def estimator(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def curve(self) -> tuple[Mapping[str, float], ...]: ...
    @property
    def extra(self) -> Mapping[str, Any]: ...


class Pace:
    """Learns what jobs of an estimator take, by how many architectures shared one, and how large jobs should be.

    Between two sizes that have been seen it interpolates. Above the largest it expects no further saving, and below the
    smallest as much saving as the smallest networks have: it errs towards too long.

    >>> pace = Pace()
    >>> pace.learn("trained", 4, Timing(epochs=2, seconds=9.0, epoch_seconds=4.0))
    >>> pace.expected("trained", 10, 4), pace.expected("trained", 10, 8)
    (41.0, 82.0)

    Args:
        workers: that jobs run on, side by side.
        timed: whether the time for them is limited.
    """

    def __init__(self, workers: int = 1, timed: bool = False) -> None:
        self.workers, self.timed = workers, timed
        self._together: dict[str, int] = {}
        self._jobs: dict[str, dict[int, deque[Timing]]] = defaultdict(lambda: defaultdict(lambda: deque(maxlen=RECENT)))

    def learn(self, estimator: str, count: int, job: Timing) -> None:
        """A job of `count` architectures is done."""
        self._jobs[estimator][count].append(job)

    def learn_trial(self, trial: Finished, *, first: bool = False) -> None:
        """From a trial of a job that is done; of the `first` jobs of all, what every process does once is left out."""
        together, epochs = int(trial.extra.get("together", 1)), len(trial.curve)
        job = trial.extra.get("job_seconds") or trial.seconds * together
        marks = [row["seconds"] for row in trial.curve if "seconds" in row]
        # Of the last epoch, where there are two: the first one includes what every process does once.
        last = marks[-1] - marks[-2] if len(marks) > 1 else trial.seconds
        epoch = min(job, last * together) if epochs else 0.0
        self.learn(trial.estimator, together, Timing(epochs, min(job, epochs * epoch) if first else job, epoch))

    def job_size(self, estimator: str, together: int, count: int) -> int:
        """How many of `count` evaluations share a job, of which so many are best given together.

        Apart from a budget in time this follows from what was asked alone: not from workers or what is stored.
        """
        self._together[estimator] = max(together, self._together.get(estimator, 1))
        return self._size(together, count)

    def of_all(self, estimator: str, fidelity: int | None, count: int) -> float:
        """Seconds by the clock until `count` evaluations at once are done; 0 where none has been made."""
        size = self._size(self._together.get(estimator, 1), count)
        rounds, rest = divmod(count, size * self.workers)
        last = min(size, rest)
        return rounds * self.expected(estimator, fidelity, size) + (
            self.expected(estimator, fidelity, last) if last else 0.0
        )

    def _size(self, together: int, count: int) -> int:
        jobs = self.workers if self.timed else 2
        return max(1, min(together, -(-count // jobs)))

    def expected(self, estimator: str, fidelity: int | None, count: int) -> float:
        """Seconds of a job of `count` architectures; 0 where none has been done."""
        known = self._jobs.get(estimator, {})
        same = {n: some for n, jobs in known.items() if (some := [job for job in jobs if job.epochs == fidelity])}
        jobs: Mapping[int, Sequence[Timing]] = same or known
        if not jobs:
            return 0.0
        sizes = sorted(jobs)
        return _between(count, sizes, [_seconds(jobs[size], fidelity) for size in sizes])


def _seconds(jobs: Sequence[Timing], fidelity: int | None) -> float:
    """The mean, had they all been of this fidelity."""
    if not fidelity:
        return float(np.mean([job.seconds for job in jobs]))
    return float(np.mean([job.seconds + (fidelity - job.epochs) * job.epoch_seconds for job in jobs]))


def _between(count: int, sizes: Sequence[int], seconds: Sequence[float]) -> float:
    if count <= sizes[0]:
        return seconds[0] * (CALLS + count) / (CALLS + sizes[0])
    if count >= sizes[-1]:
        return seconds[-1] * count / sizes[-1]
    return float(np.interp(count, sizes, seconds))
