"""How large the parameters of a space may be: what nobody trains is refused before it is built."""

from __future__ import annotations

from typing import Any

from archscout.core.errors import UsageError

MOST_CHANNELS = 65_536
MOST_LAYERS = 200
_MOST = {"layers": MOST_LAYERS, "cells": MOST_LAYERS, "depth": MOST_LAYERS, "stages": 16, "params": 10**10}
"""By the name of the parameter; all others are channels. Stages double the channels."""


def check_sizes(space: str, least: int = 1, **sizes: Any) -> None:
    """Sizes of networks of a space by their names; None stands for a default. Raises `UsageError`.

    >>> check_sizes("nasbench201", width=16, cells=None)
    """
    for name, value in sizes.items():
        most = _MOST.get(name, MOST_CHANNELS)
        if value is not None and (type(value) is not int or value < least):
            limits = "above zero" if least == 1 else f"of {least} or more"
            raise UsageError(f"the {name} of space '{space}' must be a whole number {limits}, not {value}.")
        if value is not None and value > most:
            raise UsageError(f"the {name} of space '{space}' may be {most:,} at most, not {value:,}.")
