"""JSON that keeps every float: NaN and the infinities survive, and what is written is strict JSON.

The standard writer puts bare `NaN` into the text, which is not JSON (PostgreSQL refuses it, browsers too). Here such a
number is written as `{"$float": "nan"}`; a key of the user's own that starts with `$` gets a second `$`, so that the
two can never be mistaken for each other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from archscout.core import files
from archscout.core.errors import DataError, UsageError

_MARK = "$float"


def dumps(value: Any) -> str:
    """The text of a value made of dicts, lists, tuples (they come back as lists), strings, numbers, booleans and None.

    Numpy and torch scalars become plain numbers. Raises `UsageError` for anything else.
    """
    try:
        try:
            text = _encode(value)
            return text if '"$' not in text else _encode(_plain(value))
        except ValueError:  # a NaN or an infinity somewhere inside, or a circle
            return _encode(_plain(value))
    except TypeError as error:
        raise UsageError(f"a value cannot be stored ({error}): turn the keys of its dicts into strings.") from None
    except RecursionError:
        raise UsageError("a value that contains itself cannot be stored: store plain nested values.") from None


def loads(text: str) -> Any:
    """The value of a text that `dumps` wrote. Raises `DataError` for any other."""
    try:
        if '"$' in text:
            return json.loads(text, object_hook=_unmarked)
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"the store is damaged ({files.what_is_wrong(error)}): restore it from a copy, or remove it and search "
            "again."
        ) from error


def _scalar(value: Any) -> Any:
    item = getattr(value, "item", None)
    if item is None or getattr(value, "ndim", None) != 0:
        raise UsageError(f"a {type(value).__name__} cannot be stored: turn it into numbers, strings, lists or dicts.")
    return item()


_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_scalar).encode


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {_MARK: str(float(value))}
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {_escaped(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _plain(_scalar(value))


def _escaped(key: Any) -> Any:
    return f"${key}" if isinstance(key, str) and key.startswith("$") else key


def _unmarked(mapping: dict[str, Any]) -> Any:
    if mapping.keys() == {_MARK}:
        return float(mapping[_MARK])
    return {key[1:] if key.startswith("$") else key: item for key, item in mapping.items()}
