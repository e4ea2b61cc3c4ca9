"""A network that breaks limits, made to keep them: cuts are chosen, what is left learns, and is measured again."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from archscout.backbones.adapted import Adapted, inner
from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.estimator import Setting
from archscout.core.written import significant
from archscout.costs.latency import QUICK
from archscout.networks.cutting import cut, put_back
from archscout.shrink import rating
from archscout.shrink.accounts import accounts
from archscout.shrink.engine import Plan, check_smallest, plan, shave
from archscout.shrink.limits import all_kept, measure
from archscout.shrink.recalibration import recalibrate
from archscout.shrink.record import Record
from archscout.shrink.tuning import timed
from archscout.spaces.narrowed import Narrowed
from archscout.spaces.trained import TrainedSpace

CALIBRATION = 64
"""Examples that cuts are rated on."""

CHOOSING = 0.4
"""Of the time that is left, what choosing cuts may take; rating options alone takes half of it."""

DEEP = 0.45
"""Share of a cost below which a network is cut in two rounds."""

BETWEEN = 0.35
"""Of the time that is left, what the training between two rounds takes."""

PASSES = 2.0
"""Passes over the examples below which that training would harm more than help: everything is cut at once then."""

ATTEMPTS = 3
"""Times that cuts are chosen, where what was chosen breaks a limit when it is measured again."""

LOOKS = 3
"""Times that a network is measured before a limit counts as broken: other programs can only slow it down."""


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


class Way(Protocol):
    """How a network is made cheaper.

    Attributes:
        network: the whole network, which teaches what is left of it.
        setting: what costs are measured for.
        step: what the report calls it.
    """

    network: nn.Module
    setting: Setting
    step: str

    def choose(self, limits: Mapping[str, float], key: str) -> tuple[Architecture, Mapping[str, Any]]:
        """What to do to keep limits, once under this key, and what the report says of it: `harm`, `rated`."""

    def smaller(self, architecture: Architecture) -> nn.Module:
        """The network of an architecture as it is trained, with what it keeps of the whole one's weights."""

    def shipped(self, network: nn.Module) -> nn.Module:
        """A trained network as it is measured, tested and delivered."""

    def go_on_from(self, architecture: Architecture, network: nn.Module) -> None:
        """What was chosen last broke a limit by a little: its network, perhaps trained, is where to go on from."""


def reduce(record: Record, way: Way, costs: Mapping[str, Cost], limits: Mapping[str, float], labels: bool) -> Reduced:
    """Make cheaper, recover and measure until every limit is kept, at most `ATTEMPTS` times.

    Raises:
        ArchscoutError: the last attempt breaks a limit when it is measured again.
    """
    teacher = copy.deepcopy(way.network).eval().requires_grad_(False)
    tight = dict(limits)
    if isinstance(way, Cutting):
        _half_way(record, way, costs, limits, teacher, labels)
    for attempt in range(ATTEMPTS):
        again = f"-{attempt + 1}" if attempt else ""
        architecture, report = way.choose(tight, f"{way.step}{again}")
        start = record.clock()
        network = way.smaller(architecture)
        shipped = way.shipped(network)
        record.step(f"{way.step} again" if attempt else way.step, shipped)
        measured = _measured(way, costs, limits, shipped, architecture)
        looking = record.clock() - start
        # Otherwise it is not worth the recovery.
        if record.has_weights(f"recovery{again}") or all_kept(measured, limits):
            left = record.left - 2 * looking  # it is measured again, and perhaps cut a little more
            if left > 0 or not attempt or record.has_weights(f"recovery{again}"):
                record.train(f"recovery{again}", network, left, teacher, labels, least=0 if attempt else 1)
                record.step("recovered", way.shipped(network))

            def go_on(phase: str, network: nn.Module = network, again: str = again) -> None:
                record.train(f"{phase}{again}", network, record.left, teacher, labels, goes_on=True)

            record.longer(network, go_on, way.shipped)
            shipped = way.shipped(network)
            measured = _measured(way, costs, limits, shipped, architecture)
        if all_kept(measured, limits):
            return Reduced(shipped, architecture, measured, report)
        way.go_on_from(architecture, network)
        for text, limit in limits.items():
            tight[text] *= min(1.0, 0.97 * limit / measured[text].at_most)
        record.watch.say("measured again, it does not keep every limit: more has to go.")
    text = next(text for text, limit in limits.items() if measured[text].at_most > limit)
    raise ArchscoutError(
        f"the recovered network has {costs[text].key} = {significant(measured[text].at_most, 4)} when measured again, "
        f"above the limit of {significant(limits[text], 4)}: raise the limit, or repeat on a quieter machine."
    )


