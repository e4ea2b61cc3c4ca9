"""A task tried on two examples, before anything is paid for: what it cannot do in the end, it cannot do now.

A loss that takes no such outputs, a metric of other shapes, a review that asks for what is not there: each is found
with one untrained network, in a moment, instead of after the last training.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from archscout.core.errors import UsageError
from archscout.core.task import Split, Task
from archscout.networks.outputs import named
from archscout.tasks.meters import meter_of

COUNT = 2


def attempt(task: Task, network: nn.Module, space: str) -> None:
    """Take two validation examples through transform, loss, metric, review and description.

    Args:
        task: the test split is not looked at.
        network: freshly built, of the space of this name; one that does not run is left to whoever tries spaces.

    Raises:
        UsageError: with the shapes of outputs and targets, and what cannot be done with them.
    """
    split = Split(task.valid.x[:COUNT], task.valid.y[:COUNT])
    x, y = task.tensors(split)
    try:
        with torch.no_grad():
            outputs = network.eval()(x)
    except Exception:  # spaces are tried elsewhere
        return
    shapes = ", ".join(
        f"{tuple(output.shape)}" if name == "output" else f"{name} {tuple(output.shape)}"
        for name, output in named(outputs).items()
    )
    about = (
        f"for {len(split)} examples of task '{task.name}' networks of space '{space}' give outputs of shape {shapes} "
        f"and the targets have shape {tuple(y.shape)}"
    )

    def attempted(what: str, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except Exception as error:  # whatever the code of a task's author raises
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise UsageError(
                f"{about}, of which its {what} cannot be had ({type(error).__name__}: {reason}): let head, targets and "
                f"{what} of the task fit."
            ) from error

    loss = attempted("loss", lambda: task.loss(outputs, y))
    if getattr(loss, "ndim", None) != 0:
        raise UsageError(f"{about}, of which its loss is not one number: let it be the mean over the batch.")

    def measure() -> float:
        meter = meter_of(task)
        meter.update(outputs, y)
        return float(meter.value())

    attempted(f"metric '{task.metric}'", measure)
    attempted("review", lambda: json.dumps([panel.as_json() for panel in task.review([(outputs, y, split.x)])]))
    attempted("transform", lambda: task.transform(x, y, torch.Generator().manual_seed(0)))
    attempted("description", lambda: json.dumps(task.describe()))
