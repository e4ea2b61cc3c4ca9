"""One named decision with its options."""

from __future__ import annotations

from dataclasses import dataclass

Option = str | int | float | bool


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