def _measured(
    way: Way, costs: Mapping[str, Cost], limits: Mapping[str, float], network: nn.Module, architecture: Architecture
) -> dict[str, Measurement]:
    """The costs of a network, by the text of each limit; where one looks broken, the least of `LOOKS` measurements."""
    measured: dict[str, Measurement] = {}
    for _ in range(LOOKS):
        for text, cost in costs.items():
            if text not in measured or measured[text].at_most > limits[text]:
                look = measure(cost, network, architecture, way.setting)
                measured[text] = min(measured.get(text, look), look, key=lambda each: each.at_most)
        if all_kept(measured, limits) or all(cost.exact for cost in costs.values()):
            break
    return measured


def _half_way(
    record: Record,
    way: Cutting,
    costs: Mapping[str, Cost],
    limits: Mapping[str, float],
    teacher: nn.Module,
    labels: bool,
) -> None:
    """Where much must go and time allows, a first round: to the geometric mean of each limit and the whole cost.

    Cut at once, a network is harmed beyond what harms of single cuts can tell; after training, they can again.
    """

    def between() -> dict[str, float] | None:
        whole = {text: measure(cost, way.network, way.space.widest, way.setting).value
                 for text, cost in costs.items()}  # fmt: skip
        if min(limit / whole[text] for text, limit in limits.items()) >= way.deep:
            return None
        network = copy.deepcopy(way.network)
        _, each = timed(network, record.learned, record.clock, teacher, record.device, record.mode)
        if BETWEEN * (1 - CHOOSING) * record.left < PASSES * each:
            record.watch.say("much has to go, and there is no time to learn in between: all of it is cut at once.")
            return None
        return {text: max(limit, math.sqrt(limit * whole[text])) for text, limit in limits.items()}

    targets = record.once("between", lambda: {"limits": between()})["limits"]
    if targets is None:
        return
    way.check(limits)
    architecture, _ = way.choose(targets, "half")
    network = way.smaller(architecture)
    record.step(f"{way.step} half way", way.shipped(network))
    record.train("half way", network, BETWEEN * record.left, teacher, labels)
    record.step("recovered half way", way.shipped(network))
    way.go_on_from(architecture, network, by_little=False)


