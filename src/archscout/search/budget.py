"""What a search may spend: time or trials."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from archscout.core.errors import UsageError

_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Budget:
    """Wall-clock seconds, with everything included, or paid evaluations, without the training of the finalists."""

    seconds: float = math.inf
    trials: float = math.inf

    @classmethod
    def parse(cls, text: str) -> Budget:
        """`5m`, `90s`, `1.5h`, `200trials`. Raises `UsageError`.

        >>> Budget.parse("5m").seconds
        300.0
        """
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-z]+)\s*", text.lower())
        unit = match.group(2) if match else ""
        if match is None or unit not in {*_SECONDS, "trial", "trials"}:
            raise UsageError(f"'{text}' is not a budget: write a time (90s, 5m, 1h) or a number of trials (200trials).")
        amount = float(match.group(1))
        if amount <= 0:
            raise UsageError(f"the budget '{text}' must be above zero.")
        if unit.startswith("trial"):
            if amount != int(amount):
                raise UsageError(f"the budget '{text}' must be a whole number of trials.")
            return cls(trials=int(amount))
        return cls(seconds=amount * _SECONDS[unit])

    def __str__(self) -> str:
        if math.isfinite(self.trials):
            return f"{int(self.trials)} trials"
        return "without limit" if math.isinf(self.seconds) else f"{self.seconds:g} s"
