"""Archscout finds a good neural network for your data and your device before you pay for training.

Everything here is imported when it is first used: `import archscout` loads no torch.
"""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from archscout.api import (
        cost,
        deploy,
        estimator,
        load,
        method,
        names,
        quantise,
        register,
        search,
        shrink,
        simulate,
        space,
        strategy,
        table,
        task,
        train,
    )
    from archscout.networks.any_layer import Layer
    from archscout.networks.choices import (
        BatchNorm2d,
        Conv1d,
        Conv2d,
        ConvTranspose2d,
        Depth,
        Embedding,
        GroupNorm,
        Kernel,
        LayerNorm,
        Linear,
        OneOf,
        Value,
        Width,
    )

__all__ = [
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Depth",
    "Embedding",
    "GroupNorm",
    "Kernel",
    "Layer",
    "LayerNorm",
    "Linear",
    "OneOf",
    "Value",
    "Width",
    "cost",
    "deploy",
    "estimator",
    "load",
    "method",
    "names",
    "quantise",
    "register",
    "search",
    "shrink",
    "simulate",
    "space",
    "strategy",
    "table",
    "task",
    "train",
]

_CHOICES = frozenset(name for name in __all__ if name[0].isupper())


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'archscout' has no attribute '{name}'")
    home = "archscout.networks.choices" if name in _CHOICES else "archscout.api"
    home = "archscout.networks.any_layer" if name == "Layer" else home
    return getattr(importlib.import_module(home), name)


class _CallablePackage(types.ModuleType):
    """`archscout.search(...)` is the search; `archscout.shrink(...)` and `archscout.deploy(...)` likewise.

    A function of that name here would be replaced by the package `archscout.search` as soon as anything imports it, so
    the package itself can be called.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._function(*arguments, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        """What an editor or a notebook shows of the call."""
        return inspect.signature(self._function)

    @property
    def _function(self) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(
            importlib.import_module("archscout.api"), self.__name__.rpartition(".")[2]
        )
        return function


for _package in ("deploy", "search", "shrink"):
    importlib.import_module(f"archscout.{_package}").__class__ = _CallablePackage


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
