"""A network that breaks limits, made to keep them: cuts are chosen, what is left learns, and is measured again."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from archscout.backbones.adapted import Adapted, inner
from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.errors import ArchscoutError
from archscout.core.estimator import Setting
from archscout.core.written import significant
from archscout.costs.latency import QUICK
from archscout.networks.cutting import cut, put_back
from archscout.shrink import rating
from archscout.shrink.engine import plan, shave
from archscout.shrink.limits import all_kept, measure
from archscout.shrink.recalibration import recalibrate
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
    tight, took = dict(limits), 0.0
    for attempt in range(ATTEMPTS):
        again = f"-{attempt + 1}" if attempt else ""
        architecture, report = way.choose(tight, f"{way.step}{again}")
        network = way.smaller(architecture)
        shipped = way.shipped(network)
        record.step(f"{way.step} again" if attempt else way.step, shipped)
        measured = {text: measure(cost, shipped, architecture, way.setting) for text, cost in costs.items()}
        # Otherwise it is not worth the recovery.
        if record.has_weights(f"recovery{again}") or all_kept(measured, limits):
            start = record.clock()
            record.train(f"recovery{again}", network, max(record.left, 0.25 * took), teacher, labels)
            took = max(took, record.clock() - start)
            record.step("recovered", way.shipped(network))

            def go_on(phase: str, network: nn.Module = network, again: str = again) -> None:
                record.train(f"{phase}{again}", network, record.left, teacher, labels, goes_on=True)

            record.longer(network, go_on, way.shipped)
            shipped = way.shipped(network)
            measured = {text: measure(cost, shipped, architecture, way.setting) for text, cost in costs.items()}
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


@dataclass(eq=False)
class Cutting:
    """Channels, blocks and rings of kernels are cut where that harms least (`archscout.shrink.engine`).

    Args:
        record: of the run.
        network: whole.
        space: what can be cut of it.
        setting: for costs.
        costs: by the text of each limit.
    """

    record: Record
    network: nn.Module
    space: TrainedSpace
    setting: Setting
    costs: Mapping[str, Cost]
    around: Architecture | None = None
    """What was cut before, and is to be cut a little more."""
    step = "cut"

    def go_on_from(self, architecture: Architecture, network: nn.Module) -> None:
        self.network = copy.deepcopy(self.network)
        groups, what = list(self.space.groups.values()), self.space.cut_of(architecture)
        put_back(inner(self.network), inner(network), groups, what)
        self.around = architecture

    def smaller(self, architecture: Architecture) -> nn.Module:
        network, whole, task = self._cut(architecture), self.network.eval(), self.record.task
        x, _ = task.tensors(task.train.head(4 * CALIBRATION), self.record.device)
        groups, what = list(self.space.groups.values()), self.space.cut_of(architecture)
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
        harms = self._harms(calibration, seconds)

        def make() -> dict[str, Any]:
            known = rating.accounts(self.network, self.space, calibration[:1])
            if self.around is not None:
                shaved = shave(self.space, known, harms, limits, self._measured, self.around)
                return {"architecture": shaved.architecture.text, "harm": shaved.harm, "rated": shaved.rated}
            chosen = plan(
                self.network, self.space, known, harms, limits, self._measured, calibration, seed=record.seed,
                going=lambda: record.clock() < start + seconds,
            )  # fmt: skip
            return {"architecture": chosen.architecture.text, "harm": chosen.harm, "rated": chosen.rated}

        report: dict[str, Any] = record.once(key, make)
        record.phase("choosing what to cut", start)
        return self.space.parse(report["architecture"]), report

    def _harms(self, calibration: Tensor, seconds: float) -> dict[str, np.ndarray]:
        """Of each option of each choice; the channels of each group are put in order as well."""
        record, task = self.record, self.record.task

        def rate() -> dict[str, Any]:
            x, y = task.tensors(task.train.head(4 * CALIBRATION), record.device)
            rating.order_by_importance(self.network, self.space, task, x, y, 16)
            harms = rating.harms(self.network, self.space, calibration, 0.5 * seconds, record.clock)
            record.watch.say(f"{sum(len(row) - 1 for row in harms.values())} cuts are rated.")
            return {"order": self.space.order, "harms": {name: row.tolist() for name, row in harms.items()}}

        rated = record.once("rated", rate)
        self.space.order.update(rated["order"])
        return {name: np.array(row) for name, row in rated["harms"].items()}

    def _measured(self, architecture: Architecture) -> dict[str, float]:
        smaller = self._cut(architecture)
        # A second measurement differs: what is chosen keeps the limit with a margin.
        return {
            text: measure(cost, smaller, architecture, self.setting, QUICK).at_most / cost.margin
            for text, cost in self.costs.items()
        }
