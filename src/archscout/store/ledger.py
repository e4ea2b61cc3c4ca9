"""What of a budget in trials is spent: whole evaluations, and trainings that pause by their share of the epochs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable


class Ledger:
    """Counts each evaluation once, and each epoch of a paused training once, however often they are asked for.

    >>> ledger = Ledger()
    >>> ledger.pay(["naswot@None|a", "naswot@None|a"])
    >>> ledger.train("b", 3), ledger.train("b", 9)
    (None, None)
    >>> ledger.spent(18), ledger.missing("b", 12)
    (1.5, 3)
    """

    def __init__(self) -> None:
        self._whole: set[str] = set()
        self._epochs: dict[str, int] = {}

    def pay(self, keys: Iterable[str]) -> None:
        """Evaluations that count as one trial each."""
        self._whole.update(keys)

    def missing(self, canonical: str, epochs: int) -> int:
        """How many more epochs it takes until a network has been trained for so many."""
        return max(0, epochs - self._epochs.get(canonical, 0))

    def train(self, canonical: str, epochs: int) -> None:
        """A paused training has come so far."""
        self._epochs[canonical] = max(epochs, self._epochs.get(canonical, 0))

    def train_all(self, keys: Iterable[str]) -> None:
        """Paused trainings have come so far, as the keys of their trials say: `paused@3|CANONICAL`."""
        for key in keys:
            self.train(*_parsed(key))

    def affordable(self, keys: Iterable[str], left: float) -> int:
        """How many of these paused trainings, the first of them, take no more than the epochs that are left."""
        missing = itertools.accumulate(self.missing(*_parsed(key)) for key in keys)
        return sum(epochs <= left + 1e-6 for epochs in missing)

    def spent(self, full: int) -> float:
        """Trials so far, where a full training takes so many epochs."""
        return len(self._whole) + sum(self._epochs.values()) / full


def _parsed(key: str) -> tuple[str, int]:
    level, _, canonical = key.partition("|")
    return canonical, int(level.rpartition("@")[2])
