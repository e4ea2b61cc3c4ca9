"""A space from its name or a module, and the one that `auto` stands for."""

from __future__ import annotations

from typing import Any

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.space import Space
from archscout.core.task import Task

AUTO, SCRATCH = "auto", "scratch"
"""Names of what suits the data: with networks that were trained elsewhere among it, or from random weights alone."""

AUTOMATIC = ("classic", "series", "nasbench201", "nasbench_nlp", "nasbench_graph")


def load(space: str | Space | Any) -> Space:
    """A search space by name (`"nasbench201:width=16"`), of a module of the user's own with choices in it, or as it is.

    Raises `UsageError` for an unknown name or parameter, and for a module without a choice.
    """
    if isinstance(space, Space):
        return space
    if isinstance(space, str):
        instance: Space = create("space", space)
        return instance
    from archscout.spaces.model import ModelSpace

    return ModelSpace(space)


def automatic_space(task: Task) -> Space:
    """The space that `auto` stands for: the first that takes the task, of those made for its kind (`Task.spaces`) and
    `AUTOMATIC`. Raises `UsageError`."""
    reasons = []
    for name in (*task.spaces, *AUTOMATIC):
        space: Space = create("space", name)
        try:
            space.check_task(task)
        except UsageError as error:
            reasons.append(str(error))
        else:
            return space
    raise UsageError(f"no space is known for task '{task.name}': name one with --space ({reasons[0]})")
