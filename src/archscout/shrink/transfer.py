"""A backbone on a task: a new head on features that are computed once, then fine-tuning for the time there is.

Where that pays, the first parts of the backbone stay as they are: what they give for each image, and for some changed
copies of it, is computed once and kept, and the rest is trained on it (`archscout.shrink.kept`). How large images are
and how much is trained follows from the time there is and from what a step of each part is timed to take
(`archscout.shrink.planning`).
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
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
from archscout.shrink.planning import SIZES, Pace, TransferPlan, pace_of, plan_transfer, smallest_side
from archscout.shrink.record import Record
from archscout.spaces.trained import adapted
from archscout.training.speed import Mode

_NEAR = 0.9
"""Of a limit of latency, what the backbone may take when it is planned: the next measurement differs a little."""

_TESTING = 2.0
"""Times as long as in training does a forward pass take when the network is measured, in single precision."""


def transfer_plan(
    record: Record, backbone: Backbone, size: int | None, costs: Mapping[str, Cost], maximum: Mapping[str, str | float]
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
    return TransferPlan(**{field.name: decided[field.name] for field in dataclasses.fields(TransferPlan)})


def _fits(
    record: Record, backbone: Backbone, size: int, costs: Mapping[str, Cost], maximum: Mapping[str, str | float]
) -> bool:
    """Whether the backbone keeps absolute limits of latency on this machine, with room for a second measurement."""
    network = adapted(backbone, backbone.structure().eval(), size, record.task)
    for text, cost in costs.items():
        limit = str(maximum[text])
        if not isinstance(cost, Latency) or not measured_here(cost) or limit.strip().endswith("%"):
            continue
        took = latency(cost, network, record.task, record.device, QUICK).at_most
        if took > _NEAR * limit_of(cost, text, limit, took):
            return False
    return True


def transfer(record: Record, network: Adapted, backbone: Backbone, plan: TransferPlan, share: float) -> None:
    """A head on features that are computed once, then fine-tuning for a share of the time that is left, in place."""
    mode = record.mode
    assert mode is not None
    parts = backbone.parts(network.network)
    start = plan.start if len(parts) > 1 else 0
    rest: nn.Module = Rest(*parts[start:]) if start else network
    kept: list[KeptFeatures] = []

    def features() -> KeptFeatures:
        if not kept:
            beginning = network.before(nn.Sequential(*parts[:start]))
            kept.append(
                kept_features(beginning, record.learned, plan.copies, seed=record.seed, mode=mode, device=record.device)
            )
        return kept[0]

    def fit() -> None:
        head = network.network.get_submodule(backbone.head)
        if start:
            probe_kept(rest, head, features(), mode=mode, device=record.device)
        else:
            probe(network, backbone.head, record.learned, mode=mode, device=record.device)

    def part() -> tuple[nn.Module, Task]:
        return rest, features() if start else record.learned

    began = record.clock()
    record.watch.say(
        f"{backbone.name} at {plan.size} pixels: "
        + (f"the first {start} of {len(parts)} parts stay as they are." if start else "all of it is trained.")
    )
    record.weights("probe", network, fit)
    record.phase("probe", began)
    record.step("head on fixed features", network)
    before, accuracy = copy.deepcopy(network.state_dict()), record.value
    record.train("fine-tuning", network, share * record.left, part=part)
    record.step("fine-tuned", network)
    metric = record.task.metric
    if worse(metric.oriented(record.value), metric.oriented(accuracy), len(record.learned.valid)):
        network.load_state_dict(before)
        record.step("fine-tuning undone", network)


def worse(after: float, before: float, examples: int) -> bool:
    """Whether a metric (higher is better) fell by more than chance makes it fall on so many validation examples."""
    return not after >= before - abs(before) / math.sqrt(max(1, examples))
