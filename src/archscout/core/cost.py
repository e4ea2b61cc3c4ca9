"""Says what an architecture costs; lower is better; callable before any training."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from archscout.core import options
from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.written import significant

_QUANTITY = re.compile(r"((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*([A-Za-zµ]*)")


@dataclass(frozen=True)
class Measurement:
    """A cost in the unit of its `Cost`; `spread` is the relative spread of repeats (0 for exact counts)."""

    value: float
    spread: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def trusted(self) -> bool:
        """Whether whoever measured it would rely on it."""
        return bool(self.details.get("trusted", True))

    @property
    def at_most(self) -> float:
        """What a limit is held against: the value, or the upper end of the interval of a prediction."""
        return float(self.details.get("high", self.value))


class Cost(ABC):
    """What an architecture costs, of one kind.

    `key` is the name under which results carry it, with its unit (`latency_ms`); `units` maps what a user may write
    after a number to the factor that turns it into that unit; `exact` says that measuring twice gives the same; a
    screened cost must be under `margin` times a limit.
    """

    name: str = "cost"
    key: str = "cost"
    units: ClassVar[Mapping[str, float]] = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
    exact: ClassVar[bool] = True
    margin: ClassVar[float] = 1.0

    def check(self, setting: Setting) -> None:  # noqa: B027 - most are known everywhere
        """Raises `UsageError` where the cost is not known in a setting, before anything is spent."""

    def about(self, setting: Setting) -> dict[str, Any]:
        """What a report says of how the cost is known, as JSON; nothing where its name says it all."""
        return {}

    @abstractmethod
    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        """The cost of the stand-alone network of one architecture."""

    def screen(self, architectures: Sequence[Architecture], setting: Setting) -> list[Measurement]:
        """A quick look at many, for rejecting candidates; as `measure` unless that is slow."""
        return [self.measure(architecture, setting) for architecture in architectures]

    @classmethod
    def quantity(cls, value: Any, name: str) -> float:
        """The limit that a user gave, in this cost's unit: a number of it, a text, or of a time a `timedelta`.

        Raises `UsageError`.

        >>> Cost.quantity("2.5M", "params")
        2500000.0
        """
        if isinstance(value, str):
            plain = value.strip().replace("\N{GREEK SMALL LETTER MU}", "\N{MICRO SIGN}")
            match = _QUANTITY.fullmatch(plain) if len(value) <= options.LONGEST else None
            unit = match.group(2).lower() if match else ""
            if match is None or unit not in cls.units:
                known = ", ".join(unit or "(none)" for unit in cls.units)
                raise UsageError(
                    f"{options.shown(value)} is not a limit for {name}: write a number and one of the units {known}."
                )
            amount = float(match.group(1)) * cls.units[unit]
        elif "s" in cls.units and (seconds := options.duration(value, f"the limit for {name}")) is not None:
            amount = seconds * cls.units["s"]
        else:
            amount = options.number(value, f"the limit for {name}")
        if not 0 < amount < math.inf:
            kind = "finite" if amount > 0 else "above zero"
            raise UsageError(f"the limit {options.shown(value)} for {name} must be {kind}.")
        return amount


Limit = str | float | timedelta
Limits = Mapping[str, Limit] | Mapping[str | Cost, Limit]
"""The limits of a user, by name of the cost or by a cost: `{"latency": "2ms"}`."""


@dataclass(frozen=True)
class Constraint:
    """No winner's cost may be above this limit (in the unit of the cost's key)."""

    cost: str
    key: str
    limit: float

    def __str__(self) -> str:
        return f"{self.key} <= {significant(self.limit, 6)}"


def meets(costs: Mapping[str, float], constraints: Sequence[Constraint], margins: Mapping[str, float]) -> bool:
    """Whether every constraint holds, with a margin (a factor on the limit) for measured costs."""
    return all(
        costs.get(c.key, float("inf")) <= c.limit * margins.get(c.key, 1.0) for c in constraints
    )  # a cost that is not known breaks its limit
