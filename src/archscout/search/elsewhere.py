"""Devices that are not at hand: the finalists are written for measuring there, and the times that return decide."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.cost import Measurement
from archscout.core.errors import DataError, UsageError, nearest
from archscout.core.trial import Trial
from archscout.costs import bundle
from archscout.costs.device_latency import DeviceLatency
from archscout.costs.models.within_limit import shortlist
from archscout.search.run import SearchRun

FINALISTS = 10
"""As many finalists are written for measuring elsewhere; `within_limit` was found to do with ten measurements."""

Times = dict[str, dict[str, Measurement]]
"""What was measured elsewhere, by canonical form and key."""


def devices(run: SearchRun) -> list[DeviceLatency]:
    """The devices with a limit that are the user's own, not this machine, and measured by a bundle."""
    limited = {constraint.key for constraint in run.constraints}
    return [
        cost
        for cost in run.book.costs
        if isinstance(cost, DeviceLatency) and cost.key in limited and cost.carried and not cost.at_hand
    ]


def write(run: SearchRun, trained: Sequence[Trial], winner: Trial, folder: Path) -> tuple[list[Trial], list[Any]]:
    """Write a bundle of finalists for each such device: which they are, and what is to be done with each bundle."""
    there = devices(run)
    if not there:
        return [], []
    limits = {constraint.key: constraint.limit for constraint in run.constraints}
    architectures = [trial.architecture for trial in trained]
    keeps = np.ones(len(trained))
    for cost in there:
        keeps *= cost.within(architectures, limits[cost.key], run.book.setting)
    finalists = [trained[i] for i in shortlist([trial.value for trial in trained], keeps, FINALISTS)]
    if all(trial.canonical != winner.canonical for trial in finalists):
        finalists[-1] = winner
    files = []
    for cost in there:
        place = folder / f"finalists-{cost.device.name}"
        shutil.rmtree(place, ignore_errors=True)
        then = f"the search's own command again, with --times {cost.device.name}=times.csv"
        chosen = [trial.architecture for trial in finalists]
        bundle.write(cost.device.name, place, run.book.setting, chosen, cost.carried or {}, then)
        files.append({"device": cost.device.name, "key": cost.key, "bundle": str(place), "networks": len(finalists)})
    return finalists, files


def read(run: SearchRun, files: Mapping[str, str | Path], folder: Path) -> Times:
    """What came back from devices, now and before; from now on the run knows it.

    Raises:
        UsageError: a device is none of those that the run has a limit for and that are elsewhere, or there is no file.
        DataError: a file has no times of the finalists (`archscout.costs.bundle.read_times`).
    """
    there = {cost.device.name: cost for cost in devices(run)}
    known: dict[str, dict[str, float]] = dict(run.store.notes(run.name).get("times", {}))
    for name, file in files.items():
        if name not in there or not (folder / f"finalists-{name}").is_dir():
            raise UsageError(
                f"run '{run.name}' waits for no times of a device '{name}': {nearest(name, there)}"
                if there
                else f"run '{run.name}' has no limit on a device of your own that is elsewhere: leave --times out."
            )
        finalists = bundle.read(folder / f"finalists-{name}").architectures
        architectures, ms = bundle.read_times(Path(file), run.space, finalists)
        if not ms:
            raise DataError(f"'{file}' has no times of the finalists: measure them, and give the file of times.")
        seen: dict[str, list[float]] = {}
        for architecture, value in zip(architectures, ms, strict=True):
            seen.setdefault(run.space.canonical(architecture), []).append(value)
        # Of a network that was measured repeatedly, the middle one.
        known[there[name].key] = {canonical: float(np.median(values)) for canonical, values in seen.items()}
    run.note("times", known)
    return _measurements(run, known)


def _measurements(run: SearchRun, known: Mapping[str, Mapping[str, float]]) -> Times:
    times: Times = {}
    for key, by_canonical in known.items():
        for canonical, ms in by_canonical.items():
            predicted = run.book.best(canonical)[key]
            details = {
                "predicted_ms": predicted.value,
                "predicted_low": predicted.details["low"],
                "predicted_high": predicted.details["high"],
                "elsewhere": True,
            }
            times.setdefault(canonical, {})[key] = Measurement(ms, 0.0, details)
    return times
