"""What operators are called with: their arguments by name, numbers for both sides of a map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from archscout.deploy.program import Pair


def applied(function: Any, named: Mapping[str, Any], x: Tensor) -> Tensor:
    """A function of one tensor with its other arguments by name."""
    result: Tensor = function(x, **named)
    return result


def arguments(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of an operator by name, defaults included."""
    given = {}
    for place, argument in enumerate(func._schema.arguments):
        if place < len(args):
            given[argument.name] = args[place]
        else:
            given[argument.name] = kwargs.get(argument.name, argument.default_value)
    return given


def pair(value: Any) -> Pair:
    """A number for the height and one for the width, where one may stand for both."""
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    return (int(numbers[0]), int(numbers[-1]))
