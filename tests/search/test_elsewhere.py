"""Finalists for devices that are elsewhere: who is carried there, and what the times that return are worth."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from archscout.core.architecture import Architecture
from archscout.core.cost import Constraint, Measurement
from archscout.core.errors import DataError, UsageError
from archscout.core.trial import Trial
from archscout.costs.device_latency import DeviceLatency
from archscout.search import elsewhere


class Phone(DeviceLatency):
    """A device whose networks keep the limit by their name: the probability is the number behind it."""

    at_hand = False  # type: ignore[assignment]
    carried = {"runtime": "onnxruntime"}  # type: ignore[assignment]  # noqa: RUF012

    def __init__(self, name: str = "phone") -> None:
        self.device = SimpleNamespace(name=name)  # type: ignore[assignment]
        self.name, self.key = f"latency@{name}", f"latency@{name}_ms"

    def within(self, architectures, limit, setting):  # type: ignore[no-untyped-def]
        return np.asarray([float(architecture.text.split()[1]) for architecture in architectures])


class AtHand(Phone):
    at_hand = True  # type: ignore[assignment]


class Published(Phone):
    carried = None  # type: ignore[assignment]


def trial(name: str, value: float) -> Trial:
    return Trial(0, Architecture(name, ()), f"form of {name}", "trained", 3, "completed", value)


def run(costs: Any, limits: Any = None) -> SimpleNamespace:
    notes: dict[str, Any] = {}
    limits = [Constraint(cost.name, cost.key, 2.0) for cost in costs] if limits is None else limits
    predicted = Measurement(1.5, 0.0, {"low": 1.0, "high": 2.5})
    space = SimpleNamespace(canonical=lambda architecture: f"form of {architecture}")
    book = SimpleNamespace(costs=costs, setting=None, best=lambda canonical: {cost.key: predicted for cost in costs})
    return SimpleNamespace(
        name="r", book=book, constraints=limits, notes=notes, note=notes.__setitem__,
        store=SimpleNamespace(notes=lambda name: dict(notes)), space=space,
    )  # fmt: skip


@pytest.fixture
def bundles(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What was written for each device, in place of the files."""
    written: dict[str, list[str]] = {}

    def write(name, place, setting, chosen, conditions, then):  # type: ignore[no-untyped-def]
        assert f"--times {name}=times.csv" in then
        place.mkdir()
        written[name] = [architecture.text for architecture in chosen]

    monkeypatch.setattr(elsewhere.bundle, "write", write)
    return written


def test_only_limited_devices_of_ones_own_that_are_elsewhere_are_waited_for() -> None:
    phone, watch = Phone(), Phone("watch")
    limits = [Constraint(cost.name, cost.key, 2.0) for cost in (phone, AtHand("here"), Published("pixel"))]
    costs = [phone, watch, AtHand("here"), Published("pixel"), SimpleNamespace(key="params")]
    assert elsewhere.devices(run(costs, limits)) == [phone]  # type: ignore[arg-type]


def test_those_are_carried_that_are_good_and_probably_keep_the_limit(tmp_path: Path, bundles: Any) -> None:
    trained = [trial("best 0.0", 0.9), *(trial(f"n{n} 0.9", 0.8 - n / 100) for n in range(12)), trial("worst 1.0", 0.1)]
    finalists, told = elsewhere.write(run([Phone()]), trained, trained[1], tmp_path)
    names = [each.architecture.text for each in finalists]
    assert len(names) == elsewhere.FINALISTS == 10
    assert bundles == {"phone": names}
    assert names[0] == "n0 0.9"
    assert told == [
        {"device": "phone", "key": "latency@phone_ms", "bundle": str(tmp_path / "finalists-phone"), "networks": 10}
    ]


def test_the_winner_is_carried_whatever_is_thought_of_it(tmp_path: Path, bundles: Any) -> None:
    trained = [*(trial(f"n{n} 0.9", 0.8 - n / 100) for n in range(12)), trial("winner 0.0", 0.2)]
    finalists, _ = elsewhere.write(run([Phone()]), trained, trained[-1], tmp_path)
    names = [each.architecture.text for each in finalists]
    assert (names[0], names[-1], len(names)) == ("n0 0.9", "winner 0.0", 10)
    assert elsewhere.write(run([]), trained, trained[0], tmp_path) == ([], [])


def test_of_a_network_that_was_measured_repeatedly_the_middle_time_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "finalists-phone").mkdir()
    a, b = Architecture("a 1", ()), Architecture("b 1", ())
    monkeypatch.setattr(elsewhere.bundle, "read", lambda place: SimpleNamespace(architectures=[a, b]))
    monkeypatch.setattr(elsewhere.bundle, "read_times", lambda *_: ([a, a, b, a], [1.0, 9.0, 3.0, 2.0]))
    waiting = run([Phone()])
    times = elsewhere.read(waiting, {"phone": "times.csv"}, tmp_path)
    assert {canonical: found["latency@phone_ms"].value for canonical, found in times.items()} == {
        "form of a 1": 2.0, "form of b 1": 3.0,
    }  # fmt: skip
    details = times["form of a 1"]["latency@phone_ms"].details
    assert details == {"predicted_ms": 1.5, "predicted_low": 1.0, "predicted_high": 2.5, "elsewhere": True}
    # What was measured counts as it is, not with the upper end of the prediction.
    assert times["form of a 1"]["latency@phone_ms"].at_most == 2.0
    assert elsewhere.read(waiting, {}, tmp_path) == times, "what came back before is remembered"


def test_times_that_nobody_waits_for_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"waits for no times of a device 'phnoe'.*phone"):
        elsewhere.read(run([Phone()]), {"phnoe": "times.csv"}, tmp_path)
    with pytest.raises(UsageError, match="has no limit on a device of your own that is elsewhere"):
        elsewhere.read(run([]), {"phone": "times.csv"}, tmp_path)
    (tmp_path / "finalists-phone").mkdir()
    monkeypatch.setattr(elsewhere.bundle, "read", lambda place: SimpleNamespace(architectures=[]))
    monkeypatch.setattr(elsewhere.bundle, "read_times", lambda *_: ([], []))
    with pytest.raises(DataError, match=r"'times\.csv' has no times of the finalists"):
        elsewhere.read(run([Phone()]), {"phone": "times.csv"}, tmp_path)
