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
from archscout.core.errors import ArchscoutError
from archscout.core.estimator import Setting
from archscout.core.seeds import stream
from archscout.costs import devices
from archscout.costs.device_latency import SIDE, describe, new_model
from archscout.costs.latency import Latency, until_trusted
from archscout.costs.machine import processor
from archscout.costs.models.base import LEAST

_CANDIDATES = 200


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
        {"architecture": a.text, "ms": float(value), **told}
        for a, value, told in zip(architectures, ms, check, strict=True)
    ]
    title = title or f"{name} (your own)"
    source = f"{len(rows)} networks measured"
    file = devices.save(name, title, [{**describe(setting), "measurements": rows}], conditions, source)
    told = [(float(value), each) for value, each in zip(ms, check, strict=True) if each]
    errors = [abs(each["predicted"] / value - 1) for value, each in told]
    inside = [each["low"] <= value <= each["high"] for value, each in told]
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
        found = until_trusted(lambda architecture=architecture: latency.measure(architecture, setting))  # type: ignore[misc]
        if found.trusted:
            kept.append(architecture)
            ms.append(found.value)
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
    }
    title = f"{name} ({processor()}, {latency.runtime}, {latency.precision})"
    return from_times(name, setting, kept, ms, conditions, title=title, left_out=len(chosen) - len(kept))


def _left_out_one_by_one(
    setting: Setting, architectures: Sequence[Architecture], ms: Sequence[float]
) -> list[dict[str, float]]:
    """How each time is predicted from the others; nothing where these are too few."""
    told: list[dict[str, float]] = []
    made = new_model(setting)
    for position, architecture in enumerate(architectures):
        others = [i for i in range(len(ms)) if architectures[i].text != architecture.text]
        if len({architectures[i].text for i in others}) < LEAST or np.ptp([ms[i] for i in others]) == 0:
            told.append({})
            continue
        made.fit(setting.space, [architectures[i] for i in others], [ms[i] for i in others])
        predicted, deviation = (float(values[0]) for values in made.predict([architectures[position]]))
        reach = float(np.exp(SIDE * deviation))
        told.append({"predicted": predicted, "low": predicted / reach, "high": predicted * reach})
    return told
