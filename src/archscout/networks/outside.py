"""Choices that the code of a module reads from elsewhere than its attributes, which no copy of the module can decide.

A choice in a variable of the script, in one that a function was made with, or in an attribute of the class would pass
for its largest or first option in every network. So the code that runs in a forward pass is looked through for them.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Iterator
from typing import Any

from torch import nn

from archscout.core.digest import globals_read, is_library
from archscout.networks.held import held
from archscout.networks.numbers import Plain, Undecided

_CHOICES = (Undecided, Plain)


def read_outside(module: nn.Module) -> Iterator[tuple[Any, str]]:
    """Each choice that code of the module, or of its parts, reads from outside, and what reads it."""
    seen: set[Any] = set()
    for part in module.modules():
        kind = type(part)
        attributes = [
            value for name, value in vars(part).items() if name not in ("_parameters", "_buffers", "_modules")
        ]
        for value in attributes:
            for _, function in held(value, (types.FunctionType, types.MethodType, functools.partial)):
                yield from _read(function, kind, seen)
        if kind not in seen and not is_library(kind):
            seen.add(kind)
            yield from _of_class(kind, vars(part), seen)


def _of_class(kind: type, own: Any, seen: set[Any]) -> Iterator[tuple[Any, str]]:
    for base in kind.__mro__:
        if not is_library(base):
            for name, member in vars(base).items():
                if name not in own:
                    yield from ((choice, f"class {base.__name__}") for _, choice in held(member, _CHOICES))
    yield from _read(kind.forward, kind, seen)  # type: ignore[attr-defined]


def _read(function: Any, kind: type, seen: set[Any]) -> Iterator[tuple[Any, str]]:
    """What a function reads from variables around it, and what the functions and methods that it calls read."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(getattr(function, "__func__", function))
    if not isinstance(function, types.FunctionType) or is_library(function) or (function, kind) in seen:
        return
    seen.add((function, kind))
    values = [function.__defaults__, function.__kwdefaults__]
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # not filled yet
            continue
    names = globals_read(function.__code__)
    values += [function.__globals__[name] for name in sorted(names) if name in function.__globals__]
    for value in values:
        yield from ((choice, f"{function.__qualname__}()") for _, choice in held(value, _CHOICES))
        if isinstance(value, types.FunctionType):
            yield from _read(value, kind, seen)
    for name in function.__code__.co_names:
        method = inspect.getattr_static(kind, name, None)
        if isinstance(method, types.FunctionType | property):
            yield from _read(method.fget if isinstance(method, property) else method, kind, seen)
