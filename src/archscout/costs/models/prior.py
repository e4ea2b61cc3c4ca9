"""What is known of devices in general: the coefficients of latency on many of them, and where such knowledge is kept.

The latency of an architecture on a device, divided by the device's mean latency, is taken as 1 plus a weighted sum of
centred features (`features.py`). Each device has its own weights; over devices they have a mean and a covariance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from archscout.core.errors import UsageError, nearest
from archscout.core.space import Space
from archscout.costs.models.base import Measured, checked
from archscout.costs.models.features import ALIKE

RIDGE = 1.0
"""Penalty on the square of the weight of a feature of unit variance, against the sum of squared relative errors."""

SHORTEST = 0.2
"""Errors are relative to the latency, but to no less than this share of the device's mean."""


@dataclass(frozen=True)
class Group:
    """The weights of one group of features on several devices.

    Attributes:
        centre: (columns,) what is subtracted from the features.
        weights: (devices, 1 + columns) of the constant and of each centred feature, in shares of the mean latency.
        errors: (devices,) root mean square of the relative error that these weights leave.
    """

    centre: np.ndarray
    weights: np.ndarray
    errors: np.ndarray


@dataclass(frozen=True)
class Prior:
    """What is known of some devices, for one space.

    Attributes:
        devices: their names.
        mean_ms: (devices,) the mean latency over the architectures that were measured.
        groups: the weights, for each group of features.
    """

    devices: tuple[str, ...]
    mean_ms: np.ndarray
    groups: Mapping[str, Group]

    def only(self, devices: Iterable[str]) -> Prior:
        """The prior with these devices. Raises `UsageError` for one that it does not know."""
        chosen = tuple(devices)
        for device in chosen:
            if device not in self.devices:
                raise UsageError(f"no coefficients are known of a device '{device}': {nearest(device, self.devices)}")
        rows = [self.devices.index(device) for device in chosen]
        return Prior(
            chosen,
            self.mean_ms[rows],
            {name: Group(g.centre, g.weights[rows], g.errors[rows]) for name, g in self.groups.items()},
        )

    def without(self, devices: Iterable[str]) -> Prior:
        """The prior without these devices, as if they had never been measured."""
        left_out = set(devices)
        return self.only(device for device in self.devices if device not in left_out)


def learn(space: Space, known: Sequence[Measured], *, dead_operations: bool = False) -> Prior:
    """The weights of each device by ridge regression on relative errors.

    Networks whose output does not depend on their input are left out: a compiler may remove them whole.

    Raises:
        DataError: a device's times are of no use.
    """
    means: list[float] = []
    centres: dict[str, np.ndarray] = {}
    weights: dict[str, list[np.ndarray]] = {}
    errors: dict[str, list[float]] = {}
    for measured in known:
        ms = checked(space, measured.architectures, measured.ms)
        use = ~space.constant(measured.architectures)
        means.append(float(ms[use].mean()))
        share = ms[use] / means[-1]
        weigh = 1 / np.maximum(share, SHORTEST)
        for name, columns in space.operator_counts(measured.architectures, dead_operations=dead_operations).items():
            columns = columns[use]
            centre = centres.setdefault(ALIKE.get(name, name), columns.mean(axis=0))
            design = np.hstack([np.ones((len(columns), 1)), columns - centre])
            penalty = np.diag([0.0, *(RIDGE * columns.var(axis=0) + 1e-9)])
            scaled = design * weigh[:, None]
            fitted = np.linalg.solve(scaled.T @ scaled + penalty, scaled.T @ (share * weigh))
            weights.setdefault(name, []).append(fitted)
            errors.setdefault(name, []).append(float(np.sqrt(np.mean(((design @ fitted - share) * weigh) ** 2))))
    for name, alike in ALIKE.items():
        if name in weights:
            for device in range(len(known)):
                better = name if errors[name][device] < errors[alike][device] else alike
                weights[name][device] = weights[alike][device] = weights[better][device]
    groups = {
        name: Group(centres[ALIKE.get(name, name)], np.array(weights[name]), np.array(errors[name])) for name in weights
    }
    return Prior(tuple(measured.device for measured in known), np.array(means), groups)


def save(prior: Prior, path: Path) -> None:
    """Write a prior as an .npz file of plain arrays, in single precision."""
    arrays: dict[str, np.ndarray] = {"devices": np.array(prior.devices), "mean_ms": prior.mean_ms.astype(np.float32)}
    for name, group in prior.groups.items():
        for part in ("centre", "weights", "errors"):
            arrays[f"{name}.{part}"] = getattr(group, part).astype(np.float32)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def load(path: Path) -> Prior:
    """Read what `save` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    names = [name.removesuffix(".centre") for name in arrays if name.endswith(".centre")]
    groups = {
        name: Group(*(arrays[f"{name}.{part}"].astype(float) for part in ("centre", "weights", "errors")))
        for name in names
    }
    return Prior(tuple(str(d) for d in arrays["devices"]), arrays["mean_ms"].astype(float), groups)


@cache
def shipped(space: str) -> Prior | None:
    """The coefficients that the package ships for a space, by its name without parameters (None: it ships none)."""
    with resources.as_file(resources.files(__package__) / "data" / f"{space}.npz") as path:
        return load(path) if path.is_file() else None
