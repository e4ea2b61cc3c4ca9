"""Measured time against sleeps and clocks that are known, and the promises of the measurement."""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archscout.core.cost import Cost, Measurement
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.registry import create
from archscout.costs import latency
from archscout.costs.latency import FULL, QUICK, Latency, Protocol, measure_module, until_trusted
from archscout.deploy.precision import Form
from archscout.testing import CostConformance
from archscout.training import export


@pytest.fixture(autouse=True)
def all_rounds(impatient: int, request: pytest.FixtureRequest) -> Iterator[None]:
    """As many rounds as outside of tests; fewer do for the contract of costs."""
    object.__setattr__(FULL, "rounds", latency.AGREEING if request.cls else impatient)
    yield
    object.__setattr__(FULL, "rounds", latency.AGREEING)


class TestTorch(CostConformance):
    count = 2

    def cost(self) -> Cost:
        return Latency()


class TestOnnxRuntime(CostConformance):
    count = 2

    def cost(self) -> Cost:
        return create("cost", "latency:runtime=onnxruntime")


class Sleep(nn.Module):
    """Takes a known time; notes how it was run."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seconds = seconds
        self.seen: list[Any] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((tuple(x.shape), self.training, torch.is_inference_mode_enabled(), torch.get_num_threads()))
        time.sleep(self.seconds)
        return x


@pytest.fixture
def full_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that nothing slows down."""
    monkeypatch.setattr(latency, "get_to_know", lambda: None)
    monkeypatch.setattr(latency, "pace", lambda: 1.0)


