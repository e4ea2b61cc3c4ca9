"""A task by its name, or from a path to the user's own images."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from archscout.core import registry
from archscout.core.errors import DataError, UsageError, nearest
from archscout.core.task import Task

Watch = Callable[[int, int], None]


def load(name_or_path: str | Path, *, watch: Watch | None = None, **parameters: Any) -> Task:
    """The task of a registered name (`digits`, `digits:train=500`) or of a path (`photos.npz:size=32`, a folder).

    Args:
        name_or_path: a name or a path, perhaps with parameters after a colon: `train` (how many training examples
            to keep), `size` (pixels to resize images to), `flip` (whether augmentation may mirror images), and those
            of `assemble.check_options`.
        watch: is told how many pictures of how many are decoded.
        parameters: the same, as keyword arguments; they go before those in the text.

    Raises:
        UsageError: for an unknown name or parameter, with the nearest known one.
        DataError: for a missing file, or data that cannot be used.

    >>> load("digits", train=500).name                    # doctest: +SKIP
    'digits:train=500'
    """
    text = str(name_or_path)
    if Path(text).exists() and text not in registry.names("task"):
        return _from_path(text, parameters, watch)
    head, colon, tail = text.rpartition(":")
    name, written = (head, dict(registry.parse_name(f"_:{tail}")[1])) if colon and "=" in tail else (text, {})
    given = {key: value for key, value in (written | parameters).items() if value is not None}
    if name in registry.names("task"):
        return registry.create("task", registry.full_name(name, given))  # type: ignore[no-any-return]
    return _from_path(name, given, watch)


def undescribe(description: Mapping[str, Any]) -> Task:
    """The task that `Task.describe` described, without its examples. Raises `DataError` for other descriptions."""
    from archscout.tasks import images, nodes, text  # bring torch, which the names of tasks can do without

    kind = description.get("kind") if isinstance(description, Mapping) else None
    return {nodes.KIND: nodes.undescribe, text.KIND: text.undescribe}.get(str(kind), images.undescribe)(description)


def _from_path(text: str, parameters: dict[str, Any], watch: Watch | None) -> Task:
    path = Path(text).expanduser()
    if not path.exists():
        raise _missing(text, path)
    from archscout.tasks import assemble  # brings torch, which a wrong name can do without
    from archscout.tasks.decode import shown
    from archscout.tasks.doors.path import open_path

    known = inspect.signature(assemble.check_options).parameters
    for parameter in parameters:
        if parameter not in known:
            raise UsageError(f"data in a file has no parameter '{parameter}': {nearest(parameter, known)}")
    assemble.check_options(**parameters)
    options = dict(parameters)
    contents = open_path(path, links=options.pop("links", False))
    name = registry.full_name(path.resolve().name, parameters)
    return assemble.assemble(name, f"'{shown(path)}'", contents, watch=watch, **options)


def _missing(text: str, path: Path) -> DataError | UsageError:
    tasks = registry.names("task")
    if path.suffix or len(path.parts) > 1:
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        if not beside:
            return DataError(f"there is no file '{text}': its folder is missing or empty.")
        return DataError(f"there is no file '{text}': {nearest(path.name, beside)}")
    return UsageError(f"there is no task or file '{text}': {nearest(text, tasks)}")
