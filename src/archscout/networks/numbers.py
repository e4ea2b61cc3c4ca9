"""Numbers and values that are choices: `Width`, `Kernel`, `Value`, and what is computed from them.

The design meets two constraints. A module that holds them is an ordinary one and runs as it stands, so they pass for
numbers: a width for its largest, a value for its first. And none of them may be lost: where code that makes a layer
takes one as a plain number (`torch.ones(width)`, `int(width)`, torch's own `nn.Linear(3, width)`), the layer would keep
that number for good, so that it is marked, and refused when the module becomes a space.
"""

from __future__ import annotations

import copy
import itertools
import math
import operator
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral
from typing import Any

from torch import nn

from archscout.core.choice import Option
from archscout.core.errors import UsageError
from archscout.networks.elastic import MOST_COMBINATIONS, compute

RESOLVER = "archscout resolver"
"""The key in the memo of a deep copy under which lies what decides the choices."""

TAKEN = "plain_numbers"
"""The attribute of a module that says which undecided numbers were taken as plain ones when it was made."""

MADE = "choices_made"
"""The attribute of a module with the choices that were made with it, and where, until it is known what became of them.
"""


class Undecided:
    """A number that is a choice, or computed from choices by `+`, `-`, `*`, `//`, `%` and `**`."""

    @abstractmethod
    def resolve(self, decide: Callable[[Any], Any]) -> Any:
        """The number, given the number of each choice in it."""

    @abstractmethod
    def choices(self) -> Iterator[Any]:
        """The choices in it."""

    def largest(self) -> int:
        """What it passes for as it stands: each width at its largest, each `Value` at its first."""
        return int(self.resolve(lambda choice: choice.standing()))

    def __index__(self) -> int:
        return self._as_plain()

    def __int__(self) -> int:
        return self._as_plain()

    def __float__(self) -> float:
        return float(self._as_plain())

    def _as_plain(self) -> int:
        _mark(self)
        return self.largest()

    def _with(self, function: Callable[..., int], *numbers: Any) -> Any:
        for number in numbers:
            if isinstance(number, float):
                raise UsageError(
                    f"{self!r} was computed with {number}, which gives no whole number: use whole numbers and //."
                )
            if not isinstance(number, Integral | Undecided):
                return NotImplemented
        if _runs():
            return function(*(n.largest() if isinstance(n, Undecided) else n for n in numbers))
        return Computed(function, numbers)

    def __add__(self, other: Any) -> Any:
        return self._with(operator.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return self._with(operator.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return self._with(operator.sub, self, other)

    def __rsub__(self, other: Any) -> Any:
        return self._with(operator.sub, other, self)

    def __mul__(self, other: Any) -> Any:
        return self._with(operator.mul, self, other)

    def __rmul__(self, other: Any) -> Any:
        return self._with(operator.mul, other, self)

    def __floordiv__(self, other: Any) -> Any:
        return self._with(operator.floordiv, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._with(operator.floordiv, other, self)

    def __mod__(self, other: Any) -> Any:
        return self._with(operator.mod, self, other)

    def __rmod__(self, other: Any) -> Any:
        return self._with(operator.mod, other, self)

    def __pow__(self, other: Any) -> Any:
        if isinstance(other, Integral) and other < 0:
            raise UsageError(f"{self!r} ** {other} is no whole number: write //.")
        return self._with(operator.pow, self, other)

    def __neg__(self) -> Any:
        return self._with(operator.neg, self)

    def __bool__(self) -> bool:
        return bool(self._outcome(operator.ne, 0))

    def __truediv__(self, other: Any) -> Any:
        if _runs():
            return self.largest() / other
        raise UsageError(f"{self!r} / {other!r} is no whole number: write //.")

    def __lt__(self, other: Any) -> Any:
        return self._outcome(operator.lt, other)

    def __le__(self, other: Any) -> Any:
        return self._outcome(operator.le, other)

    def __gt__(self, other: Any) -> Any:
        return self._outcome(operator.gt, other)

    def __ge__(self, other: Any) -> Any:
        return self._outcome(operator.ge, other)

    def __eq__(self, other: object) -> Any:
        return self is other or self._outcome(operator.eq, other)

    def __ne__(self, other: object) -> Any:
        return self is not other and self._outcome(operator.ne, other)

    __hash__ = object.__hash__

    def _outcome(self, function: Callable[[Any, Any], Any], other: Any) -> Any:
        """What comes out of a comparison whatever is chosen; where that depends on the choice, as it stands."""
        if not isinstance(other, int | float | Undecided):
            return NotImplemented
        return _outcome(function, self, other)

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        resolver = memo.get(RESOLVER)
        return self._twin(memo) if resolver is None else resolver.number(self)

    def _twin(self, memo: dict[Any, Any]) -> Any:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin


Integral.register(Undecided)  # type: ignore[type-abstract]
"""Layers of torch ask so whether they are given one size or several."""


class Computed(Undecided):
    """A function of numbers of which some are undecided."""

    def __init__(self, function: Callable[..., int], numbers: tuple[Any, ...]) -> None:
        self.function, self.numbers = function, numbers

    def resolve(self, decide: Callable[[Any], Any]) -> Any:
        parts = (part.resolve(decide) if isinstance(part, Undecided) else part for part in self.numbers)
        return compute(self.function, *parts)

    def choices(self) -> Iterator[Any]:
        for part in self.numbers:
            if isinstance(part, Undecided):
                yield from part.choices()

    def __repr__(self) -> str:
        return f"{self.function.__name__}{self.numbers}"


class NumberChoice(Undecided):
    """One of several numbers. The same object in several layers is one choice, and so is the same name."""

    def __init__(self, *options: int, name: str | None = None) -> None:
        wrong = [o for o in options if not isinstance(o, Integral) or isinstance(o, bool | Undecided) or o < 1]
        if not options or wrong or len(set(options)) != len(options):
            raise UsageError(f"{type(self).__name__}{options} must be given different whole numbers above zero.")
        self.options: tuple[int, ...] = tuple(int(option) for option in options)
        self.name = name
        _remember(self)

    def standing(self) -> int:
        """What it passes for where nothing is decided."""
        return max(self.options)

    def resolve(self, decide: Callable[[Any], Any]) -> Any:
        return decide(self)

    def choices(self) -> Iterator[Any]:
        yield self

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.options}"


class Width(NumberChoice):
    """A number of channels or features: `Width(8, 16, 32)`; a narrower layer uses the first of a wider one's."""


class Kernel(NumberChoice):
    """A size of kernel: `Kernel(3, 5, 7)`; a smaller one is the centre of a larger one."""

    def __init__(self, *options: int, name: str | None = None) -> None:
        super().__init__(*options, name=name)
        if any(option % 2 == 0 for option in self.options):
            raise UsageError(f"Kernel{options} must be given odd numbers, which alone keep an image's size.")


class Plain:
    """What `Value` makes: a number or text like its first option, that becomes the option which is chosen."""

    options: tuple[Option, ...]
    name: str | None

    def standing(self) -> Any:
        return self.options[0]

    def resolve(self, decide: Callable[[Any], Any]) -> Any:
        return decide(self)

    def choices(self) -> Iterator[Any]:
        yield self

    def __repr__(self) -> str:
        return f"Value{self.options}"

    def __reduce__(self) -> Any:
        return _again, (self.options, self.name)

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        resolver = memo.get(RESOLVER)
        if resolver is not None:
            return resolver.value(self)
        twin = memo[id(self)] = _again(self.options, self.name)
        return twin


class WholeValue(Plain, Undecided, int):  # type: ignore[misc]
    """A `Value` of whole numbers, which layers take too."""

    __hash__ = int.__hash__


class RealValue(Plain, float):
    """A `Value` of numbers."""

    __hash__ = float.__hash__

    def _plain(self, function: Callable[..., Any], *numbers: Any) -> Any:
        if _runs() or not _making():
            return function(*(float(number) for number in numbers))
        raise UsageError(f"{self!r} was computed with while a layer was made: compute with it in the forward pass.")

    def __add__(self, other: Any) -> Any:
        return self._plain(operator.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return self._plain(operator.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return self._plain(operator.sub, self, other)

    def __rsub__(self, other: Any) -> Any:
        return self._plain(operator.sub, other, self)

    def __mul__(self, other: Any) -> Any:
        return self._plain(operator.mul, self, other)

    def __rmul__(self, other: Any) -> Any:
        return self._plain(operator.mul, other, self)

    def __truediv__(self, other: Any) -> Any:
        return self._plain(operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._plain(operator.truediv, other, self)

    def __pow__(self, other: Any) -> Any:  # type: ignore[override]
        return self._plain(operator.pow, self, other)

    def __neg__(self) -> Any:
        return self._plain(operator.neg, self)

    def __lt__(self, other: Any) -> Any:
        return _outcome(operator.lt, self, other)

    def __le__(self, other: Any) -> Any:
        return _outcome(operator.le, self, other)

    def __gt__(self, other: Any) -> Any:
        return _outcome(operator.gt, self, other)

    def __ge__(self, other: Any) -> Any:
        return _outcome(operator.ge, self, other)

    def __eq__(self, other: object) -> Any:
        return _outcome(operator.eq, self, other)

    def __ne__(self, other: object) -> Any:
        return _outcome(operator.ne, self, other)

    def __bool__(self) -> bool:
        return bool(_outcome(operator.ne, self, 0.0))

    def __int__(self) -> int:
        _mark(self)
        return int(self.standing())


class TextValue(Plain, str):
    """A `Value` of texts; code that makes a layer and compares it, or looks it up, would keep its first option."""

    __slots__ = ("name", "options")

    def __eq__(self, other: object) -> Any:
        return _outcome(operator.eq, self, other)

    def __ne__(self, other: object) -> Any:
        return _outcome(operator.ne, self, other)

    def __hash__(self) -> int:
        # Layers of torch look whether they know a text, and keep the text.
        if (making := _making()) is not None and not type(making[0]).__module__.startswith("torch."):
            _mark(self)
        return str.__hash__(self)


def Value(*options: Option, name: str | None = None) -> Any:  # noqa: N802 - it stands beside Width and Kernel
    """A plain value that is a choice: `self.rate = Value(0.1, 0.2)`, `self.heads = Value(2, 4)`, for the forward pass.

    It passes for its first option until it is decided. Whole numbers may also be groups, padding or dilation of
    archscout's layers; sizes of layers are `Width`.

    Args:
        options: numbers, texts or truth values, all different.
        name: of the choice; where None, the path of the attribute that holds it.
    """
    plain = tuple(o.item() if hasattr(o, "item") else o for o in options)
    if not plain or not all(isinstance(o, str | int | float) for o in plain) or len(set(plain)) < len(plain):
        raise UsageError(f"Value{options} must be given different numbers, texts or truth values.")
    if len({isinstance(option, str) for option in plain}) > 1 or any(o != o for o in plain):
        raise UsageError(f"Value{options} must be given options of one kind, all numbers or all texts.")
    if not isinstance(plain[0], str) and any(isinstance(option, float) for option in plain):
        plain = tuple(float(option) for option in plain)
    value = _again(plain, name)
    _remember(value)
    return value


def _again(options: tuple[Any, ...], name: str | None) -> Any:
    kind: Any = {str: TextValue, float: RealValue}.get(type(options[0]), WholeValue)
    value = kind(options[0])
    value.options, value.name = options, name
    return value


def same_number(one: Any, other: Any) -> bool:
    """Whether two numbers are equal whatever is chosen: the same choice, or the same arithmetic on choices."""
    return one is other or all(left == right for left, right in _together(one, other))


def _outcome(function: Callable[[Any, Any], Any], one: Any, other: Any) -> Any:
    """What a comparison gives whatever is chosen; where that depends on the choice, as it stands."""
    outcomes = {function(*pair) for pair in _together(one, other)}
    if len(outcomes) == 1:
        return outcomes.pop()
    _mark(one)
    return function(*(passing_for(number) for number in (one, other)))


def passing_for(number: Any) -> Any:
    """What a number or value passes for where nothing is decided, as a plain one."""
    if isinstance(number, Plain):
        return number.standing()
    return number.largest() if isinstance(number, Undecided) else number


def _together(*numbers: Any) -> Iterator[tuple[Any, ...]]:
    """The values that numbers have together, for every decision of the choices in them."""
    choices: dict[Any, Any] = {}
    for number in numbers:
        for choice in number.choices() if isinstance(number, Undecided | Plain) else ():
            choices[choice.name or id(choice)] = choice
    if math.prod(len(choice.options) for choice in choices.values()) > MOST_COMBINATIONS:
        raise UsageError(f"a number that depends on {len(choices)} choices cannot be compared.")
    for options in itertools.product(*(choice.options for choice in choices.values())):
        values: Mapping[Any, Any] = dict(zip(choices, options, strict=True))
        yield tuple(_at(values, number) for number in numbers)


def _at(values: Mapping[Any, Any], number: Any) -> Any:
    undecided = isinstance(number, Undecided | Plain)
    return number.resolve(lambda choice: values[choice.name or id(choice)]) if undecided else number


def _frames() -> Iterator[Any]:
    frame = sys._getframe(2)
    while frame is not None:
        yield frame
        frame = frame.f_back  # type: ignore[assignment]


def _runs() -> bool:
    """Whether a forward pass is under way, in which an undecided number is what it stands for."""
    return any(frame.f_code.co_name == "_call_impl" for frame in _frames())


def _making() -> tuple[nn.Module, str] | None:
    """The innermost module that is being made, and the line of it."""
    for frame in _frames():
        code = frame.f_code
        if code.co_name == "_call_impl":
            return None
        if code.co_name == "__init__" and code.co_argcount:
            module = frame.f_locals.get(code.co_varnames[0])
            if isinstance(module, nn.Module):
                return module, f"{code.co_filename}, line {frame.f_lineno}"
    return None


def _remember(choice: Any) -> None:
    """Note a choice with the module that is being made, which must do something with it."""
    making = _making()
    if making is not None:
        module, place = making
        vars(module).setdefault(MADE, []).append((choice, place))


def _mark(number: Undecided | Plain) -> None:
    """Remember that a module which is being made took an undecided number or value as a plain one."""
    making = _making()
    if making is not None:
        module, place = making
        kind = "value" if isinstance(number, Plain) else "number"
        vars(module).setdefault(TAKEN, []).append((repr(number), kind, place))
