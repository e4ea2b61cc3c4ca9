"""The result of a run from a trained network: the files of any run, with original and result side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archscout.core.cost import Constraint, Cost, Measurement
from archscout.core.estimator import TRAINING, Setting
from archscout.core.registry import create
from archscout.core.task import Task
from archscout.core.trial import Trial
from archscout.costs.machine import conditions
from archscout.costs.mirroring import Delivery, delivery, in_question, tried
from archscout.costs.reported import REPORTED
from archscout.search.package import package
from archscout.search.result import Result
from archscout.shrink.limits import measure
from archscout.shrink.panels import cuts, panels
from archscout.shrink.record import Record
from archscout.shrink.reduction import Reduced
from archscout.spaces.reducing import ReducingSpace
from archscout.spaces.trained import BackboneSpace


def deliver(
    record: Record,
    space: ReducingSpace,
    reduced: Reduced,
    costs: Mapping[str, Cost],
    limits: Mapping[str, float],
    original: Mapping[str, Measurement],
    about: Mapping[str, Any],
) -> Result:
    """Write the result; the network is tested once, and of what was kept between sittings what a larger budget needs.

    Args:
        record: of the run.
        space: that the network was cut in.
        reduced: the network, and what it costs.
        costs, limits: by the text of each limit.
        original: what the network cost before.
        about: the run's `name`, its `budget` as text, and the `network` it began with.
    """
    task, architecture = record.task, reduced.architecture
    setting = Setting(space, task.sealed(), seed=record.seed, device=record.device)
    result = {costs[text].key: measurement for text, measurement in reduced.measured.items()}
    whole = {costs[text].key: measurement for text, measurement in original.items()}
    for text in REPORTED:
        cost: Cost = create("cost", text)
        if cost.key not in result:
            result[cost.key] = measure(cost, reduced.network, architecture, setting)
        if cost.key not in whole:
            same = architecture == space.widest
            whole[cost.key] = result[cost.key] if same else cost.measure(space.widest, setting)
    constraints = [Constraint(text, costs[text].key, limit) for text, limit in limits.items()]
    value = task.metric.oriented(record.value)
    form = _form(record, space, reduced, list(costs.values()), constraints, value, result)
    trial = Trial(
        number=0, architecture=architecture, canonical=space.canonical(architecture), estimator=TRAINING,
        fidelity=len(record.curve), status="completed", value=form.value, seconds=0.0,
        curve=tuple(dict(row) for row in record.curve), seed=record.seed,
        extra={"valid_examples": len(record.learned.valid)},
    )  # fmt: skip
    shown = panels(space, architecture, whole, result, record.steps, task.metric)
    extra = {
        "run": about["name"], "method": "shrink", "estimator": TRAINING, "objectives": [str(task.metric)],
        "constraints": [{"name": c.cost, "key": c.key, "limit": c.limit} for c in constraints],
        "budget": about["budget"], "epochs": len(record.curve), "conditions": conditions(1, record.device),
        "finalists": [], "pareto": [], "trials": 1, "failed_trials": 0, "scored": int(reduced.report.get("rated", 0)),
        "failures": [], "rejected": 0, "feasibility": None, "seconds": record.all_seconds(),
        "notes": {"panels": [panel.as_json() for panel in shown]},
        "original": {
            "network": about["network"],
            "costs": {key: measurement.value for key, measurement in whole.items()},
            "steps": record.steps,
            "whole": dict(space.untouched),
            "cuts": cuts(space, architecture),
            "harm": reduced.report.get("harm"),
        },
        **({} if form.about is None else {"mirrored": form.about}),
    }  # fmt: skip
    network = reduced.network.eval()
    packaged = package(record.folder, space, form.task, trial, network, form.measured, record.seed, extra, None)
    record.finish()
    return packaged


def _form(
    record: Record,
    space: ReducingSpace,
    reduced: Reduced,
    costs: Sequence[Cost],
    constraints: Sequence[Constraint],
    value: float,
    measured: Mapping[str, Measurement],
) -> Delivery:
    """In which form the network is delivered, which is a question of backbones: a network of the user's own answers as
    it did. Tried once for each budget."""
    task = record.task
    if not (isinstance(space, BackboneSpace) and in_question(task, costs, constraints)):
        return delivery(task, value, measured, None)

    def measured_as(cost: Cost, answering: Task) -> Measurement:
        setting = Setting(space, answering.sealed(), seed=record.seed, device=record.device)
        return measure(cost, reduced.network, reduced.architecture, setting)

    def make() -> dict[str, Any]:
        return tried(
            record.learned, reduced.network.eval(), measured, costs, constraints, record.learned.valid, measured_as,
            tests=0 if task.test is None else len(task.test), seconds=record.end + record.reserve - record.clock(),
        )  # fmt: skip

    return delivery(task, value, measured, record.once(f"mirrored-{record.raised}", make))
