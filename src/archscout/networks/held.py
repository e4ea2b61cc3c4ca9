"""What an attribute of a module holds: numbers that are choices, in lists, dictionaries and objects that hold settings.

A module of the user's own may keep its choices in a configuration, which a deep copy reaches wherever it lies; so must
whoever asks which choices there are, and whoever sets what is selected in a supernet. Modules, tensors and code are
never entered: parts are found by their parents, and code is another matter (`archscout.networks.outside`).
"""

from __future__ import annotations

import argparse
import copy
import functools
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

_CLOSED = frozenset({"archscout", "torch", "numpy", "builtins", *sys.stdlib_module_names}) - {"__main__"}
_OPEN = (types.SimpleNamespace, argparse.Namespace)
_DEEPEST = 12


def held(value: Any, kinds: tuple[type, ...], path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The objects of these kinds in a value, each with its path in it ("" where the value itself is one)."""
    if isinstance(value, kinds):
        yield path, value
    elif depth < _DEEPEST:
        for key, part in _parts(value):
            yield from held(part, kinds, f"{path}.{key}" if path else str(key), depth + 1)


def changed(value: Any, kinds: tuple[type, ...], change: Callable[[Any], Any]) -> Any:
    """The value with each object of these kinds in it changed; what holds none is the same object as before."""
    if isinstance(value, kinds):
        return change(value)
    if next(held(value, kinds), None) is None:
        return value
    parts = {key: changed(part, kinds, change) for key, part in _parts(value)}
    if isinstance(value, functools.partial):
        named = {name: parts[name] for name in value.keywords}
        return type(value)(value.func, *(parts[place] for place in range(len(value.args))), **named)
    if isinstance(value, tuple):
        return type(value)(*parts.values()) if hasattr(value, "_fields") else type(value)(parts.values())
    twin = copy.copy(value)
    if isinstance(value, Mapping | list):
        for key, part in parts.items():
            twin[key] = part
    else:
        for name, part in parts.items():
            object.__setattr__(twin, name, part)  # settings may be frozen
    return twin


def _parts(value: Any) -> list[tuple[Any, Any]]:
    """What a container or an object that holds settings consists of, by place, key or name."""
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, functools.partial):
        return [*enumerate(value.args), *value.keywords.items()]
    if isinstance(value, nn.Module | Tensor | type | types.FunctionType | types.MethodType | types.ModuleType):
        return []
    if type(value).__module__.partition(".")[0] in _CLOSED and not isinstance(value, _OPEN):
        return []
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()) if hasattr(value, name)]
    return [*getattr(value, "__dict__", {}).items(), *((name, getattr(value, name)) for name in slots)]
