"""What a stored result was made of, and in words what differs where it is to be continued with something else.

An identity is a dictionary of JSON: what was asked, with the digests of space and task. Whatever is stored keeps the
one that it was made with; whoever goes on with it brings another, and is refused where they differ.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from archscout.core.space import Space
from archscout.core.task import Task

_PARTS = {
    "class": "class or code",
    "structure": "layers, attributes or code",
    "tensors": "given weights or buffers",
    "space": "whole space",
}
"""Words for the parts of a space's identity; the others are called what they are."""

_SPACE, _DATA, _CONTENT, _OBJECTS = "space_parts", "data", "content", "objects"


def identity(space: Space, task: Task, **asked: Any) -> dict[str, Any]:
    """Of a result about a space and a task; `asked` is what else it depends on, as JSON."""
    about = {"space": space.name, _SPACE: dict(space.parts), "task": task.name, _DATA: task.digest}
    return {**about, **json.loads(json.dumps(asked))}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What was another than now is asked, in words; empty where nothing was."""
    lines = []
    for key in (*now, *(key for key in before if key not in now)):
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if key == _SPACE:
            if before.get("space") == now.get("space"):
                lines.append(f"another space '{now.get('space')}'{_changed(old, new)}")
        elif key == _CONTENT:
            if before.get("table") == now.get("table"):
                lines.append(f"another content of table '{now.get('table')}'")
        elif key == _OBJECTS:
            lines.append("another object as method or estimator")
        elif key == _DATA:
            if before.get("task") == now.get("task"):
                lines.append(f"other data '{now.get('task')}' (examples, labels or class names have changed)")
        else:
            lines.append(f"{key.replace('_', ' ')} {_words(old)}, not {_words(new)}")
    return lines


def sentence(differing: list[str]) -> str:
    """Several differences as a part of a sentence, on one line whatever a damaged file says."""
    plain = [" ".join("".join(c if c.isprintable() else " " for c in each).split()) for each in differing]
    return plain[0] if len(plain) == 1 else f"{'; '.join(plain[:-1])}; and {plain[-1]}"


def _changed(old: Any, new: Any) -> str:
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return " (by a version that did not note what it was)"
    parts = [_PARTS.get(part, part) for part in sorted({*old, *new}) if old.get(part) != new.get(part)]
    return f" (its {' and '.join(parts)} {'has' if parts == ['whole space'] else 'have'} changed)"


def _words(value: Any) -> str:
    if value is None or value in ({}, [], ""):
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {_words(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_words(each) for each in value)
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def set_aside(path: Path, taken: Collection[str] = ()) -> Path:
    """Rename a file or folder out of the way, to the first of `NAME.old1`, `NAME.old2`, ... that is free."""
    number = 1
    while (aside := path.with_name(f"{path.name}.old{number}")).exists() or aside.name in taken:
        number += 1
    path.rename(aside)
    return aside
