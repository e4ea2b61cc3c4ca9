"""What the trials of a search say, as plain columns: phases, the course of the best value, and what each network costs.

A store may hold a hundred thousand trials, and a page must stay small: figures get the columns of this file, thinned by
`thin`, which never drops a point of the front or a record and lets the page say how many others it shows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from archscout.core.errors import UsageError
from archscout.core.estimator import TRAINING, is_cross_validation, is_training
from archscout.core.metric import Metric
from archscout.core.seeds import stream
from archscout.report.quantities import finite


@runtime_checkable
class TrialLike(Protocol):
    """What this room reads of a stored trial (`archscout.store.store.StoredTrial`)."""

    @property
    def number(self) -> int: ...
    @property
    def architecture(self) -> str: ...
    @property
    def canonical(self) -> str: ...
    @property
    def estimator(self) -> str: ...
    @property
    def fidelity(self) -> int | None: ...
    @property
    def status(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def costs(self) -> Mapping[str, float]: ...
    @property
    def seconds(self) -> float: ...
    @property
    def phase(self) -> str: ...
    @property
    def reason(self) -> str: ...


_FOLD = re.compile(r"count=(\d+),number=(\d+)")


@dataclass
class Phase:
    """Trials of one phase with one estimator at one fidelity; `best` is None where no value is defined."""

    name: str
    estimator: str
    fidelity: int | None
    count: int = 0
    failed: int = 0
    seconds: float = 0.0
    best: float | None = None


@dataclass(frozen=True)
class Course:
    """The trials of one estimator in the order of asking; all arrays have one entry a trial.

    `elapsed` is seconds since the search began, `record` says whether a value is better than all before it.
    """

    elapsed: np.ndarray
    values: np.ndarray
    levels: tuple[str, ...]
    level: np.ndarray
    record: np.ndarray
    texts: tuple[str, ...]
    phases: tuple[tuple[str, float, float], ...]
    """Name, first and last elapsed second of every phase of the search, cheap estimators included."""


@dataclass
class Network:
    """One network as far as it is known: its value at the highest fidelity that it was given, and its costs."""

    architecture: str
    value: float = math.nan
    rank: float = -math.inf
    level: str = ""
    costs: dict[str, float] = field(default_factory=dict)


def level_name(estimator: str, fidelity: float | None, full: int | None = None) -> str:
    """How much was spent on a value, in words; `full` is the number of epochs of a full training.

    >>> level_name("trained", 6, 18), level_name("trained", 18, 18), level_name("naswot", None)
    ('6 epochs of training', 'full training (18 epochs)', 'naswot')
    >>> level_name("folds:count=5,number=2", 90, 150)
    'cross-validation (90 epochs, 3 of 5 folds)'
    """
    endless = fidelity is None or math.isinf(fidelity)
    if is_cross_validation(estimator) and not endless:
        fold = _FOLD.search(estimator)
        return f"cross-validation ({fidelity:g} epochs" + (f", {int(fold[2]) + 1} of {fold[1]} folds)" if fold else ")")
    if not is_training(estimator):
        return estimator if endless else f"{estimator} at {fidelity:g}"
    if endless:
        return "full training"
    epochs = f"{fidelity:g} epoch{'' if fidelity == 1 else 's'}"
    return f"full training ({epochs})" if fidelity == full else f"{epochs} of training"


def full_epochs(report: Mapping[str, Any]) -> int | None:
    """Epochs of a full training in this search; the winner's own may be fewer, or more."""
    full: int | None = report.get("full_epochs", report.get("epochs"))
    return full


def rung_name(text: str, full: int | None = None) -> str:
    """A rung as notes write it (`trained@6`, `naswot`), in words.

    >>> rung_name("trained@6"), rung_name("naswot@None"), rung_name("naswot+params")
    ('6 epochs of training', 'naswot', 'naswot + params')
    """
    estimator, _, fidelity = text.rpartition("@")
    if fidelity.isdigit():
        return level_name(estimator, int(fidelity), full)
    return (estimator if fidelity == "None" else text).replace("+", " + ")


def phases(trials: Sequence[TrialLike]) -> list[Phase]:
    """The phases in the order in which they began."""
    by_stage: dict[tuple[str, str, int | None], Phase] = {}
    for trial in trials:
        key = (trial.phase, trial.estimator, trial.fidelity)
        phase = by_stage.get(key)
        if phase is None:
            phase = by_stage[key] = Phase(*key)
        if trial.status == "completed":
            phase.count += 1
            value = finite(trial.value)
            if value is not None and (phase.best is None or value > phase.best):
                phase.best = value
        elif trial.status == "failed":
            phase.failed += 1
        phase.seconds += trial.seconds or 0.0
    return [phase for phase in by_stage.values() if phase.count or phase.failed]


def main_estimator(trials: Sequence[TrialLike], report: Mapping[str, Any]) -> str:
    """The estimator that the search was about: the one it was started with, or else the last that gave values."""
    wanted = str(report.get("estimator") or "")
    last = ""
    for trial in trials:
        if trial.status == "completed" and finite(trial.value) is not None:
            if trial.estimator == wanted:
                return wanted
            last = trial.estimator
    return last


