"""The time that one answer takes, measured on this machine."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import nn

from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import register
from archscout.costs.machine import FULL_SPEED, get_to_know, pace, processor, waited
from archscout.deploy.form import form
from archscout.deploy.precision import DTYPES, MEMORY_FORMATS, Form
from archscout.networks.pick import build

STABLE = 0.03
"""How far apart, as a share of the smallest, the medians of the rounds that count may be."""

AGREEING = 3
"""How many rounds must agree."""

AUTO = "auto"

CLEARLY = 0.95
"""Another form is taken where it needs less than this share of the time of the best one before it."""

ATTEMPTS = 3
"""How often a measurement that cannot be trusted is made before its value is given all the same, marked as such."""


@dataclass(frozen=True)
class Protocol:
    """How long to measure; times in seconds."""

    warm_up: float
    round: float
    """Length of a round."""

    runs: int
    """Least number of runs in a round."""

    rounds: int
    """Most rounds."""

    patience: float
    """How long to wait for the machine to run at full speed."""


FULL = Protocol(warm_up=0.02, round=0.02, runs=10, rounds=25, patience=1.0)
QUICK = Protocol(warm_up=0.002, round=0.004, runs=2, rounds=5, patience=0.0)

_NAP = 0.05

Call = Callable[[], object]


@register("cost", "latency")
class Latency(Cost):
    """Milliseconds for one answer: median of measured runs, on one thread unless told otherwise.

    What is measured is the network as it is deployed (`archscout.deploy.form`): normalisation of stored inputs
    included, batch normalisation folded, evaluation mode, in PyTorch's inference mode or in ONNX Runtime. After a
    warm-up, rounds of runs follow until the medians of the three fastest rounds lie within 3 % (other programs can only
    slow a round down), at most 25 rounds. The value is the median of the runs in those rounds, 30 or more; `spread` is
    how far apart their medians lie. Time in which another program had the processor does not count (on Linux, which
    tells). While the machine is slowed down by something else, a measurement waits, at most a second (screening does
    not); if it stays slow, the times are divided by how much longer a fixed bit of work takes than at its best
    (`details["slowed"]`; 1: at full speed), so that a limit means the same on a busy machine. Such a measurement, and
    one whose rounds do not agree, is not to be trusted (`details["trusted"]`).

    Args:
        runtime: `torch` or `onnxruntime`.
        batch: examples a run. The time is that of the whole batch.
        threads: threads of the runtime.
        precision: `float32`; `bfloat16` (PyTorch alone: weights and operators); `int8` (ONNX Runtime alone: weights and
            activations quantised after training, with ranges from random inputs, which do for timing); or `auto`, the
            faster one of those that need no quantisation.
        layout: of kernels and feature maps in PyTorch: `contiguous`, `channels_last`, or `auto`, the faster one.

    Where something is `auto`, a few runs in each form decide, and `details["conditions"]` has what was chosen.
    """

    units: ClassVar[Mapping[str, float]] = {"": 1.0, "ms": 1.0, "s": 1e3, "us": 1e-3, "µs": 1e-3}
    exact: ClassVar[bool] = False
    margin: ClassVar[float] = 0.95  # a second measurement differs

    def __init__(
        self,
        runtime: str = "torch",
        batch: int = 1,
        threads: int = 1,
        precision: str = "float32",
        layout: str = "contiguous",
    ) -> None:
        for what, name, known in (
            ("runtime", runtime, tuple(_RUNTIMES)),
            ("precision", precision, (*DTYPES, AUTO)),
            ("layout", layout, (*MEMORY_FORMATS, AUTO)),
        ):
            if name not in known:
                raise UsageError(f"cost 'latency' has no {what} '{name}': use one of {', '.join(known)}.")
        forms(runtime, precision, layout)
        for what, number in (("batch", batch), ("threads", threads)):
            if not isinstance(number, int) or number < 1:
                raise UsageError(f"the {what} of cost 'latency' must be a whole number above zero, not {number}.")
        self.name = "latency"
        self.runtime, self.batch, self.threads = runtime, batch, threads
        self.precision, self.layout = precision, layout
        parts = ["onnx"] * (runtime == "onnxruntime")
        parts += [{AUTO: "fastest_precision"}.get(precision, precision)] * (precision != "float32")
        parts += [{AUTO: "fastest_layout"}.get(layout, layout)] * (layout != "contiguous")
        parts += [f"{what}{number}" for what, number in (("batch", batch), ("threads", threads)) if number != 1]
        self.key = "_".join(["latency", *parts, "ms"])

    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        return self._measure(architecture, setting, FULL)

    def screen(self, architectures: Sequence[Architecture], setting: Setting) -> list[Measurement]:
        """A few runs each: enough to tell what is far above a limit."""
        return [self._measure(architecture, setting, QUICK) for architecture in architectures]

    def _measure(self, architecture: Architecture, setting: Setting, protocol: Protocol) -> Measurement:
        network = build(setting.space, architecture, setting.task, seed=setting.seed)
        shape = setting.task.deployed_shape
        return self.measure_network(form(setting.task.deploy(network), shape), shape, setting.device, protocol)

    def measure_network(
        self, network: nn.Module, input_shape: Sequence[int], device: str = "cpu", protocol: Protocol = FULL
    ) -> Measurement:
        """The latency of a network that is built already (`measure_module`)."""
        return measure_module(
            network,
            input_shape,
            runtime=self.runtime,
            batch=self.batch,
            threads=self.threads,
            precision=self.precision,
            layout=self.layout,
            device=device,
            protocol=protocol,
        )


@register("cost", "latency@int8")
def int8_latency(batch: int = 1, threads: int = 1) -> Latency:
    """Milliseconds for one answer of the network in integers: `latency:runtime=onnxruntime,precision=int8`."""
    return Latency("onnxruntime", batch, threads, precision="int8")


def until_trusted(measure: Callable[[], Measurement], attempts: int = ATTEMPTS) -> Measurement:
    """The first measurement that can be trusted, or else the one with the least spread; `details` has `attempts`."""
    measurements: list[Measurement] = []
    while len(measurements) < attempts and not (measurements and measurements[-1].trusted):
        measurements.append(measure())
    best = (
        measurements[-1] if measurements[-1].trusted else min(measurements, key=lambda measurement: measurement.spread)
    )
    return replace(best, details={**best.details, "attempts": len(measurements)})


def measure_module(
    module: nn.Module,
    input_shape: Sequence[int],
    *,
    runtime: str = "torch",
    batch: int = 1,
    threads: int = 1,
    precision: str = "float32",
    layout: str = "contiguous",
    device: str = "cpu",
    protocol: Protocol = FULL,
) -> Measurement:
    """The latency in milliseconds of any module that takes one tensor of shape (batch, *input_shape).

    The module's mode and device are left as they were. `details` has `mean_ms`, `p95_ms` and `runs` (of the rounds
    that count), `rounds` (all), `stable` (whether those that count agree), `slowed`, `trusted` (stable, and at full
    speed) and `conditions`, in which precision and layout are those that the network was measured in. ONNX Runtime
    measures on the CPU, whatever the device.

    Raises:
        ArchscoutError: the module cannot be written as ONNX (only with that runtime), or does not run in the form.
    """
    chosen, *others = forms(runtime, precision, layout)
    shape = (batch, *input_shape)
    if others:
        chosen = _fastest(module, shape, runtime, threads, device, [chosen, *others])
    with _RUNTIMES[runtime](module, shape, threads, device, chosen) as call:
        times, rounds, spread, slowed = _time(call, protocol)
    conditions = {
        "runtime": f"{runtime} {_version(runtime)}",
        "device": device if runtime == "torch" else "cpu",
        "cpu": processor(),
        "batch": batch,
        "threads": threads,
        **chosen.as_json(),
    }
    details: dict[str, Any] = {
        "mean_ms": statistics.fmean(times) * 1e3,
        "p95_ms": _percentile(times, 0.95) * 1e3,
        "runs": len(times),
        "rounds": rounds,
        "stable": spread <= STABLE,
        "slowed": slowed,
        "trusted": spread <= STABLE and slowed <= FULL_SPEED,
        "conditions": conditions,
    }
    return Measurement(statistics.median(times) * 1e3, spread, details)


def forms(runtime: str, precision: str, layout: str) -> list[Form]:
    """The forms that a precision and a layout, of which each may be `auto`, stand for; the plainest first.

    Raises `UsageError` where the runtime has none of them.
    """
    if runtime == "torch":
        if precision == "int8":
            raise UsageError("int8 runs in ONNX Runtime: write latency:runtime=onnxruntime,precision=int8.")
        precisions, layouts = ["float32", "bfloat16"], list(MEMORY_FORMATS)
    else:
        if precision == "bfloat16" or layout == "channels_last":
            raise UsageError(f"{precision} with layout {layout} runs in PyTorch: write latency without a runtime.")
        precisions, layouts = ["int8" if precision == "int8" else "float32"], ["contiguous"]
    return [
        Form(number, order)  # type: ignore[arg-type]
        for number in precisions
        for order in layouts
        if precision in (number, AUTO) and layout in (order, AUTO)
    ]


def _fastest(
    module: nn.Module, shape: tuple[int, ...], runtime: str, threads: int, device: str, candidates: Sequence[Form]
) -> Form:
    """The form in which a network answers fastest, by a few runs each; a later one must be faster by a margin."""
    seconds: dict[Form, float] = {}
    fastest = candidates[0]
    for candidate in candidates:
        try:
            with _RUNTIMES[runtime](module, shape, threads, device, candidate) as call:
                seconds[candidate] = statistics.median(_time(call, QUICK)[0])
        except ArchscoutError:
            if candidate == fastest:
                raise  # the plainest
            continue  # an operator that has no such form
        if seconds[candidate] < CLEARLY * seconds[fastest]:
            fastest = candidate
    return fastest


def _time(call: Call, protocol: Protocol) -> tuple[list[float], int, float, float]:
    """The seconds of the runs that count, how many rounds it took, the spread of those that count, the slow-down."""
    get_to_know()
    patience = protocol.patience
    collecting = gc.isenabled()
    gc.disable()
    try:
        seconds = _warm_up(call, protocol)
        runs = max(protocol.runs, min(1000, math.ceil(protocol.round / seconds)))
        rounds: list[tuple[float, list[float], float]] = []
        spread = math.inf
        while len(rounds) < protocol.rounds and (len(rounds) < AGREEING or spread > STABLE):
            while (before := pace()) > FULL_SPEED and patience > 0:
                time.sleep(_NAP)
                patience -= _NAP
            times = [_once(call) for _ in range(runs)]
            after = pace()
            if after > FULL_SPEED and patience > 0:
                patience -= sum(times)
                continue  # slowed down in the middle
            slowed = (before + after) / 2 if max(before, after) > FULL_SPEED else 1.0
            times = [each / slowed for each in times]
            rounds.append((statistics.median(times), times, slowed))
            rounds.sort(key=lambda entry: entry[0])
            fastest = rounds[:AGREEING]
            spread = fastest[-1][0] / fastest[0][0] - 1
    finally:
        if collecting:
            gc.enable()
    slow_down = statistics.fmean(slowed for _, _, slowed in fastest)
    return [time for _, times, _ in fastest for time in times], len(rounds), spread, slow_down


def _warm_up(call: Call, protocol: Protocol) -> float:
    """Run until the time for it is over, three times or more; the seconds of the fastest run."""
    end = time.perf_counter() + protocol.warm_up
    times = [_once(call) for _ in range(3)]
    while time.perf_counter() < end:
        times.append(_once(call))
    return max(min(times), 1e-9)


def _once(call: Call) -> float:
    """The seconds of a run, without those in which other programs had the processor."""
    waiting = waited()
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    return max(seconds - (waited() - waiting), 1e-9)


def _percentile(times: Sequence[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, math.ceil(share * len(times)) - 1)]


@contextmanager
def _torch(module: nn.Module, shape: tuple[int, ...], threads: int, device: str, chosen: Form) -> Iterator[Call]:
    """PyTorch in inference mode."""
    module = module if chosen == Form() else chosen.applied(module)
    training = [part for part in module.modules() if part.training]
    home = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    before = torch.get_num_threads()
    x = _example(shape).to(device)
    waits = x.device.type != "cpu"

    def call() -> None:
        module(x)
        if waits:
            torch.accelerator.synchronize()

    try:
        torch.set_num_threads(threads)
        module.to(device).eval()
        with torch.inference_mode():
            yield call
    finally:
        torch.set_num_threads(before)
        module.to(home)
        for part in training:
            part.training = True


@contextmanager
def _onnxruntime(module: nn.Module, shape: tuple[int, ...], threads: int, device: str, chosen: Form) -> Iterator[Call]:
    """ONNX Runtime on the CPU."""
    from archscout.training.export import session, to_int8, to_onnx

    content = to_onnx(module, shape[1:], quick=True)
    if chosen.precision == "int8":
        content = to_int8(content, _example((8, *shape[1:])).numpy())
    runtime = session(content, threads=threads)
    inputs = {"input": _example(shape).numpy()}
    yield lambda: runtime.run(None, inputs)


_RUNTIMES = {"torch": _torch, "onnxruntime": _onnxruntime}


def _example(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def _version(runtime: str) -> str:
    if runtime == "torch":
        return torch.__version__
    import onnxruntime

    return str(onnxruntime.__version__)