class Clock:
    """A clock on which each run takes what the script says, and nothing else takes time."""

    def __init__(self, runs: Iterator[float], monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.runs, self.count = 0.0, runs, 0
        monkeypatch.setattr(latency.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(latency, "waited", lambda: 0.0)

    def run(self) -> None:
        self.count += 1
        self.now += next(self.runs)


@pytest.mark.usefixtures("full_speed")
def test_a_known_time() -> None:
    module = Sleep(0.004)
    module.train()
    threads = torch.get_num_threads()
    measurement = measure_module(module, (3, 5), batch=2)
    assert 4.0 <= measurement.value < 6.0
    assert measurement.details["p95_ms"] >= measurement.value
    assert measurement.details["runs"] >= 30
    assert set(module.seen) == {((2, 3, 5), False, True, 1)}
    assert module.training
    assert torch.get_num_threads() == threads


def test_threads_are_those_asked_for() -> None:
    module = Sleep(0.0005)
    measure_module(module, (1,), threads=2, protocol=QUICK)
    assert {seen[-1] for seen in module.seen} == {2}
    assert torch.get_num_threads() == 1


@pytest.mark.usefixtures("full_speed")
def test_screening_is_short() -> None:
    module = Sleep(0.002)
    started = time.perf_counter()
    assert 2.0 <= measure_module(module, (1,), protocol=QUICK).value < 4.0
    assert time.perf_counter() - started < 0.3


@pytest.mark.usefixtures("full_speed")
def test_steady_runs_end_after_three_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    def steady() -> Iterator[float]:
        while True:
            yield 0.001

    clock = Clock(steady(), monkeypatch)
    times, rounds, spread, _ = latency._time(clock.run, dataclasses.replace(FULL, patience=0.0))
    assert (rounds, spread) == (3, pytest.approx(0.0, abs=1e-9))
    assert len(times) == 3 * 20
    assert times == pytest.approx([0.001] * 60)


@pytest.mark.usefixtures("full_speed")
def test_rounds_that_something_else_slowed_down_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = Protocol(warm_up=0.0, round=0.01, runs=10, rounds=15, patience=0.0)

    def disturbed() -> Iterator[float]:
        yield from [0.001] * 3
        for factor in (1.0, 1.5, 1.31, 1.01, 1.7, 1.02):
            yield from [0.001 * factor] * 10

    times, rounds, spread, _ = latency._time(Clock(disturbed(), monkeypatch).run, protocol)
    assert rounds == 6
    assert spread == pytest.approx(0.02)
    assert sorted(times)[15] == pytest.approx(0.00101)
    assert max(times) == pytest.approx(0.00102)


@pytest.mark.usefixtures("full_speed")
def test_what_never_settles_ends_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = Protocol(warm_up=0.0, round=0.01, runs=10, rounds=7, patience=0.0)

    def restless() -> Iterator[float]:
        yield from [0.001] * 3
        seconds = 0.001
        while True:
            yield from [seconds] * 10
            seconds *= 1.2

    times, rounds, spread, _ = latency._time(Clock(restless(), monkeypatch).run, protocol)
    assert rounds == 7
    assert spread == pytest.approx(0.44)
    assert len(times) == 30


def slowed(clock: Clock, monkeypatch: pytest.MonkeyPatch, moments: Callable[[float], bool]) -> None:
    """Let the machine be slowed down at certain moments of a made-up clock."""
    monkeypatch.setattr(latency, "get_to_know", lambda: None)
    monkeypatch.setattr(latency, "pace", lambda: 1.8 if moments(clock.now) else 1.0)
    monkeypatch.setattr(latency.time, "sleep", lambda seconds: setattr(clock, "now", clock.now + seconds))


def test_a_measurement_waits_for_full_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow until 1 s, and again from 1.005 to 2 s: what is measured in between began fast and ended slow."""

    def is_slow(now: float) -> bool:
        return now < 1.0 or 1.005 < now < 2.0

    def runs() -> Iterator[float]:
        while True:
            yield 0.0018 if is_slow(clock.now) else 0.001

    clock = Clock(iter(()), monkeypatch)
    clock.runs = runs()
    slowed(clock, monkeypatch, is_slow)
    times, rounds, spread, _ = latency._time(clock.run, Protocol(0.0, 0.01, 10, 15, patience=3.0))
    assert times == pytest.approx([0.001] * 30)
    assert (rounds, spread) == (3, pytest.approx(0.0, abs=1e-9))
    assert clock.now > 2.0


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(itertools.repeat(0.002), monkeypatch)
    slowed(clock, monkeypatch, lambda now: True)
    times, rounds, _, slow_down = latency._time(clock.run, Protocol(0.0, 0.02, 10, 15, patience=0.5))
    assert (len(times), rounds) == (30, 3)
    assert slow_down == pytest.approx(1.8)
    assert times == pytest.approx([0.002 / 1.8] * 30), "what the runs would take at full speed"
    assert 0.5 < clock.now < 0.7


def test_percentile() -> None:
    assert latency._percentile(list(range(1, 101)), 0.95) == 95
    assert latency._percentile([3.0], 0.95) == 3.0


@pytest.mark.parametrize(
    ("parameters", "key"),
    [
        ({}, "latency_ms"),
        ({"runtime": "onnxruntime"}, "latency_onnx_ms"),
        ({"batch": 8, "threads": 2}, "latency_batch8_threads2_ms"),
        ({"runtime": "onnxruntime", "threads": 4}, "latency_onnx_threads4_ms"),
        ({"runtime": "onnxruntime", "precision": "int8", "batch": 4}, "latency_onnx_int8_batch4_ms"),
        ({"precision": "bfloat16", "layout": "channels_last"}, "latency_bfloat16_channels_last_ms"),
        ({"precision": "auto", "layout": "auto"}, "latency_fastest_precision_fastest_layout_ms"),
    ],
)
def test_different_conditions_have_different_keys(parameters: dict[str, Any], key: str) -> None:
    assert Latency(**parameters).key == key


def test_limits_have_units() -> None:
    assert Latency.quantity("2ms", "latency") == Latency.quantity("2", "latency") == 2.0
    assert Latency.quantity("0.5s", "latency") == 500.0
    assert math.isclose(Latency.quantity("20us", "latency"), 0.02)


@pytest.mark.parametrize(
    "text",
    [
        "latency:runtime=tflite",
        "latency:batch=0",
        "latency:threads=1.5",
        "latency:speed=2",
        "latency:precision=int4",
        "latency:precision=int8",
        "latency:layout=sideways",
        "latency:runtime=onnxruntime,precision=bfloat16",
        "latency:runtime=onnxruntime,layout=channels_last",
    ],
)
def test_wrong_parameters(text: str) -> None:
    with pytest.raises(UsageError):
        create("cost", text)


def test_conditions_are_told() -> None:
    details = measure_module(nn.Linear(4, 2), (4,), runtime="onnxruntime", protocol=QUICK).details
    assert details["conditions"]["runtime"].startswith("onnxruntime ")
    assert details["conditions"]["batch"] == 1
    assert details["conditions"]["cpu"]


def test_a_module_that_cannot_be_written_as_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_exporters", lambda quick: (export._by_script,))  # the other one takes seconds

    class Cannot(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.eigvalsh(x)

    with pytest.raises(ArchscoutError, match="cannot be written as ONNX"):
        measure_module(Cannot(), (3, 3), runtime="onnxruntime", protocol=QUICK)


def test_int8_is_another_network() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    measurement = measure_module(module, (3, 8, 8), runtime="onnxruntime", precision="int8", protocol=QUICK)
    assert measurement.value > 0
    assert measurement.details["conditions"]["precision"] == "int8"


class Particular(nn.Module):
    """Slow unless its input is in the form that it likes."""

    def __init__(self, dtype: torch.dtype, layout: torch.memory_format) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.dtype, self.layout = dtype, layout

    def forward(self, x: Tensor) -> Tensor:
        liked = x.dtype == self.dtype and x.is_contiguous(memory_format=self.layout)
        time.sleep(0.0005 if liked else 0.003)
        return x * self.weight


def test_integers_have_a_short_name() -> None:
    cost = create("cost", "latency@int8:batch=2")
    assert isinstance(cost, Latency)
    assert (cost.name, cost.runtime, cost.precision, cost.batch) == ("latency@int8:batch=2", "onnxruntime", "int8", 2)
    assert cost.key == create("cost", "latency:runtime=onnxruntime,precision=int8,batch=2").key
    with pytest.raises(UsageError, match="int16"):
        create("cost", "latency@int16")


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_fastest_form_is_chosen_by_timing(full_speed: None, precision: str, layout: str) -> None:
    wanted = Form(precision, layout)  # type: ignore[arg-type]
    module = Particular(wanted.dtype, wanted.memory_format)
    measurement = measure_module(module, (3, 8, 8), precision="auto", layout="auto", protocol=QUICK)
    conditions = measurement.details["conditions"]
    assert (conditions["precision"], conditions["layout"]) == (precision, layout)
    assert measurement.value < 2.5
    given = measure_module(module, (3, 8, 8), protocol=QUICK).details["conditions"]
    assert (given["precision"], given["layout"]) == ("float32", "contiguous"), "what is asked for is not chosen"


def test_a_form_that_does_not_run_is_not_chosen() -> None:
    class Views(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(len(x), -1)

    module = nn.Sequential(nn.Conv2d(3, 4, 3), Views())
    assert (
        measure_module(module, (3, 8, 8), layout="auto", protocol=QUICK).details["conditions"]["layout"] == "contiguous"
    )
    with pytest.raises(ArchscoutError, match="does not run"):
        measure_module(module, (3, 8, 8), layout="channels_last", protocol=QUICK)


def test_a_slow_or_restless_machine_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*, slow: float, restless: bool) -> bool:
        clock = Clock((0.001 * (1.2**n if restless else 1) for n in itertools.count()), monkeypatch)
        monkeypatch.setattr(latency, "get_to_know", lambda: None)
        monkeypatch.setattr(latency, "pace", lambda: slow)

        @contextmanager
        def runtime(*_: Any) -> Iterator[Callable[[], None]]:
            yield clock.run

        monkeypatch.setitem(latency._RUNTIMES, "torch", runtime)
        protocol = Protocol(0.0, 0.003, 3, 4, patience=0.0)
        return measure_module(nn.Identity(), (1,), protocol=protocol).trusted

    assert measured(slow=1.0, restless=False)
    assert not measured(slow=1.6, restless=False)
    assert not measured(slow=1.0, restless=True)


def test_what_is_not_trusted_is_measured_again() -> None:
    def outcomes(*spreads: float) -> Iterator[Measurement]:
        yield from (Measurement(1.0 + s, s, {"trusted": s < 0.03, "slowed": 1.0}) for s in spreads)

    first = outcomes(0.2, 0.01, 0.0)
    found = until_trusted(lambda: next(first))
    assert (found.spread, found.trusted, found.details["attempts"]) == (0.01, True, 2)
    busy = outcomes(0.3, 0.1, 0.2)
    found = until_trusted(lambda: next(busy))
    assert (found.spread, found.trusted, found.details["attempts"]) == (0.1, False, 3)


def test_time_in_which_others_had_the_processor_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second run takes 3 ms instead of 1 ms, for another program runs in the middle of it."""
    clock = Clock(iter(()), monkeypatch)
    waiting = 0.0

    def run() -> None:
        nonlocal waiting
        clock.count += 1
        clock.now += 0.001 if clock.count % 2 else 0.003
        waiting += 0.0 if clock.count % 2 else 0.002

    monkeypatch.setattr(latency, "waited", lambda: waiting)
    assert [latency._once(run) for _ in range(4)] == pytest.approx([0.001] * 4)