def course(trials: Sequence[TrialLike], estimator: str, *, workers: int = 1, full: int | None = None) -> Course:
    """How the values of one estimator went over time.

    A stored trial says at which second of the search it was finished (`extra["at"]`). Where one does not, the seconds
    of the evaluations so far are added up and divided among the workers.
    """
    elapsed, values, fidelities, texts = [], [], [], []
    spans: dict[str, tuple[float, float]] = {}
    now = 0.0
    for trial in trials:
        seconds = trial.seconds or 0.0
        at = finite((getattr(trial, "extra", None) or {}).get("at"))
        before, now = now, (now + seconds / max(1, workers) if at is None else at)
        if trial.status == "rejected":
            continue
        name = trial.phase or level_name(trial.estimator, trial.fidelity)
        first, end = spans.get(name, (max(0.0, min(before, now - seconds)), now))
        spans[name] = (first, max(end, now))
        value = finite(trial.value)
        if trial.estimator == estimator and trial.status == "completed" and value is not None:
            elapsed.append(now)
            values.append(value)
            fidelities.append(math.inf if trial.fidelity is None else trial.fidelity)
            texts.append(trial.architecture)
    known = sorted(set(fidelities))
    place = {fidelity: position for position, fidelity in enumerate(known)}
    column = np.asarray(values, dtype=float)
    before_each = np.concatenate([[-np.inf], np.maximum.accumulate(column)[:-1]]) if len(column) else column
    return Course(
        elapsed=np.asarray(elapsed, dtype=float),
        values=column,
        levels=tuple(level_name(estimator, f, full) for f in known),
        level=np.asarray([place[f] for f in fidelities], dtype=int),
        record=column > before_each,
        texts=tuple(texts),
        phases=tuple((name, first, end) for name, (first, end) in spans.items()),
    )


def networks(trials: Sequence[TrialLike], report: Mapping[str, Any], estimator: str) -> list[Network]:
    """Every network that has a value, once, with costs gathered from all its trials.

    Finalists and the winner get their costs as they were measured again, and where no trial is at hand, their value.
    """
    full = full_epochs(report)
    by_form: dict[str, Network] = {}
    by_text: dict[str, Network] = {}
    for trial in trials:
        network = by_form.get(trial.canonical)
        if network is None:
            network = by_form[trial.canonical] = Network(trial.architecture)
        by_text.setdefault(trial.architecture, network)
        network.costs.update({key: cost for key, cost in trial.costs.items() if finite(cost) is not None})
        value = finite(trial.value)
        rank = math.inf if trial.fidelity is None else float(trial.fidelity)
        # A later fold of cross-validation counts in the former ones, of those networks that were given it.
        folded = is_cross_validation(estimator) and is_cross_validation(trial.estimator)
        believed = (folded or trial.estimator == estimator) and trial.status == "completed"
        if believed and value is not None and rank >= network.rank:
            network.value, network.rank = value, rank
            network.level = level_name(trial.estimator, trial.fidelity, full)
    metric = metric_of(report)
    for row in final_rows(report):
        text, measured = str(row.get("architecture")), finite(row.get("value"))
        value = None if measured is None else metric.oriented(measured)
        network = by_text.get(text)
        if network is None:
            network = by_text[text] = by_form[f"finalist {text}"] = Network(text)
        costs = row.get("costs") or {}
        network.costs.update({key: cost for key, cost in costs.items() if finite(cost) is not None})
        if not math.isfinite(network.value) and value is not None:
            network.value, network.rank = value, math.inf if full is None else float(full)
            network.level = level_name(TRAINING, full, full)
    return [network for network in by_form.values() if math.isfinite(network.value)]


def metric_of(report: Mapping[str, Any]) -> Metric:
    """What the task of a report measured."""
    name = str(report.get("metric") or "accuracy")
    try:
        return Metric.from_json(report.get("metric_details"), name)
    except (UsageError, TypeError):
        return Metric("metric")


def final_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Finalists and, if it is not among them, the winner: each with `value`, its metric on the validation data."""
    key = f"valid_{report.get('metric') or 'accuracy'}"
    winner = report.get("winner")
    rows = [dict(row) for row in report.get("finalists") or []]
    if winner and all(row.get("architecture") != winner.get("architecture") for row in rows):
        rows.insert(0, dict(winner))
    return [row | {"value": row.get("value", row.get(key))} for row in rows]


def front(costs: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which points no other beats: none is as cheap and better, or cheaper and as good. Shape (n,), truth values.

    One sweep over the points by cost, in O(n log n) time, for a general sorting of fronts compares all pairs.
    """
    if not len(costs):
        return np.zeros(0, dtype=bool)
    _, group = np.unique(costs, return_inverse=True)
    best = np.full(group.max() + 1, -np.inf)
    np.maximum.at(best, group, values)
    cheaper = np.concatenate([[-np.inf], np.maximum.accumulate(best)[:-1]])
    return np.asarray((values == best[group]) & (values > cheaper[group]))


def thin(keep: np.ndarray, limit: int) -> np.ndarray:
    """Positions, in order, of at most `limit` points: those of `keep`, then others drawn at random (always the same).

    Where `keep` alone is more than `limit`, evenly spaced ones of it, its first and last among them.
    """
    if len(keep) <= limit:
        return np.arange(len(keep))
    kept = np.flatnonzero(keep)
    if len(kept) >= limit:
        return np.asarray(kept[np.linspace(0, len(kept) - 1, limit).round().astype(int)])
    others = stream(0, "report", "thin").choice(np.flatnonzero(~keep), limit - len(kept), replace=False)
    return np.sort(np.concatenate([kept, others]))


def view(values: np.ndarray) -> tuple[float, float]:
    """The range of an axis that shows what matters: everything, unless a few low values would squash the rest."""
    low, middle, high = (float(v) for v in np.quantile(values, [0.0, 0.5, 1.0]))
    if middle - low > 4 * (high - middle) and len(values) >= 20:
        low = float(np.quantile(values, 0.1))
    room = 0.06 * (high - low) or abs(high) * 0.02 or 0.5
    return low - room, high + room
