"""What a script has registered is known to its workers too: `@register` runs in one process, and they are others."""

from __future__ import annotations

import pickle
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from archscout.core import registry
from archscout.workers.pickling import dumps


def with_names(payload: Any) -> Any:
    """A payload that arrives as itself, and brings the names along that this process has registered.

    Each is unpacked by the worker where a job asks for it. A factory that cannot be sent is left out: its name is then
    unknown there, which is said if a job asks for it.
    """
    packed = []
    for (kind, name), factory in registry.own().items():
        with suppress(Exception):  # whatever pickling code of the user's own may raise
            packed.append((kind, name, dumps(factory)))
    return _Accompanied(payload, tuple(packed)) if packed else payload


@dataclass(frozen=True)
class _Accompanied:
    payload: Any
    names: tuple[tuple[str, str, bytes], ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.names, self.payload)


def _arrived(names: tuple[tuple[str, str, bytes], ...], payload: Any) -> Any:
    for kind, name, factory in names:
        registry.adopt(kind, name, partial(pickle.loads, factory))  # from our own parent, as the payload is
    return payload
