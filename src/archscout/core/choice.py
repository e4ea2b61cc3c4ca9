"""One named decision: with options, or a real number between two ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from archscout.core.errors import UsageError

Option = str | int | float | bool

LANDMARKS = 5
"""Values of a real number that stand for all of them where some must be tried one by one."""

STEP = 0.2
"""Standard deviation of a mutation of a real number, as a share of its range."""


@dataclass(frozen=True)
class Condition:
    """A choice is active only where an earlier choice took one of these values."""

    choice: str
    values: tuple[Option, ...]


@dataclass(frozen=True)
class Choice:
    """One named decision: categorical, or ordinal (its options are in order), perhaps conditional on an earlier one.

    >>> Choice("kernel", (3, 5, 7), ordinal=True).options
    (3, 5, 7)
    """

    name: str
    options: tuple[Option, ...]
    ordinal: bool = False
    condition: Condition | None = None

    def __post_init__(self) -> None:
        if not self.options:
            raise ValueError(f"choice '{self.name}' has no option: give at least one.")
        if len(set(self.options)) != len(self.options):
            raise ValueError(f"choice '{self.name}' names an option twice: {self.options}.")

    def index(self, option: Option) -> int:
        return self.options.index(option)

    # -- what a space asks of a choice ----------------------------------------------------------------------------

    @property
    def allowed(self) -> str:
        """What may be given, for people."""
        return f"one of {', '.join(map(write, self.options))}"

    @property
    def landmarks(self) -> Sequence[Option]:
        """Values that stand for all, from one end to the other: all options."""
        return self.options

    @property
    def columns(self) -> tuple[str, ...]:
        """What each column of the encoding means."""
        return tuple(f"{self.name}={write(option)}" for option in self.options)

    def settled(self, value: object) -> Option | None:
        """The option that equals a value; None where there is none."""
        return self.options[self.options.index(value)] if value in self.options else None

    def read(self, text: str) -> Option | None:
        """The option that a text names; None where there is none."""
        return next((option for option in self.options if write(option) == text), None)

    def draw(self, rng: np.random.Generator) -> Option:
        """Any, each with one chance."""
        return self.options[int(rng.integers(len(self.options)))]

    def another(self, value: Option, rng: np.random.Generator) -> Option:
        """Any other one; the value itself where there is no other."""
        others = [option for option in self.options if option != value]
        return others[int(rng.integers(len(others)))] if others else value

    def encode(self, value: Option) -> Sequence[float]:
        """A number for each column."""
        return [float(option == value) for option in self.options]


class Continuous(Choice):
    """A real number between two ends, both among its values.

    It has no options: whatever asks for them learns in one sentence that it cannot do with real numbers.

    >>> Continuous("probability", 0.1, 1.0).settled(0.5)
    0.5
    """

    def __init__(self, name: str, low: float, high: float, condition: Condition | None = None) -> None:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"choice '{name}' needs a low end below a high one, not {low} and {high}.")
        for attribute, value in (("name", name), ("low", float(low)), ("high", float(high)), ("condition", condition)):
            object.__setattr__(self, attribute, value)

    low: float
    high: float
    ordinal = True

    @property
    def options(self) -> tuple[Option, ...]:
        raise UsageError(
            f"choice '{self.name}' is a real number from {self.low:g} to {self.high:g}, and this needs choices with a "
            "list of options: take random, evolution, bohb or noisy_bayesian, which can do with numbers."
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Continuous) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        return f"Continuous({self.name!r}, {self.low:g}, {self.high:g})"

    @property
    def allowed(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"

    @property
    def landmarks(self) -> Sequence[Option]:
        return [float(value) for value in np.linspace(self.low, self.high, LANDMARKS)]

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.name,)

    def settled(self, value: object) -> Option | None:
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            return None
        return float(value) if self.low <= float(value) <= self.high else None

    def read(self, text: str) -> Option | None:
        try:
            return self.settled(float(text))
        except ValueError:
            return None

    def draw(self, rng: np.random.Generator) -> Option:
        return float(rng.uniform(self.low, self.high))

    def another(self, value: Option, rng: np.random.Generator) -> Option:
        """A normal step away, drawn again until it is within the ends and another number."""
        while True:
            moved = float(value) + STEP * (self.high - self.low) * float(rng.standard_normal())
            if self.low <= moved <= self.high and moved != value:
                return moved

    def share(self, value: Option) -> float:
        """Where between the ends: 0 at the low one, 1 at the high one."""
        return (float(value) - self.low) / (self.high - self.low)

    def encode(self, value: Option) -> Sequence[float]:
        return [self.share(value)]


def write(option: Option) -> str:
    """The text of an option."""
    return str(option).lower() if isinstance(option, bool) else str(option)
