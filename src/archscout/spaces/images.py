"""What spaces of image networks ask of a task."""

from __future__ import annotations

from archscout.core.errors import UsageError
from archscout.core.space import Space
from archscout.core.task import Task


def check_images(space: Space, task: Task, side: int = 4) -> None:
    """Raise `UsageError` unless the inputs of `task` are images of at least `side` x `side` pixels."""
    if len(task.input_shape) != 3 or min(task.input_shape[1:]) < side:
        raise UsageError(
            f"space '{space.name}' needs images of at least {side} x {side} pixels; task '{task.name}' has inputs of "
            f"shape {task.input_shape}."
        )
