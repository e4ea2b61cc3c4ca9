"""Which trained network wins: the finalists are measured again, and the best that keeps every limit is taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from archscout.core.architecture import Architecture
from archscout.core.cost import Measurement, meets
from archscout.core.errors import ArchscoutError
from archscout.core.estimator import TRAINING, is_cross_validation, is_training
from archscout.core.trial import Trial
from archscout.core.written import significant
from archscout.costs.reported import REPORTED, measure_each, named_cost
from archscout.estimators.final import FINAL
from archscout.search import elsewhere
from archscout.search.run import SearchRun

_FINALISTS = 3

_SPARE = 2.0
"""Of the seconds kept back for the ending, what measuring further finalists may take."""

_CONSIDERED = 200
"""Trained networks that are looked at in the end, the best ones."""


def trained_networks(run: SearchRun, candidates: Sequence[Trial] = ()) -> list[Trial]:
    """The trained networks whose weights are kept, best first: as the method ranked them, then the other ones.

    These by the length of their training first, for values of trainings of different lengths cannot be compared; the
    best training of each network.
    """
    rows = [
        row
        for row in run.store.trials(run.name)
        if row.status == "completed"
        and row.estimator != FINAL
        and (is_training(row.estimator) or row.extra.get("weights"))
    ]
    unread = [row.trial(Architecture(row.architecture, ())) for row in rows]
    places = {(trial.canonical, trial.fidelity): place for place, trial in reversed(list(enumerate(candidates)))}
    last = len(candidates)

    def order(trial: Trial) -> tuple[float, float, tuple[float, float, int]]:
        place = places.get((trial.canonical, trial.fidelity), last)
        return (place, 0 if place < last else -(trial.fidelity or 0), trial.rank)

    best: dict[str, Trial] = {}
    for trial in sorted((trial for trial in unread if trial.defined), key=order):
        best.setdefault(trial.canonical, trial)
    return [replace(t, architecture=run.space.parse(t.architecture.text)) for t in list(best.values())[:_CONSIDERED]]


def train_some(run: SearchRun, candidates: Sequence[Trial]) -> list[Trial]:
    """Where a search ended before anything was trained: the best of what it found, as long as time allows."""
    best = [trial.architecture for trial in candidates[: run.workers]]
    return [t for t in run.evaluate(best, TRAINING, fidelity=run.epochs, phase="final training") if t.defined]


def choose(
    run: SearchRun, trained: Sequence[Trial], times: elsewhere.Times
) -> tuple[Trial, list[dict[str, Any]], dict[str, Measurement]]:
    """The best that keeps every limit when measured again; with what was measured of the finalists."""
    finalists: list[dict[str, Any]] = []
    winner: Trial | None = None
    measurements: dict[str, Measurement] = {}
    for trial in trained:
        # Of networks that nobody has trained, the one to train must be measured, and no other.
        untrained = not trial.curve and not trial.extra.get("weights")
        enough = len(finalists) >= _FINALISTS or run.seconds_left() < -_SPARE or untrained
        if winner is not None and enough and not times:
            break
        measured = run.book.measured(trial.architecture) | times.get(trial.canonical, {})
        values = {key: measurement.value for key, measurement in measured.items()}
        kept = meets({key: measurement.at_most for key, measurement in measured.items()}, run.constraints, {})
        finalists.append(
            {
                "architecture": trial.architecture.text,
                "value": run.task.metric.oriented(trial.value),
                "costs": values,
                "meets": kept,
                "details": {key: dict(measurement.details) for key, measurement in measured.items()},
            }
        )
        if kept and winner is None:
            winner, measurements = trial, measured
    if winner is None:
        limits = ", ".join(str(constraint) for constraint in run.constraints)
        closest = min(finalists, key=lambda f: max(f["costs"][c.key] / c.limit for c in run.constraints))
        raise ArchscoutError(
            f"none of {len(finalists)} trained networks keeps {limits} when measured again; the closest has "
            + ", ".join(f"{c.key} = {significant(closest['costs'][c.key], 4)}" for c in run.constraints)
            + (": raise the limit, or repeat on a quieter machine." if not times else ": search under a lower limit.")
        )
    wanted = [cost for cost in map(named_cost, REPORTED) if cost.key not in measurements]
    more, missing = measure_each(wanted, lambda cost: run.book.measured(winner.architecture, [cost])[cost.key])
    if missing:
        run.note("missing", missing)
    return winner, finalists, measurements | more


def no_network(run: SearchRun) -> str:
    """Why there is no trained network, in one sentence."""
    failures = counts(run)["failures"]
    if failures:
        count = failures[0]["count"]
        trainings = "1 training" if count == 1 else f"{count} trainings"
        return f"no network was trained: {trainings} failed, first with: {failures[0]['reason']}"
    return f"the budget of {run.budget} ended before a network was trained: give more, or fewer --epochs."


def counts(run: SearchRun) -> dict[str, Any]:
    """How many trials a run has (of the estimator that is believed in the end), how many networks were trained and
    looked at, how many trials failed, and for which reasons.
    """
    rows = run.store.trials(run.name)
    failed = Counter(row.reason for row in rows if row.status == "failed")
    return {
        "trials": sum(row.estimator == run.estimator and row.phase != "calibration" for row in rows)
        + len({row.canonical for row in rows if run.trains and is_cross_validation(row.estimator)}),
        "trained": len(
            {row.canonical for row in rows if row.status == "completed" and row.curve and row.phase != "calibration"}
        ),
        "scored": len({row.canonical for row in rows}),
        "failed_trials": sum(failed.values()),
        "failures": [{"reason": reason, "count": count} for reason, count in failed.most_common(5)],
    }
