"""What a module with choice layers (`archscout.networks.choices`) declares: where each choice is used, and which other
choices a place of use hangs on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from archscout.core.choice import Option
from archscout.core.errors import UsageError
from archscout.networks.choice_layer import ChoiceLayer, NumberLayer, name_of
from archscout.networks.choices import Depth, OneOf
from archscout.networks.held import held
from archscout.networks.numbers import MADE, TAKEN, NumberChoice, Plain, TextValue, Undecided


@dataclass(frozen=True)
class Use:
    """One place where a choice is used, and what other choices must be for that place to be built."""

    name: str
    kind: str
    options: tuple[Option, ...]
    ordinal: bool
    context: Mapping[str, frozenset[Option]]


def declare(module: nn.Module) -> list[Use]:
    """Every use of a choice in a module, outer ones before those inside; choices without a name get their path.

    Raises `UsageError` where a number that is a choice was taken as a plain one.
    """
    choices = [each for part in module.modules() for each in vars(part).pop(MADE, ())]
    _refuse_bound(module)
    uses = list(_uses(module, "", {}))
    named = {use.name for use in uses}
    # What only code reads, in attributes: plain values, and widths that no layer has.
    uses += [use for use in _attributes(module, "", {}) if use.kind == "Value" or use.name not in named]
    _refuse_lost(choices, {use.name for use in uses})
    return uses


def _refuse_bound(module: nn.Module) -> None:
    """Layers with choices are made anew, and what was bound to their tensors would be lost."""
    with_choices: set[int] = set()
    plain: dict[int, str] = {}
    inner = {id(part) for layer in module.modules() if isinstance(layer, NumberLayer) for part in layer.modules()}
    for path, part in module.named_modules():
        name = path.removesuffix(".largest")
        if id(part) in inner and parametrize.is_parametrized(part):
            raise UsageError(
                f"layer '{name}' has a parametrization, which layers with choices cannot keep: use a layer of torch."
            )
        for tensor in part._parameters.values():
            if tensor is not None and id(part) in inner:
                with_choices.add(id(tensor))
            elif tensor is not None:
                plain[id(tensor)] = name
    for tensor, name in plain.items():
        if tensor in with_choices:
            raise UsageError(
                f"layer '{name}' shares a weight with a layer that has choices: make both of them layers with the "
                "same choices."
            )


def _refuse_lost(made: Sequence[tuple[NumberChoice | Plain, str]], names: set[str]) -> None:
    """A choice that was made with a module, and is nowhere in it, would change nothing."""
    for choice, place in made:
        if choice.name not in names:
            raise UsageError(
                f"{choice!r} ({place}) is in no layer and no attribute of the module, so that nothing would follow it: "
                "give it to archscout's layers, or keep it in an attribute for the forward pass."
            )


def _parts(
    module: nn.Module, path: str, context: Mapping[str, frozenset[Option]]
) -> Iterator[tuple[nn.Module, str, Mapping[str, frozenset[Option]]]]:
    """What is in a module, each with its path and what must be chosen for it to be built."""
    if isinstance(module, OneOf):
        for option, candidate in zip(module.options, module.candidates, strict=True):
            yield candidate, _join(path, str(option)), _narrow(context, module, frozenset([option]))
    elif isinstance(module, Depth):
        for position, block in enumerate(module.blocks):
            runs = frozenset(option for option in module.options if int(option) > position)
            yield block, _join(path, str(position)), _narrow(context, module, runs)
    elif not isinstance(module, NumberLayer):
        for name, child in module._modules.items():
            if child is not None:
                yield child, _join(path, name), context


def _attributes(module: nn.Module, path: str, context: Mapping[str, frozenset[Option]]) -> Iterator[Use]:
    if not isinstance(module, ChoiceLayer):
        for name, value in vars(module).items():
            choices = {id(choice): (place, choice) for place, choice in _choices_in(value)}
            for inside, choice in choices.values():
                attribute = _join(name, inside) if len(choices) > 1 else name
                kind = "Value" if isinstance(choice, Plain) else type(choice).__name__
                ordinal = not isinstance(choice, TextValue)
                yield Use(_name(choice, _join(path, attribute)), kind, choice.options, ordinal, context)
    for part, place, inner in _parts(module, path, context):
        yield from _attributes(part, place, inner)


def _choices_in(value: Any) -> Iterator[tuple[str, NumberChoice | Plain]]:
    """The choices in what an attribute holds, each with its path in it."""
    for place, number in held(value, (Undecided, Plain)):
        for position, choice in enumerate(choices := list(number.choices())):
            yield _join(place, str(position)) if len(choices) > 1 else place, choice


def _uses(module: nn.Module, path: str, context: Mapping[str, frozenset[Option]]) -> Iterator[Use]:
    if isinstance(module, OneOf | Depth):
        ordinal = isinstance(module, Depth)
        yield Use(_name(module, path), type(module).__name__, module.options, ordinal, context)
    if isinstance(module, NumberLayer):
        for role, number in module.numbers.items():
            choices = list(number.choices()) if isinstance(number, Undecided | Plain) else []
            for position, choice in enumerate(choices):
                place = role if len(choices) == 1 else f"{role}.{position}"
                kind = "Value" if isinstance(choice, Plain) else type(choice).__name__
                ordinal = not isinstance(choice, TextValue)
                yield Use(_name(choice, _join(path, place)), kind, choice.options, ordinal, context)
    elif not isinstance(module, ChoiceLayer):
        _refuse_numbers(module, path)
    for part, place, inner in _parts(module, path, context):
        yield from _uses(part, place, inner)


_OWN = frozenset(kind.__name__ for kind in NumberLayer.__subclasses__())
"""Layers that archscout has, by torch's name."""

_FREE = frozenset({"num_heads", "head_dim"})
"""Whole numbers of torch's layers that no size of a weight depends on."""


def _refuse_numbers(module: nn.Module, path: str) -> None:
    """A layer would keep for good what it took as a plain number."""
    kind = type(module).__name__
    of_torch = type(module).__module__.startswith("torch.")
    taken = vars(module).get(TAKEN, [])
    sized = [
        repr(number)
        for name, value in vars(module).items()
        for _, number in held(value, (Undecided, Plain))
        if name not in _FREE and isinstance(number, Undecided) and module._parameters
    ]
    if of_torch and (taken or sized):
        number = taken[0][0] if taken else sized[0]
        own = f"archscout's own {kind}" if kind in _OWN else f"archscout.Layer(nn.{kind}, ...)"
        raise UsageError(f"torch's {kind} ('{path}') was given {number}: use {own}.")
    if taken:
        number, word, place = taken[0]
        raise UsageError(
            f"{number} was taken as a plain {word} where {kind} ('{path}') is made ({place}), and would stay so: "
            "give it to archscout's layers, or keep it as an attribute for the forward pass."
        )


def _narrow(
    context: Mapping[str, frozenset[Option]], layer: OneOf | Depth, values: frozenset[Option]
) -> Mapping[str, frozenset[Option]]:
    name, everything = name_of(layer), frozenset(layer.options)
    if values == everything:
        return context
    return {**context, name: context.get(name, everything) & values}


def _name(choice: OneOf | Depth | NumberChoice | Plain, path: str) -> str:
    if choice.name is None:
        choice.name = path or type(choice).__name__
    return choice.name


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
