"""What of a budget in trials is spent: whole evaluations, and trainings that pause by their share of the epochs."""

from __future__ import annotations

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

    def spent(self, full: int) -> float:
        """Trials so far, where a full training takes so many epochs."""
        return len(self._whole) + sum(self._epochs.values()) / full
