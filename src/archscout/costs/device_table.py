"""What a delivered network takes of a device, and what finding it took: the figures that surveys ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from archscout.core.architecture import Architecture
from archscout.core.cost import Measurement
from archscout.core.errors import ArchscoutError
from archscout.core.estimator import Setting
from archscout.core.graph import Graph
from archscout.core.panel import Table
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.core.written import significant
from archscout.costs import devices
from archscout.costs.energy import microjoules
from archscout.costs.latency import QUICK, measure_module
from archscout.costs.memory_traffic import traffic_bytes
from archscout.costs.params import Params
from archscout.costs.peak_memory import PeakMemory
from archscout.costs.weight_bytes import WeightBytes

BITS = (32, 8, 4)
"""Of weights, whose bytes are told."""

WATTS_PER_CORE = 10.0
"""What a busy core is taken to draw, with its share of the machine: an assumption, told beside what follows from it."""


def device_table(
    space: Space,
    task: Task,
    architecture: Architecture,
    folded: nn.Module,
    graph: Graph,
    measured: Mapping[str, Measurement],
    core_seconds: float,
) -> dict[str, Any]:
    """The figures by name; what cannot be told of a network is None.

    Args:
        space, task, architecture: of the network.
        folded: the network in deployed form.
        graph: its operators; without nodes where they could not be read.
        measured: costs that are known; a latency among them is not measured again.
        core_seconds: the seconds of all jobs of the search, each of which had a core.
    """
    setting, hours = Setting(space, task), core_seconds / 3600

    def counted(cost: Any) -> int | None:
        value = _known(lambda: (measured.get(cost.key) or cost.measure(architecture, setting)).value)
        return None if value is None else int(value)

    profiles = {name: energy for name in devices.names() if (energy := devices.find(name).energy)}
    return {
        "params": counted(Params()),
        "weight_bytes": {str(bits): counted(WeightBytes(bits)) for bits in BITS},
        "macs": _known(lambda: graph.macs) if graph.nodes else None,
        "memory_traffic_bytes": traffic_bytes(graph) if graph.nodes else None,
        "peak_memory_bytes": counted(PeakMemory()),
        "latency": _known(lambda: _latency(measured.get("latency_ms"), folded, task)),
        "energy_uj": {name: _energy(graph, energy) for name, energy in profiles.items()},
        "search": {"core_hours": hours, "watts_per_core": WATTS_PER_CORE, "kwh": hours * WATTS_PER_CORE / 1000},
    }  # fmt: skip


def _known(figure: Callable[[], Any]) -> Any:
    try:
        return figure()
    except ArchscoutError:  # an operator without a formula, a network that does not run alone
        return None


def _energy(graph: Graph, energy: devices.Energy) -> Any:
    """Microjoules for one answer."""
    return _known(lambda: sum(microjoules(graph, energy))) if graph.nodes else None


def _latency(known: Measurement | None, folded: nn.Module, task: Task) -> dict[str, Any]:
    """Milliseconds for one answer, and how they were measured; by a few runs where nobody asked for them."""
    measurement = known or measure_module(folded, task.deployed_shape, protocol=QUICK)
    details = measurement.details
    conditions = details.get("conditions", {})
    return {
        "mean_ms": details.get("mean_ms"),
        "p50_ms": measurement.value,
        "p95_ms": details.get("p95_ms"),
        "runs": details.get("runs"),
        "quick": known is None,
        **{name: conditions.get(name) for name in ("runtime", "cpu", "batch", "threads", "precision")},
    }


def panel(figures: Mapping[str, Any]) -> Table:
    """The figures as a table of the report."""
    rows: list[tuple[str, str, str]] = []

    def add(what: str, value: float | None, unit: str = "", how: str = "") -> None:
        rows.append((what, "not known" if value is None else f"{significant(value, 4)} {unit}".strip(), how))

    add("parameters", figures["params"])
    for bits, count in figures["weight_bytes"].items():
        add(f"weights of {bits} bits", count, "bytes")
    add("multiply-adds", figures["macs"])
    add("memory traffic", figures["memory_traffic_bytes"], "bytes", "each operator reads and writes memory once")
    add("peak of activations", figures["peak_memory_bytes"], "bytes", "float32, best order of operators")
    latency = figures["latency"] or {}
    how = ""
    if latency:
        how = f"{latency['runtime']}, batch {latency['batch']}, {latency['threads']} thread, {latency['runs']} runs"
        how += ", measured quickly" if latency["quick"] else ""
    for name, key in (("mean", "mean_ms"), ("median", "p50_ms"), ("95th percentile", "p95_ms")):
        add(f"latency, {name}", latency.get(key), "ms", how)
    for name, energy in figures["energy_uj"].items():
        add(f"energy on {name}", energy, "µJ", "an estimate from multiply-adds and traffic")
    search = figures["search"]
    add("the search", search["core_hours"], "core-hours")
    add("energy of the search", search["kwh"], "kWh", f"at {search['watts_per_core']:g} W a core, an assumption")
    return Table("What it takes of a device", ("", "value", "how"), rows)
