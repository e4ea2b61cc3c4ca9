"""A network that breaks limits, made to keep them: cuts are chosen, what is left learns, and is measured again."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from archscout.backbones.adapted import Adapted
from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.errors import ArchscoutError
from archscout.core.estimator import Setting
from archscout.core.written import significant
from archscout.costs.latency import QUICK
from archscout.networks.cutting import cut
from archscout.shrink import rating
from archscout.shrink.engine import plan
from archscout.shrink.limits import all_kept, measure
from archscout.shrink.record import Record
from archscout.spaces.trained import TrainedSpace

CALIBRATION = 64
"""Examples that cuts are rated on."""

CHOOSING = 0.4
"""Of the time that is left, what choosing cuts may take; rating options alone takes half of it."""

ATTEMPTS = 3
"""Times that cuts are chosen, where what was chosen breaks a limit when it is measured again."""


@dataclass(frozen=True)
class Reduced:
    """A network that keeps its limits.

    Args:
        network: what is left.
        architecture: what was cut, as the space has it.
        measured: its costs, by the text of each limit.
        report: `harm` of the cuts, and how many architectures were `rated`.
    """

    network: nn.Module
    architecture: Architecture
    measured: Mapping[str, Measurement]
    report: Mapping[str, Any]


def reduce(
    record: Record,
    network: nn.Module,
    space: TrainedSpace,
    setting: Setting,
    costs: Mapping[str, Cost],
    limits: Mapping[str, float],
    labels: bool,
) -> Reduced:
    """Cut, recover and measure until every limit is kept, at most `ATTEMPTS` times.

    Raises:
        ArchscoutError: the last attempt breaks a limit when it is measured again.
    """
    teacher = copy.deepcopy(network).eval().requires_grad_(False)
    tight, took = dict(limits), 0.0
    for attempt in range(ATTEMPTS):
        again = f"-{attempt + 1}" if attempt else ""
        report = _choose(record, network, space, setting, costs, tight, f"cut{again}")
        architecture = space.parse(report["architecture"])
        smaller = _smaller(network, space, architecture)
        record.step("cut again" if attempt else "cut", smaller)
        measured = {text: measure(cost, smaller, architecture, setting) for text, cost in costs.items()}
        if all_kept(measured, limits):  # otherwise it is not worth the recovery
            start = record.clock()
            record.train(f"recovery{again}", smaller, max(record.left, 0.25 * took), teacher, labels)
            took = max(took, record.clock() - start)
            measured = {text: measure(cost, smaller, architecture, setting) for text, cost in costs.items()}
            record.step("recovered", smaller)
        if all_kept(measured, limits):
            return Reduced(smaller, architecture, measured, report)
        for text, limit in limits.items():
            tight[text] *= min(1.0, 0.97 * limit / measured[text].at_most)
        record.watch.say("measured again, it does not keep every limit: more is cut.")
    text = next(text for text, limit in limits.items() if measured[text].at_most > limit)
    raise ArchscoutError(
        f"the recovered network has {costs[text].key} = {significant(measured[text].at_most, 4)} when measured again, "
        f"above the limit of {significant(limits[text], 4)}: raise the limit, or repeat on a quieter machine."
    )


def _smaller(network: nn.Module, space: TrainedSpace, architecture: Architecture) -> nn.Module:
    groups = list(space.groups.values())
    whole = copy.deepcopy(network)
    if isinstance(whole, Adapted):
        whole.network = cut(whole.network, groups, space.cut_of(architecture))
        return whole
    return cut(whole, groups, space.cut_of(architecture))


def _choose(
    record: Record,
    network: nn.Module,
    space: TrainedSpace,
    setting: Setting,
    costs: Mapping[str, Cost],
    limits: Mapping[str, float],
    key: str,
) -> dict[str, Any]:
    """What is cut: the architecture as text, its harm, and how many were rated."""
    start, seconds = record.clock(), CHOOSING * max(record.left, 0.0)
    task, device = record.task, record.device
    held = task.valid if len(task.valid) else task.train
    calibration, _ = task.tensors(held.head(CALIBRATION), device)

    def rate() -> dict[str, Any]:
        x, y = task.tensors(task.train.head(4 * CALIBRATION), device)
        rating.order_by_importance(network, space, task, x, y, 16)
        harms = rating.harms(network, space, calibration, 0.5 * seconds, record.clock)
        record.watch.say(f"{sum(len(row) - 1 for row in harms.values())} cuts are rated.")
        return {"order": space.order, "harms": {name: row.tolist() for name, row in harms.items()}}

    rated = record.once("rated", rate)
    space.order.update(rated["order"])
    harms = {name: np.array(row) for name, row in rated["harms"].items()}

    def make() -> dict[str, Any]:
        known = rating.accounts(network, space, calibration[:1])

        def costs_of(architecture: Architecture) -> dict[str, float]:
            smaller = _smaller(network, space, architecture)
            # A second measurement differs: what is chosen keeps the limit with a margin.
            return {
                text: measure(cost, smaller, architecture, setting, QUICK).at_most / cost.margin
                for text, cost in costs.items()
            }

        chosen = plan(
            network, space, known, harms, limits, costs_of, calibration, seed=record.seed,
            going=lambda: record.clock() < start + seconds,
        )  # fmt: skip
        return {"architecture": chosen.architecture.text, "harm": chosen.harm, "rated": chosen.rated}

    cutting: dict[str, Any] = record.once(key, make)
    record.phase("choosing what to cut", start)
    return cutting
