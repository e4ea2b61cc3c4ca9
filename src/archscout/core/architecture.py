"""An immutable, hashable assignment of every active choice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from archscout.core.choice import Option


@dataclass(frozen=True, eq=False)
class Architecture(Mapping[str, Option]):
    """What a network is, without its weights. Made by a `Space` (`sample`, `parse`, `architecture`, ...).

    It is a mapping from the name of each active choice to the option taken. Its text (`str(architecture)`) is in the
    field's own format where one exists, and `space.parse(text)` gives the architecture back. Two architectures are
    equal if their texts are.
    """

    text: str
    values_by_name: tuple[tuple[str, Option], ...]

    @cached_property
    def _lookup(self) -> dict[str, Option]:
        # Made when first asked for: a list of half a million cells holds their texts, not as many tables.
        return dict(self.values_by_name)

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
