"""An immutable, hashable assignment of every active choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Self, cast

from archscout.core.choice import Option


class Architecture(Mapping[str, Option]):
    """What a network is, without its weights. Made by a `Space` (`sample`, `parse`, `architecture`, ...).

    It is a mapping from the name of each active choice to the option taken. Its text (`str(architecture)`) is in the
    field's own format where one exists, and `space.parse(text)` gives the architecture back. Two architectures are
    equal if their texts are.
    """

    __slots__ = ("_values", "text")  # a search holds a hundred thousand of them
    text: str
    _values: Mapping[str, Option] | tuple[tuple[str, Option], ...] | Callable[[str], Architecture]

    def __init__(self, text: str, values: tuple[tuple[str, Option], ...]) -> None:
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "_values", values)

    @classmethod
    def unread(cls, text: str, parse: Callable[[str], Architecture]) -> Self:
        """An architecture of which the text is known, in its space's own form; it is parsed when it is looked into."""
        architecture = cls(text, ())
        object.__setattr__(architecture, "_values", parse)
        return architecture

    @property
    def values_by_name(self) -> tuple[tuple[str, Option], ...]:
        """Each active choice with the option taken, in the order of the choices."""
        return self._values if isinstance(self._values, tuple) else tuple(self._lookup.items())

    @property
    def _lookup(self) -> Mapping[str, Option]:
        # Made when first asked for: a list of half a million cells holds their texts, not as many tables.
        if callable(self._values):
            object.__setattr__(self, "_values", self._values(self.text).values_by_name)
        if isinstance(self._values, tuple):
            object.__setattr__(self, "_values", dict(self._values))
        return cast(Mapping[str, Option], self._values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an architecture cannot be changed (tried to set '{name}'): have its space make another.")

    def __reduce__(self) -> tuple[type[Architecture], tuple[str, tuple[tuple[str, Option], ...]]]:
        return Architecture, (self.text, tuple(self.items()))

    def __getitem__(self, name: str) -> Option:
        return self._lookup[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lookup)

    def __len__(self) -> int:
        return len(self._lookup)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Architecture) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Architecture({self.text!r})"
