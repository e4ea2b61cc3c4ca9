"""What a search may spend: time or trials."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from typing import Any

from archscout.core import options
from archscout.core.errors import UsageError

_UNITS = {
    1.0: ("", "s", "sec", "second", "seconds"), 60.0: ("m", "min", "minute", "minutes"),
    3600.0: ("h", "hour", "hours"), 86400.0: ("d", "day", "days"),
}  # fmt: skip
_SECONDS = {unit: seconds for seconds, units in _UNITS.items() for unit in units}
_MOST_SECONDS, _MOST_TRIALS = 100 * 365 * 86400.0, 10**12
_PART = re.compile(r"([0-9]+)\s*([a-z]+)")
_PARTS = re.compile(r"(?:[0-9]+\s*[a-z]+\s*){2,4}")
_FORM = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)\s*([a-z]*)")


class BudgetTooSmall(UsageError):  # noqa: N818 - what it says is plainer
    """The budget does not pay for one trained network."""


@dataclass(frozen=True)
class Budget:
    """Wall-clock seconds, with everything included, or paid evaluations, without the training of the finalists."""

    seconds: float = math.inf
    trials: float = math.inf

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and self.trials > 0):  # NaN neither
            raise UsageError("a budget must be above zero.")

    @classmethod
    def read(cls, value: Any, default: str = "5m") -> Budget:
        """A budget in any natural form: text, a number of seconds, a `timedelta`, a `Budget`; None is the default.

        Raises `UsageError`.

        >>> Budget.read(90).seconds, Budget.read(None, "200trials").trials
        (90.0, 200)
        """
        if isinstance(value, Budget):
            return value
        if value is None or isinstance(value, str):
            return cls.parse(default if value is None else value)
        seconds = options.duration(value, "the budget")
        if seconds is None:
            what = "the budget (a number is seconds; text such as '5m' or '200trials' is more)"
            seconds = options.number(value, what)
        return cls(seconds=_within(seconds, _MOST_SECONDS, options.shown(value)))

    @classmethod
    def parse(cls, text: str) -> Budget:
        """`5m`, `90s`, `1.5h`, `1h30m`, `60` (seconds), `200trials`. Raises `UsageError`.

        >>> Budget.parse("5m").seconds
        300.0
        """
        written = text.strip().lower() if len(text) <= options.LONGEST else ""
        if (seconds := _of_parts(written)) is not None:
            return cls(seconds=_within(seconds, _MOST_SECONDS, options.shown(text)))
        match = _FORM.fullmatch(written)
        unit = match.group(2) if match else ""
        if match is None or unit not in {*_SECONDS, "trial", "trials"}:
            raise UsageError(
                f"{options.shown(text)} is not a budget: write a time (90s, 5m, 1h) or a number of trials (200trials)."
            )
        amount = float(match.group(1))
        if unit.startswith("trial"):
            if amount != int(amount):
                raise UsageError(f"the budget '{text}' must be a whole number of trials.")
            return cls(trials=int(_within(amount, _MOST_TRIALS, options.shown(text))))
        return cls(seconds=_within(amount * _SECONDS[unit], _MOST_SECONDS, options.shown(text)))

    def __str__(self) -> str:
        if math.isfinite(self.trials):
            return f"{int(self.trials)} trials"
        return "without limit" if math.isinf(self.seconds) else f"{self.seconds:g} s"


def _of_parts(text: str) -> float | None:
    """The seconds of a time in several units, the larger first, each once (`1h30m`); None for every other text."""
    if not _PARTS.fullmatch(text):
        return None
    parts = [(float(amount), _SECONDS.get(unit, math.nan)) for amount, unit in _PART.findall(text)]
    units = [seconds for _, seconds in parts]
    if not all(larger > smaller for larger, smaller in itertools.pairwise(units)):  # NaN neither
        return None
    return sum(amount * seconds for amount, seconds in parts)


def _within(amount: float, most: float, shown: str) -> float:
    if amount <= 0:
        raise UsageError(f"the budget {shown} must be above zero.")
    if amount > most:
        raise UsageError(f"the budget {shown} is more than anybody waits for: give a smaller one.")
    return amount
