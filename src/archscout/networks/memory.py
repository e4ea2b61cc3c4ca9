"""Which tensors a call takes and gives, and the memory that each lies in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor


def memory_of(t: Tensor) -> int:
    """The memory that a tensor lies in; views of one tensor have it in common."""
    return int(t.untyped_storage()._cdata)


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """Every tensor in nested lists, tuples and dictionaries, in order."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)
        elif isinstance(value, Mapping):
            yield from tensors_in(value.values())
