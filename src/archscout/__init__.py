"""Archscout finds a good neural network for your data and your device before you pay for training.

Everything here is imported when it is first used: `import archscout` loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from archscout.api import (
        cost,
        estimator,
        load,
        method,
        names,
        register,
        space,
        strategy,
        table,
        task,
    )
    from archscout.networks.choices import BatchNorm2d, Conv2d, Depth, Kernel, Linear, OneOf, Width
    from archscout.search.search import search

__all__ = [
    "BatchNorm2d",
    "Conv2d",
    "Depth",
    "Kernel",
    "Linear",
    "OneOf",
    "Width",
    "cost",
    "estimator",
    "load",
    "method",
    "names",
    "register",
    "search",
    "space",
    "strategy",
    "table",
    "task",
]


_CHOICES = frozenset(name for name in __all__ if name[0].isupper())


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'archscout' has no attribute '{name}'")
    if name == "search":  # a package that can be called: see there
        return importlib.import_module("archscout.search")
    home = "archscout.networks.choices" if name in _CHOICES else "archscout.api"
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
