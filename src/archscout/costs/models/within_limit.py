"""The best network under a latency limit, from a few measurements that know the limit and what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.space import Space
from archscout.costs.models.base import LEAST
from archscout.costs.models.bayesian import BayesianLatency


@dataclass(frozen=True)
class Found:
    """What `within_limit` ends with.

    Attributes:
        architecture: the best of the measured ones that keep the limit; where none does, the fastest.
        ms: its measured latency in milliseconds.
        keeps: whether it keeps the limit.
        measured: all that was measured, in order, with milliseconds.
    """

    architecture: Architecture
    ms: float
    keeps: bool
    measured: tuple[tuple[Architecture, float], ...]


def within_limit(
    space: Space,
    architectures: Sequence[Architecture],
    worth: Sequence[float] | np.ndarray,
    limit: float,
    measure: Callable[[Architecture], float],
    *,
    budget: int = 10,
    model: BayesianLatency | None = None,
    first: Sequence[Architecture] | None = None,
) -> Found:
    """Find the architecture of most worth whose latency on a device is at most `limit` milliseconds.

    The first measurements (three) teach the model the device. Each further one goes to the architecture with the
    greatest expected gain: its worth above that of the best measured one that keeps the limit, times the probability
    that it keeps it too. (Where all times so far are whole milliseconds, a time is taken for a rounded one.) So
    measurements gather where worth and limit meet, and what is answered has been measured.

    >>> import archscout
    >>> space = archscout.space("nasbench201")
    >>> cells = list(space)[::25]
    >>> convolutions = [str(cell).count("conv_3x3") for cell in cells]              # stands for accuracies
    >>> within_limit(space, cells, convolutions, 4.5, lambda cell: 2.0 + str(cell).count("conv_3x3")).ms
    4.0

    Args:
        space: of the architectures.
        architectures: n candidates, all different.
        worth: (n,) how good each is, higher is better: known or estimated accuracies.
        limit: milliseconds.
        measure: gives the milliseconds of one on the device.
        budget: measurements in all.
        model: what is known of other devices; the coefficients that the package ships if None.
        first: what is measured first; if None, what the model chooses.

    Raises:
        UsageError: fewer than 3 measurements or candidates, or numbers of worth that are not one finite each.
        DataError: measured latencies are of no use (`archscout.costs.models.base.checked`).
    """
    values = np.asarray(worth, dtype=float)
    if values.shape != (len(architectures),) or not np.isfinite(values).all():
        raise UsageError(f"give one finite worth for each of the {len(architectures)} architectures.")
    if min(budget, len(architectures)) < LEAST:
        raise UsageError(
            f"{LEAST} measurements at least teach a device: {budget} were given, for {len(architectures)} candidates."
        )
    model = BayesianLatency() if model is None else model
    known = {architecture: float(value) for architecture, value in zip(architectures, values, strict=True)}
    starts = model.choose(space, architectures, LEAST) if first is None else list(first)
    times = {architecture: float(measure(architecture)) for architecture in starts}
    nothing = float(values.min())
    while len(times) < budget:
        model.fit(space, list(times), list(times.values()))
        best = max((known.get(a, nothing) for a, ms in times.items() if ms <= limit), default=nothing)
        open_ = [a for a, value in known.items() if value > best and a not in times]
        if not open_:
            break
        rounded = all(ms == round(ms) for ms in times.values())
        keeps = model.within(open_, np.floor(limit) + 0.5 if rounded else limit)
        gain = (np.array([known[a] for a in open_]) - best) * keeps
        chosen = open_[int(gain.argmax())]
        times[chosen] = float(measure(chosen))
    keeping = [a for a, ms in times.items() if ms <= limit]
    answer = max(keeping, key=lambda a: known.get(a, nothing)) if keeping else min(times, key=times.__getitem__)
    return Found(answer, times[answer], bool(keeping), tuple(times.items()))


def shortlist(worth: Sequence[float] | np.ndarray, probability: Sequence[float] | np.ndarray, count: int) -> list[int]:
    """What to measure where all is measured at once, on a device that is elsewhere: positions, the first the best.

    Greedily, each raises most the expected worth of the best measured one that keeps the limit; whether one keeps it is
    thought to say nothing about another. Where all are sure, these are the best; the less sure they are, the more
    of lesser worth are among them.

    >>> shortlist([0.9, 0.8, 0.7], [0.2, 0.9, 1.0], 2)
    [1, 0]
    >>> shortlist([0.9, 0.8, 0.7], [0.9, 0.9, 0.9], 2)
    [0, 1]

    Args:
        worth: (n,) how good each is, higher is better.
        probability: (n,) that each keeps the limit.
        count: how many; fewer where there are fewer.
    """
    values, keeps = np.asarray(worth, dtype=float), np.asarray(probability, dtype=float)
    reached = {float(values.min()): 1.0} if len(values) else {}  # probability of each worth of the best so far
    chosen: list[int] = []
    while len(chosen) < min(count, len(values)):
        gain = keeps * sum(share * np.maximum(values - best, 0.0) for best, share in reached.items())
        gain[chosen] = -1.0
        pick = int(gain.argmax())
        chosen.append(pick)
        after: dict[float, float] = {}
        for best, share in reached.items():
            kept = share * keeps[pick] if values[pick] > best else 0.0
            after[best] = after.get(best, 0.0) + share - kept
            if kept:
                after[float(values[pick])] = after.get(float(values[pick]), 0.0) + kept
        reached = after
    return chosen