@dataclass(eq=False)
class Cutting:
    """Channels, blocks and rings of kernels are cut where that harms least (`archscout.shrink.engine`).

    Args:
        record: of the run.
        network: whole.
        space: what can be cut of it.
        setting: for costs.
        costs: by the text of each limit.
        deep: share of a cost below which it is cut in two rounds.
    """

    record: Record
    network: nn.Module
    space: TrainedSpace
    setting: Setting
    costs: Mapping[str, Cost]
    deep: float = DEEP
    around: Architecture | None = None
    """What was cut before: `network` has what was learned since, where it was cut from."""
    by_little: bool = True
    """Whether only a little more is to be cut than `around`."""
    step = "cut"

    def go_on_from(self, architecture: Architecture, network: nn.Module, *, by_little: bool = True) -> None:
        self.network = copy.deepcopy(self.network)
        groups, what = list(self.space.groups.values()), self.space.cut_of(architecture)
        put_back(inner(self.network), inner(network), groups, what)
        self.around, self.by_little = architecture, by_little

    def check(self, limits: Mapping[str, float]) -> None:
        """Raise `UsageError` where even the smallest architecture breaks a limit, each time that it is looked at."""
        looks = 1 if all(cost.exact for cost in self.costs.values()) else LOOKS
        keys = {text: cost.key for text, cost in self.costs.items()}

        def possible() -> bool:
            for look in range(looks):
                try:
                    check_smallest(self.space, limits, self._measured, keys)
                    break
                except UsageError:
                    if look == looks - 1:
                        raise
            return True

        self.record.once("possible", possible)

    def smaller(self, architecture: Architecture) -> nn.Module:
        network, whole, task = self._cut(architecture), self.network.eval(), self.record.task
        x, _ = task.tensors(task.train.head(4 * CALIBRATION), self.record.device)
        groups, what = list(self.space.groups.values()), self.space.cut_of(architecture)
        before = self.space.cut_of(self.around or self.space.widest)
        with rating.hidden(whole, self.space, before):  # what is gone has no part in the statistics
            recalibrate(network.eval(), whole, groups, what, x)
        return network

    def _cut(self, architecture: Architecture) -> nn.Module:
        groups = list(self.space.groups.values())
        whole = copy.deepcopy(self.network)
        if isinstance(whole, Adapted):
            whole.network = cut(whole.network, groups, self.space.cut_of(architecture))
            return whole
        return cut(whole, groups, self.space.cut_of(architecture))

    def shipped(self, network: nn.Module) -> nn.Module:
        return network

    def choose(self, limits: Mapping[str, float], key: str) -> tuple[Architecture, Mapping[str, Any]]:
        record, task = self.record, self.record.task
        start, seconds = record.clock(), CHOOSING * max(record.left, 0.0)
        held = task.valid if len(task.valid) else task.train
        calibration, _ = task.tensors(held.head(CALIBRATION), record.device)
        if self.around is not None and self.by_little:
            report = record.once(key, lambda: self._shaved(limits, calibration[:1], self.around))
        else:
            part = self.space if self.around is None else Narrowed(self.space, self.around)
            harms = self._harms(part, calibration, seconds)

            def make() -> dict[str, Any]:
                known = accounts(self.network, part, calibration[:1])
                chosen = plan(
                    self.network, part, known, harms, limits, self._measured, calibration, seed=record.seed,
                    going=lambda: record.clock() < start + seconds,
                )  # fmt: skip
                return self._report(chosen)

            report = record.once(key, make)
        record.phase("choosing what to cut", start)
        return self.space.parse(report["architecture"]), report

    def _shaved(self, limits: Mapping[str, float], example: Tensor, around: Architecture | None) -> dict[str, Any]:
        """A little more, by what single cuts of the whole network harm."""
        assert around is not None
        harms = {name: np.array(row) for name, row in self.record.recall("rated")["harms"].items()}
        known = accounts(self.network, self.space, example)
        return self._report(shave(self.space, known, harms, limits, self._measured, around))

    def _report(self, chosen: Plan) -> dict[str, Any]:
        architecture = self._whole(chosen.architecture)
        return {"architecture": architecture.text, "harm": chosen.harm, "rated": chosen.rated}

    def _whole(self, architecture: Architecture) -> Architecture:
        """Of a part of the space, as the whole space has it."""
        return self.space.architecture({**(self.around or {}), **architecture})

    def _harms(self, space: TrainedSpace, calibration: Tensor, seconds: float) -> dict[str, np.ndarray]:
        """Of each option of each choice; the channels of each group are put in order as well."""
        record, task = self.record, self.record.task

        def rate() -> dict[str, Any]:
            x, y = task.tensors(task.train.head(4 * CALIBRATION), record.device)
            rating.order_by_importance(self.network, space, task, x, y, 16)
            harms = rating.harms(self.network, space, calibration, 0.5 * seconds, record.clock)
            record.watch.say(f"{sum(len(row) - 1 for row in harms.values())} cuts are rated.")
            return {"order": space.order, "harms": {name: row.tolist() for name, row in harms.items()}}

        rated = record.once("rated" if self.around is None else "rated half way", rate)
        self.space.order.update(rated["order"])
        return {name: np.array(row) for name, row in rated["harms"].items()}

    def _measured(self, architecture: Architecture) -> dict[str, float]:
        architecture = self._whole(architecture)
        smaller = self._cut(architecture)
        # A second measurement differs: what is chosen keeps the limit with a margin.
        return {
            text: measure(cost, smaller, architecture, self.setting, QUICK).at_most / cost.margin
            for text, cost in self.costs.items()
        }
