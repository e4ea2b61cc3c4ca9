"""Limits of a run from a trained network, and what a network that is there costs."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping

from torch import nn

from archscout.core import options
from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Limit, Limits, Measurement
from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.task import Task
from archscout.costs.latency import FULL, Latency, Protocol, until_trusted
from archscout.deploy.form import form


def limit_of(cost: Cost, text: str, limit: Limit, original: float) -> float:
    """A limit in the cost's unit: absolute, or a share of what the original costs."""
    if isinstance(limit, str) and (match := re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*%\s*", limit)):
        share = float(match[1]) / 100
        if not 0 < share <= 1:
            raise UsageError(f"the limit {text}={limit} must be above zero, and at most 100% of the original.")
        return share * original
    return cost.quantity(limit, text)


def read_limits(maximum: Limits | None) -> tuple[dict[str, Cost], dict[str, str]]:
    """The costs that are limited, and their limits as text, by name. Raises `UsageError`, before anything is spent."""
    costs: dict[str, Cost] = {}
    limits: dict[str, str] = {}
    for given, limit in options.mapping(maximum, "the limits", '{"latency": "10ms"}').items():
        name = options.name_of(given, "a cost", Cost)
        if name in costs:
            raise UsageError(f"the cost '{name}' is limited twice: give one limit.")
        costs[name] = given if isinstance(given, Cost) else create("cost", name)
        limits[name] = written(costs[name], name, limit)
    return costs, limits


def written(cost: Cost, name: str, limit: Limit) -> str:
    """A limit as text: a number in the cost's unit. Raises `UsageError` for what is no limit."""
    if not isinstance(limit, str):
        return f"{cost.quantity(limit, name):.15g}"
    limit_of(cost, name, limit, 1.0)
    return str(limit)


def uncertain_shares(
    maximum: Mapping[str, str],
    original: Mapping[str, Measurement],
    limits: Mapping[str, float],
    costs: Mapping[str, Cost],
) -> list[str]:
    """What to say of limits that are a share of what could not be measured well."""
    return [
        f"{text} of the original is uncertain, for the machine is busy: {maximum[text]} of it is taken for "
        f"{costs[text].key} <= {limits[text]:.4g}; a limit as a number is sure."
        for text, measurement in original.items()
        if "%" in maximum[text] and not measurement.trusted
    ]


def all_kept(measured: Mapping[str, Measurement], limits: Mapping[str, float]) -> bool:
    """Whether every limit is kept, as sure as measurements are."""
    return all(measured[text].at_most <= limit for text, limit in limits.items())


def measured_here(cost: Cost) -> bool:
    """Whether a cost is the latency of a network that is built and run on this machine."""
    return isinstance(cost, Latency) and type(cost).measure is Latency.measure


def latency(cost: Latency, network: nn.Module, task: Task, device: str, protocol: Protocol = FULL) -> Measurement:
    """The latency of a network as it is, in its deployed form."""
    deployed = form(task.deploy(copy.deepcopy(network)), task.input_shape)

    def once() -> Measurement:
        return cost.measure_network(deployed, task.input_shape, device, protocol)

    return until_trusted(once) if protocol is FULL else once()


def measure(
    cost: Cost, network: nn.Module, architecture: Architecture, setting: Setting, protocol: Protocol = FULL
) -> Measurement:
    """The cost of a network as it is: latency is that of its deployed form, all others follow its structure."""
    if isinstance(cost, Latency) and measured_here(cost):
        return latency(cost, network, setting.task, setting.device, protocol)
    if cost.exact:
        return cost.measure(architecture, setting)
    return until_trusted(lambda: cost.measure(architecture, setting))
