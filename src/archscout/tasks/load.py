"""A task by its name, or from a path to the user's own images."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from archscout.core import options as checked
from archscout.core import registry
from archscout.core.errors import DataError, UsageError, nearest
from archscout.core.options import path as path_of
from archscout.core.task import Task

Watch = Callable[[int, int], None]

DOOR = ("links", "path", "label", "target", "split", "group", "weight")
"""Parameters that say how data are found, not what is made of them."""


SHARED = ("kind", "medium", "size", "fit", "unlabelled")
"""Parameters that say both."""


def load(source: Any, *, watch: Watch | None = None, **parameters: Any) -> Task:
    """The task of a registered name (`digits`, `digits:train=500`) or of a path (`photos.npz:size=32`, a folder).

    Args:
        source: a name or a path, perhaps with parameters after a colon: `train` (how many training examples
            to keep), `size` (pixels to resize images to), `flip` (whether augmentation may mirror images), and those
            of `assemble.check_options`. Or data at hand: `(x, y)`, a dictionary, a data set, a table
            (`doors/python.py`).
        watch: is told how many pictures of how many are decoded.
        parameters: the same, as keyword arguments; they go before those in the text. `metric` is what any task is
            measured by: a name, or a function (`measures.measured_by`).

    Raises:
        UsageError: for an unknown name or parameter, with the nearest known one.
        DataError: for a missing file, or data that cannot be used.

    >>> load("digits", train=500).name                    # doctest: +SKIP
    'digits:train=500'
    """
    metric = parameters.pop("metric", None)
    text, colon, tail = source.rpartition(":") if isinstance(source, str) else ("", "", "")
    if isinstance(source, str) and colon and "=" in tail and not is_there(Path(source)):
        # Of any task, also of one that is registered: what it is measured by is nothing that its data decide.
        written = dict(registry.parse_name(f"_:{tail}")[1])
        metric = written.pop("metric", None) if metric is None else metric
        source = registry.full_name(text, written)
    task = _load(source, watch, parameters)
    if metric is None:
        return task
    from archscout.tasks.measures import measured_by

    return measured_by(task, metric)


def _load(source: Any, watch: Watch | None, parameters: dict[str, Any]) -> Task:
    if isinstance(source, Task):
        return source
    if not isinstance(source, str | os.PathLike):
        return _from_object(source, parameters, watch)
    text = os.fspath(source)
    if not text.partition(":")[0].strip():
        raise UsageError("the data have no name: give a task by name ('archscout list tasks'), or a path.")
    if is_there(Path(text)) and text not in registry.names("task"):
        return _from_path(text, parameters, watch)
    head, colon, tail = text.rpartition(":")
    name, written = (head, dict(registry.parse_name(f"_:{tail}")[1])) if colon and "=" in tail else (text, {})
    given = {key: value for key, value in (written | parameters).items() if value is not None}
    if name in registry.names("task"):
        return registry.create("task", registry.full_name(name, given))  # type: ignore[no-any-return]
    return _from_path(name, given, watch)


def undescribe(description: Mapping[str, Any]) -> Task:
    """The task that `Task.describe` described, without its examples. Raises `DataError` for other descriptions."""
    kind = description.get("kind") if isinstance(description, Mapping) else None
    if not isinstance(kind, str):
        raise DataError("the description of the task is damaged (it names no kind): write it again with describe().")
    if kind not in registry.names("kind"):
        raise DataError(
            f"a task of kind '{kind}' is not known here ({', '.join(registry.names('kind'))} are): install or import "
            "what registers it, or give the task itself."
        )
    return registry.factory("kind", kind).from_description(description)  # type: ignore[attr-defined, no-any-return]


def _from_path(text: str, parameters: dict[str, Any], watch: Watch | None) -> Task:
    path = path_of(text, "the data")
    if not is_there(path):
        raise _missing(text, path)
    from archscout.tasks.decode import shown  # brings torch, which a wrong name can do without
    from archscout.tasks.doors.path import open_path

    options, door = _options(parameters)
    if "trials" in options:
        from archscout.tasks.trial_list import read_trials

        options["trials"] = read_trials(options["trials"], path)
    contents = open_path(path, links=door.pop("links", False), columns=door)
    name = registry.full_name(path.resolve().name, _naming(parameters))
    return assemble(name, f"'{shown(path)}'", contents, watch=watch, **options)


def _from_object(data: Any, parameters: dict[str, Any], watch: Watch | None) -> Task:
    from archscout.tasks.doors.python import open_object

    parameters = {key: value for key, value in parameters.items() if value is not None}
    name = checked.text(str(parameters.pop("name", "data")), "the name of the data")
    options, door = _options(parameters)
    if "trials" in options:
        raise UsageError("trials name recordings by their files: give the path of the data.")
    contents = open_object(data, door)
    return assemble(registry.full_name(str(name), _naming(parameters)), "the data", contents, watch=watch, **options)


def _naming(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that belong to the name of a task: where its pixels are kept makes it no other."""
    return {key: value for key, value in parameters.items() if key != "cache"}


def _options(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters of a task that is read, checked: those of the task, and those of the door. Raises `UsageError`."""
    from archscout.tasks.assemble import check_options

    known = inspect.signature(check_options).parameters
    for parameter in parameters:
        if parameter not in known:
            raise UsageError(f"data of your own have no parameter '{parameter}': {nearest(parameter, known)}")
    check_options(**parameters)
    door = {key: value for key, value in parameters.items() if key in (*DOOR, *SHARED)}
    return {key: value for key, value in parameters.items() if key not in DOOR}, door


def assemble(*arguments: Any, **options: Any) -> Task:
    """As `assemble.assemble`, imported only when it is needed, for it brings torch."""
    from archscout.tasks.assemble import assemble as assemble_task

    return assemble_task(*arguments, **options)


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder; what no file can be called is not there."""
    try:
        return path.exists()
    except (OSError, ValueError):  # longer than any name, or with a zero byte
        return False


def _missing(text: str, path: Path) -> DataError | UsageError:
    tasks = registry.names("task")
    if path.suffix or len(path.parts) > 1:
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        if not beside:
            return DataError(f"there is no file '{text}': its folder is missing or empty.")
        return DataError(f"there is no file '{text}': {nearest(path.name, beside)}")
    return UsageError(f"there is no task or file '{text}': {nearest(text, tasks)}")
