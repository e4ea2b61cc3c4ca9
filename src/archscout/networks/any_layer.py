"""`Layer`: any layer of PyTorch with choices among its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from archscout.core import options as checked
from archscout.core.errors import UsageError
from archscout.networks.choice_layer import NumberLayer
from archscout.networks.elastic_layer import elastic_layer
from archscout.networks.held import changed, held
from archscout.networks.numbers import Plain, Undecided

_CHOICES = (Undecided, Plain)


@dataclass(frozen=True)
class Slot:
    """Stands among the arguments of a layer for a choice, by its role."""

    role: str


class Layer(NumberLayer):
    """A layer of torch whose arguments may be choices: `Layer(nn.PReLU, width)`, `Layer(nn.GRU, width, width)`.

    In shared weights a smaller layer uses the first of each dimension of a larger one, gate by gate where it is
    recurrent; layers with statistics of their own (batch normalisation by running means) cannot be shared.

    Args:
        kind: a class of `torch.nn`.
        arguments: of it, by place; choices may lie in lists and tuples.
        options: arguments by name.

    Raises:
        UsageError: something else than a class of `torch.nn`, or arguments without a choice or of which no layer can
            be made.
    """

    def __init__(self, kind: type[nn.Module], *arguments: Any, **options: Any) -> None:
        if not isinstance(kind, type) or not issubclass(kind, nn.Module) or not kind.__module__.startswith("torch."):
            raise UsageError(f"Layer is given a class of torch.nn first, such as nn.PReLU, not {checked.shown(kind)}.")
        given = dict(zip(_names(kind, len(arguments)), arguments, strict=True))
        places = len(given)
        given |= options
        choices = dict(held(given, _CHOICES))
        if not choices:
            raise UsageError(f"Layer(nn.{kind.__name__}, ...) is given no choice: use nn.{kind.__name__} itself.")
        if issubclass(kind, LazyModuleMixin):
            raise UsageError(
                f"nn.{kind.__name__} learns its sizes when it runs: give Layer the class that is not lazy."
            )
        roles = iter(choices)
        template = changed(given, _CHOICES, lambda _: Slot(next(roles)))
        super().__init__(partial(_elastic, partial(_make, kind, template, places)), {}, choices)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.largest(*inputs, **named)


def _names(kind: type[nn.Module], count: int) -> list[str]:
    """What the arguments by place are called; `size0`, `size1` where the class does not say it."""
    known = [
        name
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return [known[place] if place < len(known) else f"size{place}" for place in range(count)]


def _make(kind: Callable[..., nn.Module], template: dict[str, Any], places: int, /, **numbers: Any) -> nn.Module:
    filled: dict[str, Any] = changed(template, (Slot,), lambda slot: numbers[slot.role])
    arguments = list(filled.values())[:places]
    return kind(*arguments, **dict(list(filled.items())[places:]))


def _elastic(make: Callable[..., nn.Module], /, **numbers: Any) -> nn.Module:
    return elastic_layer(make, numbers)
