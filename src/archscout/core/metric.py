"""What a task measures: its name, which direction is better, in what unit, and how it is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, Self, TypeVar

from archscout.core.errors import UsageError

PARTS_OF_ONE = ("share", "error rate")
"""Units of numbers from 0 to 1, which are written in percent."""

T = TypeVar("T")


@dataclass(frozen=True)
class Metric:
    """What `Task.measure` returns. It stands for its name in text: `f"valid_{metric}"`.

    Args:
        name: a word that can be a key: `accuracy`, `root_mean_squared_error`.
        direction: whether a `higher` or a `lower` value is better.
        unit: `share` and `error rate` are parts of one, written in percent; any other is written after the number
            (`mm`), and none where it is empty.
        digits: decimals of a percentage, significant digits of any other number.

    Raises:
        UsageError: for a name that is no single word, or another direction.

    >>> Metric("accuracy", unit="share", digits=1).text(0.98712)
    '98.7%'
    >>> Metric("root_mean_squared_error", "lower", "mm").text(12.3456)
    '12.3 mm'
    """

    name: str
    direction: Literal["higher", "lower"] = "higher"
    unit: str = ""
    digits: int = 3

    def __post_init__(self) -> None:
        if not self.name or not self.name.replace("_", "").isalnum():
            raise UsageError(f"'{self.name}' cannot be the name of a metric: write one word, as in mean_error.")
        if self.direction not in ("higher", "lower"):
            raise UsageError(
                f"the direction of metric '{self.name}' is '{self.direction}': it must be higher or lower."
            )

    def __str__(self) -> str:
        return self.name

    @classmethod
    def of(cls, metric: Self | str) -> Self:
        """A metric as it is; of a name that metric, of which a higher value is taken to be better."""
        if not isinstance(metric, str):
            return metric
        return cls("accuracy", unit="share", digits=2) if metric == "accuracy" else cls(metric)

    @property
    def title(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ")

    @property
    def percentage(self) -> bool:
        """Whether values are parts of one."""
        return self.unit in PARTS_OF_ONE

    def oriented(self, value: T) -> T:
        """A value (or an array of them) turned so that higher is better; applied again, the value as it was measured.

        Estimators, strategies and the store know oriented values alone.
        """
        return value if self.direction == "higher" else -value  # type: ignore[operator]

    def better(self, value: float, other: float) -> bool:
        """Whether one value is better than another."""
        return self.oriented(value) > self.oriented(other)

    def standard_error(self, value: float, examples: int) -> float | None:
        """How far chance alone takes a value that was measured on so many examples; None where its unit does not say.

        That of a proportion (Agresti, Coull 1998, with one more of each kind): never zero, also where all are right.

        >>> round(ACCURACY.standard_error(1.0, 8), 3), Metric("mean_error").standard_error(1.0, 8)
        (0.095, None)
        """
        if not self.percentage:
            return None
        share = (min(max(value, 0.0), 1.0) * examples + 1) / (examples + 2)
        return math.sqrt(share * (1 - share) / (examples + 2))

    def text(self, value: float | None) -> str:
        """A measured value for people; a dash where it is not known."""
        if value is None or not math.isfinite(value):
            return "–"
        if self.percentage:
            return f"{value:.{self.digits}%}"
        return f"{value:.{self.digits}g}{' ' * bool(self.unit)}{self.unit}"

    def as_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, described: Mapping[str, Any] | None, name: str) -> Self:
        """The metric that `as_json` wrote; where nothing was, what its name tells."""
        if not isinstance(described, Mapping):
            return cls.of(name)
        known = {key: described[key] for key in ("direction", "unit", "digits") if key in described}
        return cls(name, **known)


ACCURACY = Metric.of("accuracy")
"""The share of examples that are answered rightly."""


class Meter(Protocol):
    """Measures a metric batch by batch, in memory that does not grow with the split."""

    def update(self, outputs: Any, targets: Any) -> None:
        """Add a batch: what the network answered, and what was right."""

    def value(self) -> float:
        """The metric of all that was added; NaN where nothing was."""
