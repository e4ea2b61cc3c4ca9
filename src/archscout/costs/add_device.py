"""A device of the user's own: which networks to measure on it, and its profile from their times.

Two steps, since the device is elsewhere: `bundle.write` what to measure, then `from_times`. A device that is this
machine takes one, `from_here`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.estimator import Setting
from archscout.core.seeds import stream
from archscout.costs import devices
from archscout.costs.device_latency import SIDE, describe, entry, others
from archscout.costs.latency import Latency, until_trusted
from archscout.costs.machine import processor
from archscout.costs.models.base import LEAST
from archscout.costs.named_models import named, new_model

_CANDIDATES = 200

PARTS = 5
"""Of the measurements, each predicted by a model that is fitted to the others."""


@dataclass(frozen=True)
class Added:
    """A device that was added: its file, and how its model predicts each network from all the others."""

    file: Path
    measured: int
    left_out: int
    error: float
    """Median relative error of such predictions (NaN: too few networks to tell)."""

    covered: float
    """Share of networks whose time lies in the 90 % interval of its prediction."""


def choose(setting: Setting, count: int) -> list[Architecture]:
    """Which networks to measure: those of 200 drawn from the space that together tell most, all different.

    Raises `UsageError` where the space has fewer.
    """
    rng = stream(setting.seed, "networks to measure")
    drawn = [setting.space.simplify(setting.space.sample(rng)) for _ in range(_CANDIDATES)]
    different = list({setting.space.canonical(each): each for each in (*setting.space.extremes(), *drawn)}.values())
    return new_model(setting).choose(setting.space, different, count)


def from_times(
    name: str,
    setting: Setting,
    architectures: Sequence[Architecture],
    ms: Sequence[float],
    conditions: Mapping[str, Any],
    *,
    title: str = "",
    left_out: int = 0,
) -> Added:
    """Write the profile of a device from times (milliseconds) of some of the setting's networks.

    Raises:
        UsageError: the name cannot be that of a device, or the profile cannot be written.
        DataError: the times are of no use: too few, not above zero, all the same.
    """
    devices.check_name(name)
    new_model(setting).fit(setting.space, architectures, ms)
    check = _left_out_one_by_one(setting, architectures, ms)
    rows = [
        {"architecture": a.text, "ms": float(value), **times}
        for a, value, times in zip(architectures, ms, check, strict=True)
    ]
    title = title or f"{name} (your own)"
    source = f"{len(rows)} networks measured"
    file = devices.save(name, title, [{**describe(setting), "measurements": rows}], conditions, source)
    times = [(float(value), each) for value, each in zip(ms, check, strict=True) if each]
    errors = [abs(each["predicted"] / value - 1) for value, each in times]
    inside = [each["low"] <= value <= each["high"] for value, each in times]
    return Added(
        file,
        len(rows),
        left_out,
        float(np.median(errors)) if errors else float("nan"),
        float(np.mean(inside)) if inside else float("nan"),
    )


def from_here(name: str, setting: Setting, count: int, latency: Latency) -> Added:
    """Measure networks on this machine and add it as a device. Measurements that cannot be trusted are left out.

    Raises:
        ArchscoutError: too few can be trusted: the machine is busy.
    """
    devices.check_name(name)
    chosen = choose(setting, count)
    kept, ms = [], []
    for architecture in chosen:
        measurement = until_trusted(lambda architecture=architecture: latency.measure(architecture, setting))  # type: ignore[misc]
        if measurement.trusted:
            kept.append(architecture)
            ms.append(measurement.value)
    if len(kept) < max(LEAST, len(chosen) / 2):
        raise ArchscoutError(
            f"this machine is too busy: {len(chosen) - len(kept)} of {len(chosen)} measurements did not settle in "
            "three attempts each; repeat when other programs are closed."
        )
    conditions = {
        "cpu": processor(),
        "runtime": latency.runtime,
        "batch": latency.batch,
        "threads": latency.threads,
        "precision": latency.precision,
        "layout": latency.layout,
    }
    title = f"{name} ({processor()}, {latency.runtime}, {latency.precision})"
    return from_times(name, setting, kept, ms, conditions, title=title, left_out=len(chosen) - len(kept))


@dataclass(frozen=True)
class Check:
    """How a model predicts the measured networks of a device that it was not fitted to, in five parts.

    Args:
        model: by name.
        error: median relative error.
        within: share of networks that are within 10 %.
        deviation: standard deviation of the logarithm of the error.
    """

    model: str
    error: float
    within: float
    deviation: float


def check_model(name: str, setting: Setting, model: str) -> Check:
    """How a latency model by name does on the networks that a device of the user's own has measured.

    Raises:
        UsageError: the device has no measurements of these networks, or the model cannot be made.
        DataError: there are too few.
    """
    rows = entry(devices.find(name), setting).get("measurements", [])
    if not rows:
        raise UsageError(
            f"device '{name}' has no measurements to fit a model to: the package holds coefficients of published "
            "devices alone."
        )
    architectures = [setting.space.parse(row["architecture"]) for row in rows]
    ms = np.asarray([row["ms"] for row in rows], dtype=float)
    parts = stream(setting.seed, "parts of measurements").permutation(len(rows)) % PARTS
    known, predicted = others(name, setting), np.full(len(rows), np.nan)
    made = named(model, setting, architectures, ms.tolist(), known)
    for part in range(PARTS):
        seen, left = np.flatnonzero(parts != part), np.flatnonzero(parts == part)
        if not len(left):
            continue
        chosen = [architectures[place] for place in seen]
        if model == "help":  # its references must be among what it is fitted to
            made = named(model, setting, chosen, ms[seen].tolist(), known)
        made.fit(setting.space, chosen, ms[seen])
        predicted[left] = made.predict([architectures[place] for place in left])[0]
    errors = np.abs(predicted / ms - 1)
    logs = np.log(predicted / ms)
    return Check(model, float(np.median(errors)), float((errors <= 0.1).mean()), float(np.sqrt(np.mean(logs**2))))


def use(name: str, setting: Setting, checked: Check) -> Path:
    """Let a checked model predict the latency of a device from now on. Raises `UsageError` as `check_model` does."""
    known = entry(devices.find(name), setting)
    return devices.change(name, known, {"model": checked.model, "deviation": checked.deviation})


def _left_out_one_by_one(
    setting: Setting, architectures: Sequence[Architecture], ms: Sequence[float]
) -> list[dict[str, float]]:
    """How each time is predicted from the others; nothing where these are too few."""
    predictions: list[dict[str, float]] = []
    model = new_model(setting)
    for position, architecture in enumerate(architectures):
        others = [i for i in range(len(ms)) if architectures[i].text != architecture.text]
        if len({architectures[i].text for i in others}) < LEAST or np.ptp([ms[i] for i in others]) == 0:
            predictions.append({})
            continue
        model.fit(setting.space, [architectures[i] for i in others], [ms[i] for i in others])
        predicted, deviation = (float(values[0]) for values in model.predict([architectures[position]]))
        reach = float(np.exp(SIDE * deviation))
        predictions.append({"predicted": predicted, "low": predicted / reach, "high": predicted * reach})
    return predictions
