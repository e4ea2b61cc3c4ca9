"""What a job will take, by what such jobs have taken: trainings of a stack share most of their time."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

CALLS = 1.4
"""Of small networks, what the calling of operators takes, for each second of arithmetic of one network: with it, 16 and
32 that are trained at once take 2.2 and 2.3 times less than alone (`benchmarks/batched_training.py` measures 2.2, 2.4).
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


class Pace:
    """Learns what jobs of an estimator take, by how many architectures shared one.

    Between two sizes that have been seen it interpolates. Above the largest it expects no further saving, and below the
    smallest as much saving as the smallest networks have: it errs towards too long.

    >>> pace = Pace()
    >>> pace.learn("trained", 4, Timing(epochs=2, seconds=9.0, epoch_seconds=4.0))
    >>> pace.expected("trained", 10, 4), pace.expected("trained", 10, 8)
    (41.0, 82.0)
    """

    def __init__(self) -> None:
        self._jobs: dict[str, dict[int, deque[Timing]]] = defaultdict(lambda: defaultdict(lambda: deque(maxlen=RECENT)))

    def learn(self, estimator: str, count: int, job: Timing) -> None:
        """A job of `count` architectures is done."""
        self._jobs[estimator][count].append(job)

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
