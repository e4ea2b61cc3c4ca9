"""Latency on a named device: predicted by a model of it, and measured where the device is this machine."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.cache import Cache
from archscout.core.cost import Cost, Measurement
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import register
from archscout.core.seeds import stream
from archscout.costs import devices
from archscout.costs.latency import Latency
from archscout.costs.machine import processor
from archscout.costs.models.base import LatencyModel, Measured
from archscout.costs.models.bayesian import BayesianLatency
from archscout.costs.named_models import DEFAULT, Known, named
from archscout.networks.tracing import trace_architecture

SIDE = 1.645
"""Standard deviations from the middle to either end of the 90 % interval of a prediction."""

SAME = 0.01
"""Networks whose multiply-adds differ by no more than this share are the same but for their number of outputs."""


_LOOKS = 20
"""Architectures of which the one with most multiply-adds is the reference."""


@register("cost", "latency@DEVICE")
class DeviceLatency(Cost):
    """Milliseconds on a named device: predicted with an interval; measured where the device is this machine.

    A device knows the latency of the networks that were measured on it: of one space, for inputs of one shape. For
    other networks there is no number, but an error that says how to get one (`archscout device add`). Of published
    devices the package holds fitted coefficients; of a user's own, the measurements, to which a model is fitted when it
    is needed.

    The value is the middle of the prediction, `details["low"]` and `["high"]` the ends of its 90 % interval. A limit is
    held against the upper end: where the model is right, a network whose upper end is just at the limit breaks it once
    in twenty. Where the device is this machine (`archscout device add NAME --here`), `screen` predicts and `measure`
    measures.

    Raises:
        UsageError: the device is unknown, or its latency for these networks is.
    """

    units: ClassVar[Mapping[str, float]] = Latency.units
    exact: ClassVar[bool] = False
    margin: ClassVar[float] = 1.0

    def __init__(self, device: str) -> None:
        self.device = devices.find(device)
        self.name = f"latency@{device}"
        self.key = f"latency@{device}_ms"

    @property
    def at_hand(self) -> bool:
        """Whether the device is this machine."""
        return self.device.own and self.device.conditions.get("cpu") == processor() and self._conditions is not None

    @property
    def carried(self) -> Mapping[str, Any] | None:
        """How networks that are carried to the device are measured there; None where a bundle cannot be."""
        known = self._conditions
        return known if self.device.own and known is not None and known["runtime"] == "onnxruntime" else None

    def within(self, architectures: Sequence[Architecture], limit: float, setting: Setting) -> np.ndarray:
        """The probability that each takes at most `limit` milliseconds, by the model: (n,)."""
        from scipy.special import ndtr

        predictions = self.screen(architectures, setting)
        apart = [math.log(limit / each.value) / max(each.details["deviation"], 1e-9) for each in predictions]
        return np.asarray(ndtr(apart))

    @property
    def _conditions(self) -> Mapping[str, Any] | None:
        """How to measure on this machine as the device was measured."""
        known = self.device.conditions
        names = ("runtime", "batch", "threads", "precision")
        if not all(name in known for name in names):
            return None
        return {name: known[name] for name in (*names, "layout") if name in known}

    def check(self, setting: Setting) -> None:
        """Raises `UsageError` where the device does not know the networks of the setting."""
        self._model(setting)

    def about(self, setting: Setting) -> dict[str, Any]:
        """The device, whether it is at hand, and the measured networks, each predicted from the others."""
        rows = entry(self.device, setting).get("measurements", [])
        return {
            "device": self.device.name,
            "title": self.device.title,
            "source": self.device.source,
            "at_hand": self.at_hand,
            "measured": [dict(row) for row in rows],
        }

    def screen(self, architectures: Sequence[Architecture], setting: Setting) -> list[Measurement]:
        """What the model predicts."""
        if not architectures:
            return []
        built = [setting.space.simplify(architecture) for architecture in architectures]
        milliseconds, deviations = self._model(setting).predict(built)
        # Models without an uncertainty of their own have that of the check which was made when they were chosen.
        checked = entry(self.device, setting).get("deviation", math.nan)
        deviations = np.where(np.isnan(deviations), checked, deviations)
        return [_prediction(float(ms), float(std)) for ms, std in zip(milliseconds, deviations, strict=True)]

    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        predicted = self.screen([architecture], setting)[0]
        conditions = self._conditions
        if not self.at_hand or conditions is None:
            return predicted
        measured = Latency(**conditions).measure(architecture, setting)
        expected = {
            "predicted_ms": predicted.value,
            **{f"predicted_{k}": predicted.details[k] for k in ("low", "high")},
        }
        return Measurement(measured.value, measured.spread, {**measured.details, **expected})

    def _model(self, setting: Setting) -> LatencyModel:
        return model(self.device, entry(self.device, setting), setting)


def _prediction(milliseconds: float, deviation: float) -> Measurement:
    reach = math.exp(SIDE * deviation)
    details = {"predicted": True, "low": milliseconds / reach, "high": milliseconds * reach, "deviation": deviation}
    return Measurement(milliseconds, reach - 1, details)


# -- what a device knows ----------------------------------------------------------------------------------------------


def describe(setting: Setting) -> dict[str, Any]:
    """What tells whether two settings have the same networks: space, input, and the work of one reference network."""
    sample = [setting.space.sample(stream(number, "reference network")) for number in range(_LOOKS)]
    macs = {each.text: _macs(setting, each) for each in (*setting.space.extremes(), *sample)}
    largest = max(macs, key=macs.__getitem__)
    return {
        "space": setting.space.name.partition(":")[0],
        "input_shape": list(setting.task.input_shape),
        "reference": {"architecture": largest, "macs": macs[largest]},
    }


def entry(device: devices.Device, setting: Setting) -> Mapping[str, Any]:
    """The latency data of a device for the networks of a setting.

    Raises:
        UsageError: it has none, or has them for other networks of that space or another input.
    """
    space = setting.space.name.partition(":")[0]
    shape = list(setting.task.input_shape)
    advice = (
        f"; measure some there: 'archscout device add NAME --space {setting.space.name} --data DATA --bundle FOLDER'"
    )
    of_space = [row for row in device.latency if row["space"] == space]
    if not of_space:
        known = " and ".join(sorted({str(row["space"]) for row in device.latency}))
        raise UsageError(
            f"device '{device.name}' knows "
            + (f"the latency of {known}, not of space '{setting.space.name}'" if known else "no latency")
            + advice
            + "."
        )
    of_shape = [row for row in of_space if list(row["input_shape"]) == shape]
    if not of_shape:
        known = " and ".join(_by(row["input_shape"]) for row in of_space)
        raise UsageError(
            f"device '{device.name}' knows the latency of {space} for inputs of {known}, not of {_by(shape)} as task "
            f"'{setting.task.name}' has them{advice}."
        )
    for row in of_shape:
        reference = row["reference"]
        try:
            macs = _macs(setting, setting.space.parse(reference["architecture"]))
        except ArchscoutError:
            continue
        if abs(macs / reference["macs"] - 1) <= SAME:
            return row
    raise UsageError(
        f"device '{device.name}' knows the latency of other networks of space {space} than those of "
        f"'{setting.space.name}': its reference has {of_shape[0]['reference']['macs']:,} multiply-adds, and here it "
        f"has another number{advice}."
    )


_models = Cache[LatencyModel](size=16)


def model(device: devices.Device, described: Mapping[str, Any], setting: Setting) -> LatencyModel:
    """The model of a device for the networks of a setting, fitted once a process."""

    def fitted() -> LatencyModel:
        if described.get("published"):
            return BayesianLatency().device(setting.space, device.name)
        rows = described["measurements"]
        architectures = [setting.space.parse(row["architecture"]) for row in rows]
        ms = [row["ms"] for row in rows]
        made = named(described.get("model", DEFAULT), setting, architectures, ms, others(device.name, setting))
        return made.fit(setting.space, architectures, ms)

    about = json.dumps([device.name, device.own, described], sort_keys=True)
    return _models.get((about, setting.space.digest, setting.task.digest), fitted)


def others(device: str, setting: Setting) -> Known:
    """What all other devices that know the networks of a setting say of architectures, by their default models."""

    def told(architectures: Sequence[Architecture]) -> list[Measured]:
        fitted = []
        for name in devices.names():
            other = devices.find(name)
            if name == device or not other.latency:
                continue
            try:
                known = {**entry(other, setting), "model": DEFAULT}
            except UsageError:
                continue  # of other networks
            fitted.append(Measured(name, architectures, model(other, known, setting).predict(architectures)[0]))
        return fitted

    return told


def _macs(setting: Setting, architecture: Architecture) -> int:
    return trace_architecture(setting.space, architecture, setting.task).macs


def _by(shape: Sequence[int]) -> str:
    return " x ".join(str(size) for size in shape)
