"""The room that limits leave: where a network keeps them twice over, it answers for an image and its mirror image."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from archscout.core.cost import Constraint, Cost, Measurement
from archscout.core.errors import reason_of
from archscout.core.task import Split, Task
from archscout.costs.latency import Latency
from archscout.costs.reported import REPORTED, measure_each, named_cost
from archscout.tasks.images import ImageClassification
from archscout.training.trainer import predict

CHEAPEST = 1.1
"""Times as long as one pass two passes take at least: a limit that leaves less room is not tried."""

ANSWERS_ONCE = ("flash", "sram", "instructions", "fit@")
"""How names begin of costs of the code for a microcontroller, which leaves the second pass out."""

ENDING = 2.0
"""Seconds that are left for writing files after the test."""

Measure = Callable[[Cost, Task], Measurement]
"""What a network costs in the form in which a task deploys it."""


@dataclass(frozen=True)
class Delivery:
    """A winner in the form in which it is delivered.

    Args:
        task: that deploys it, mirrored or not.
        value: on validation, turned so that higher is better.
        measured: its costs, by key.
        about: what was found, as JSON for `metrics.json`; None where the form was no question. Where the mirrored one
            is chosen, with its value in training (`trained`) and the `costs` of both.
    """

    task: Task
    value: float
    measured: Mapping[str, Measurement]
    about: dict[str, Any] | None = None


def in_question(task: Task, costs: Sequence[Cost], constraints: Sequence[Constraint]) -> bool:
    """Whether the form is to be chosen: of images that may be mirrored, where nobody said whether answers are, and a
    limit is on multiply-adds or on a latency that is measured here (no other limit being on a device elsewhere, nor on
    the network in integers or its code, which answer once).
    """
    if not (isinstance(task, ImageClassification) and task.flip and task.mirrored is None):
        return False
    limited = [cost for cost in costs if cost.key in {constraint.key for constraint in constraints}]
    here = all(cost.exact or (isinstance(cost, Latency) and cost.precision != "int8") for cost in limited)
    twice = not any(cost.name.startswith(ANSWERS_ONCE) for cost in limited)
    return here and twice and any(cost.name == "macs" or isinstance(cost, Latency) for cost in limited)


def tried(
    task: Task,
    network: nn.Module,
    alone: Mapping[str, Measurement],
    costs: Sequence[Cost],
    constraints: Sequence[Constraint],
    examples: Split | None,
    measure: Measure,
    *,
    tests: int = 0,
    seconds: float = math.inf,
) -> dict[str, Any]:
    """Whether the mean over both images keeps every limit and is no worse on validation examples; as JSON.

    Args:
        task: of classes, without its test examples.
        network: trained; it takes inputs as the task prepares them.
        alone: its costs without the second pass.
        costs: that a limit is on, or that the search had for another reason.
        constraints: all limits.
        examples: that tell how good it is; it has not learned from them. None where there are no such.
        measure: tells a cost of it.
        tests: examples that the winner is tested on afterwards.
        seconds: that are left for this, and for the test.

    Returns:
        `chosen`, the `reason` where it is not, accuracies (`values`) and mean losses (`losses`) of one pass and of two,
        and what was `measured` of two, by key.
    """
    if examples is None:
        return {"chosen": False, "reason": "it has learned from all validation examples"}
    end = time.monotonic() + seconds - ENDING
    once, twice = (dataclasses.replace(task, mirrored=mirrored) for mirrored in (False, True))  # type: ignore[call-arg]
    limits = {constraint.key: constraint for constraint in constraints}
    measurements: dict[str, Measurement] = {}
    for cost in (cost for cost in costs if cost.key in limits):
        limit = limits[cost.key]
        if not cost.exact and CHEAPEST * alone[cost.key].at_most > limit.limit:
            return {"chosen": False, "reason": f"{limit} leaves no room for a second pass"}
        try:
            measurements[cost.key] = measure(cost, twice)
            if measurements[cost.key].at_most > cost.margin * limit.limit and not measurements[cost.key].trusted:
                measurements[cost.key] = measure(cost, twice)  # it may be the busy machine alone that breaks the limit
        except Exception as error:  # a module of the user's own may be made for one image
            return {"chosen": False, "reason": f"{cost.key} of two passes cannot be told: {reason_of(error)}"}
        # What is measured must keep its limit when it is measured again.
        if not measurements[cost.key].at_most <= cost.margin * limit.limit:
            return {"chosen": False, "reason": f"two passes would break {limit}"}
    _answers(network, once, examples.head(2))  # what only the first answers take
    began = time.monotonic()
    single = _answers(network, once, examples)
    each = (time.monotonic() - began) / len(examples)
    if single.value == 1.0:
        return {"chosen": False, "reason": "nothing is wrong on validation that a second pass could put right"}
    if time.monotonic() + 2 * each * (len(examples) + tests) > end:
        return {"chosen": False, "reason": "no time was left to test two passes"}
    both = _answers(network, twice, examples)
    told = {"values": [single.value, both.value], "losses": [single.loss, both.loss]}
    # A difference within its standard error is none: few validation examples tell little.
    doubt = math.sqrt(float((single.right != both.right).sum())) / len(examples)
    if both.value < single.value - doubt:
        return {"chosen": False, "reason": "two passes are worse on validation", **told}
    reported = [cost for cost in map(named_cost, REPORTED) if cost.key not in measurements]
    others = [cost for cost in (*costs, *reported) if cost.key not in measurements]
    more, _ = measure_each(others, lambda cost: measure(cost, twice))
    measured = {key: dataclasses.asdict(measurement) for key, measurement in (measurements | more).items()}
    return {"chosen": True, "reason": "", **told, "measured": measured}


def delivery(task: Task, value: float, alone: Mapping[str, Measurement], decided: Mapping[str, Any] | None) -> Delivery:
    """The form that was decided upon (`tried`); that of one pass where nothing was.

    Args:
        task: with all its examples.
        value: of one pass, as the search has it.
        alone: costs of one pass.
        decided: what `tried` gave; None where the form was no question.
    """
    if decided is None:
        return Delivery(task, value, alone)
    about = {name: decided[name] for name in ("chosen", "reason")}
    if "values" in decided:
        about[f"valid_{task.metric}"] = dict(zip(("alone", "mirrored"), decided["values"], strict=True))
        about["valid_loss"] = dict(zip(("alone", "mirrored"), decided["losses"], strict=True))
    if not decided["chosen"]:
        return Delivery(task, value, alone, about)
    measured = {key: Measurement(**row) for key, row in decided["measured"].items()}
    about["trained"] = task.metric.oriented(value)
    about["costs"] = {
        key: {"alone": alone[key].value, "mirrored": both.value} for key, both in measured.items() if key in alone
    }
    mirrored = dataclasses.replace(task, mirrored=True)  # type: ignore[call-arg]
    return Delivery(mirrored, task.metric.oriented(decided["values"][1]), measured, about)


@dataclass(frozen=True)
class _Answers:
    """The metric, the mean loss, and which answers are right."""

    value: float
    loss: float
    right: torch.Tensor


def _answers(network: nn.Module, task: Task, examples: Split) -> _Answers:
    outputs = predict(network, task, examples)
    targets = task.tensors(examples)[1][:]
    right = outputs.argmax(1) == targets
    return _Answers(float(task.measure(outputs, targets)), float(task.loss(outputs, targets)), right)
