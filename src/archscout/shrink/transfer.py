"""A backbone on a task: a new head on features that are computed once, then fine-tuning for the time there is.

Where that pays, the first parts of the backbone stay as they are, and no gradients are computed for them. What they
give for each image, and for some changed copies of it, may be computed once and kept, so that the rest is trained on it
(`archscout.shrink.kept`); with more time, every image is changed anew each time, which teaches more. How large images
are and how much is trained follows from the time there is and from what a step of each part is timed to take
(`archscout.shrink.planning`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from torch import nn

from archscout.backbones.adapted import Adapted
from archscout.backbones.base import Backbone
from archscout.core.cost import Cost
from archscout.core.task import Task
from archscout.costs.latency import QUICK, Latency
from archscout.shrink.head import probe, probe_kept
from archscout.shrink.kept import KeptFeatures, Rest, kept_features
from archscout.shrink.limits import latency, limit_of, measured_here
from archscout.shrink.planning import MOST_PROBED, SIZES, Pace, TransferPlan, pace_of, plan_transfer, smallest_side
from archscout.shrink.record import Record
from archscout.spaces.trained import adapted
from archscout.tasks.classification import Classification
from archscout.training.contexts import frozen
from archscout.training.speed import Mode

_NEAR = 0.9
"""Of a limit of latency, what the backbone may take when it is planned: the next measurement differs a little."""

_TESTING = 2.0
"""Times as long as in training does a forward pass take when the network is measured, in single precision."""


def transfer_plan(
    record: Record, backbone: Backbone, size: int | None, costs: Mapping[str, Cost], maximum: Mapping[str, str]
) -> TransferPlan:
    """How the backbone is transferred: decided once, by the time that is left, limits and what is timed.

    Where a limit of latency is broken, smaller images come before cuts, down to twice the size of the task's own.

    Args:
        record: of the run.
        backbone: with its weights.
        size: that was asked for.
        costs, maximum: the limits, absolute or as shares.
    """

    def make() -> dict[str, Any]:
        pace = Pace.read(record.once("pace", lambda: pace_of(backbone, record.clock).notes()))
        measured = len(record.task.test or ()) + 2 * len(record.learned.valid)
        left = record.left - _TESTING * measured * sum(pace.forward)
        sizes: Sequence[int] = [size] if size else SIZES
        plan = plan_transfer(record.learned, left, pace, sizes)
        least = min(smallest_side(record.task), plan.size)
        while (smaller := [side for side in sizes if least <= side < plan.size]) and not _fits(
            record, backbone, plan.size, costs, maximum
        ):
            plan = plan_transfer(record.learned, left, pace, smaller)
        testing = _TESTING * measured * sum(pace.at(plan.size).forward)
        return dataclasses.asdict(plan) | {"mode": pace.mode.notes(), "testing": testing}

    decided = record.once("transfer", make)
    record.mode = Mode(**decided["mode"])
    record.keep_free(decided["testing"])
    return _plan(decided)


def longer_plan(record: Record, backbone: Backbone, before: TransferPlan, number: int, larger: bool) -> TransferPlan:
    """How a transfer that was finished goes on for a larger budget: decided once, by the time that is left.

    Args:
        record: of the run.
        backbone: with its weights.
        before: the plan of the smaller budget.
        number: of the larger budget, counted from 1.
        larger: whether images may become larger.
    """

    def make() -> dict[str, Any]:
        pace = Pace.read(record.once("pace", lambda: pace_of(backbone, record.clock).notes()))
        sizes = [size for size in SIZES if size > before.size] if larger else []
        return dataclasses.asdict(plan_transfer(record.learned, record.left, pace, [before.size, *sizes]))

    return _plan(record.once(f"transfer-{number}", make))


def _plan(decided: Mapping[str, Any]) -> TransferPlan:
    return TransferPlan(**{field.name: decided[field.name] for field in dataclasses.fields(TransferPlan)})


def _fits(record: Record, backbone: Backbone, size: int, costs: Mapping[str, Cost], maximum: Mapping[str, str]) -> bool:
    """Whether the backbone keeps absolute limits of latency on this machine, with room for a second measurement."""
    network = adapted(backbone, backbone.structure().eval(), size, record.task)
    for text, cost in costs.items():
        limit = maximum[text]
        if not isinstance(cost, Latency) or not measured_here(cost) or limit.strip().endswith("%"):
            continue
        took = latency(cost, network, record.task, record.device, QUICK).at_most
        if took > _NEAR * limit_of(cost, text, limit, took):
            return False
    return True


def transfer(record: Record, network: Adapted, backbone: Backbone, plan: TransferPlan, share: float) -> None:
    """A head on features that are computed once, then fine-tuning for a share of the time that is left, in place."""
    tuning = _Tuning(record, network, backbone, plan)
    began = record.clock()
    record.watch.say(tuning.sentence())
    record.weights("probe", network, tuning.fit_head)
    record.phase("probe", began)
    record.step("head on fixed features", network)
    record.improve("fine-tuned", network, lambda: tuning.train("fine-tuning", share * record.left))


def transfer_longer(record: Record, network: Adapted, backbone: Backbone, plan: TransferPlan, number: int) -> None:
    """Fine-tuning that goes on for the time that is left, for a larger budget, in place.

    Args:
        record: of the run.
        network: at the size of the plan, as it was trained at the end of the smaller budget.
        backbone: that it is.
        plan: for the time that there is now.
        number: of the larger budget, counted from 1.
    """
    tuning = _Tuning(record, network, backbone, plan)
    record.improve("trained longer", network, lambda: tuning.train(f"longer-{number}", record.left, goes_on=True))


@dataclasses.dataclass(frozen=True)
class _Tuning:
    """Head and fine-tuning of a backbone by a plan; features of the parts that stay as they are computed once."""

    record: Record
    network: Adapted
    backbone: Backbone
    plan: TransferPlan

    def __post_init__(self) -> None:
        assert self.record.mode is not None

    def sentence(self) -> str:
        """At which size, and how much of it is trained."""
        return f"{self.backbone.name} at {self.plan.size} pixels: " + (
            f"the first {self.start} of {len(self.parts)} parts stay as they are."
            if self.start
            else "all of it is trained."
        )

    @cached_property
    def parts(self) -> list[nn.Module]:
        return list(self.backbone.parts(self.network.network))

    @property
    def start(self) -> int:
        """The first part that is trained."""
        return self.plan.start if len(self.parts) > 1 else 0

    @property
    def kept(self) -> bool:
        """Whether features of the parts that stay as they are are kept, and the others are trained on them."""
        return bool(self.start and self.plan.copies)

    @cached_property
    def rest(self) -> nn.Module:
        """What is trained, with what runs before it on every image."""
        return Rest(*self.parts[self.start :]) if self.kept else self.network

    @cached_property
    def features(self) -> KeptFeatures:
        beginning = self.network.before(nn.Sequential(*self.parts[: self.start]))
        assert self.record.mode is not None
        return kept_features(
            beginning,
            self.record.learned,
            self.plan.copies,
            seed=self.record.seed,
            mode=self.record.mode,
            device=self.record.device,
        )

    def fit_head(self) -> None:
        """By logistic regression where examples have one class each; other heads begin with random numbers."""
        record = self.record
        assert record.mode is not None
        if not isinstance(record.learned, Classification):
            return
        if self.kept:
            head = self.network.network.get_submodule(self.backbone.head)
            probe_kept(self.rest, head, self.features, most=MOST_PROBED, mode=record.mode, device=record.device)
        else:
            name = self.backbone.head
            probe(self.network, name, record.learned, most=MOST_PROBED, mode=record.mode, device=record.device)

    def train(self, phase: str, seconds: float, goes_on: bool = False) -> None:
        def part() -> tuple[nn.Module, Task]:
            return self.rest, self.features if self.kept else self.record.learned

        with frozen(nn.ModuleList(self.parts[: self.start])):
            self.record.train(phase, self.network, seconds, part=part, goes_on=goes_on)
