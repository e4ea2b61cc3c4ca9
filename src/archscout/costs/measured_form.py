"""In what form a limit of the winner was measured, and what its network is worth in that form."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from archscout.core.cost import Measurement
from archscout.core.errors import ArchscoutError
from archscout.core.task import Split, Task
from archscout.deploy.form import form
from archscout.deploy.precision import Form
from archscout.tasks.meters import meter_of
from archscout.training.trainer import answers


def measured_form(measured: Mapping[str, Measurement], limited: Iterable[str]) -> dict[str, Any]:
    """Runtime, precision and layout in which the first of the limited costs (keys) that ran was measured.

    Where no limit is on one that ran: of the latency that is reported, if any.
    """
    for key in (*limited, *measured):
        conditions = measured[key].details.get("conditions") if key in measured else None
        if conditions and "precision" in conditions and "layout" in conditions:
            return {name: conditions[name] for name in ("runtime", "precision", "layout", "bytes_per_number")}
    return Form().as_json()


def form_of(described: Mapping[str, Any]) -> Form:
    """The form that `measured_form` described, as far as PyTorch computes in it: integers are another network."""
    if described.get("precision") not in ("float32", "bfloat16"):
        return Form()
    return Form(described["precision"], described.get("layout", "contiguous"))


def worth(network: nn.Module, task: Task, examples: Split, described: Mapping[str, Any]) -> float | None:
    """The metric on examples of validation in a form whose answers are not those of single precision; else None."""
    chosen = form_of(described)
    if chosen.precision == "float32":
        return None
    meter = meter_of(task)
    try:
        for outputs, targets, _ in answers(chosen.applied(form(network, task.input_shape)), task, examples):
            meter.update(outputs, targets)
    except ArchscoutError:
        return math.nan
    return meter.value()
