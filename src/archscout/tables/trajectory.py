"""How a search of a table went, against the truth that the table has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.trial import Trial


@dataclass(frozen=True)
class Trajectory:
    """How a simulated search went: one entry a training, in the order in which they were paid for.

    `trials` have the values that the method saw (higher is better). The arrays have the table's own numbers:
    `seconds` are simulated, `epochs` trained and `spent` of a budget in trials, all since the start; `values` the true
    value of the best network so far (best by what the method saw, among its longest trainings), `regret` how far that
    is from `optimum`, the best of the table.
    """

    table: str
    metric: str
    method: str
    seed: int
    budget: str
    optimum: float
    winner: Architecture
    trials: Sequence[Trial]
    seconds: np.ndarray
    epochs: np.ndarray
    spent: np.ndarray
    incumbents: Sequence[str]
    values: np.ndarray
    rejected: int
    notes: Mapping[str, Any]

    @cached_property
    def regret(self) -> np.ndarray:
        """Distance from the optimum after each training, 0 at best; NaN before the first that came to a value."""
        return np.asarray(np.abs(self.optimum - self.values))

    def regret_after(self, trials: int) -> float:
        """The regret when so many trials had been spent, at most; NaN before the first that came to a value."""
        place = int(np.searchsorted(self.spent, trials + 1e-6, side="right")) - 1
        return float(self.regret[place]) if place >= 0 else math.nan

    @property
    def evaluations_to_optimum(self) -> int | None:
        """Trainings until the best network was found, those that pause by their epochs; None where it was not."""
        at_optimum = np.flatnonzero(self.regret == 0)
        return math.ceil(self.spent[at_optimum[0]] - 1e-6) if len(at_optimum) else None


def best_so_far(trials: Sequence[Trial]) -> list[Trial | None]:
    """After each trial the best among the longest trainings so far; None before the first that came to a value."""
    best: Trial | None = None
    incumbents = []
    for trial in trials:
        if trial.defined and (best is None or _order(trial) < _order(best)):
            best = trial
        incumbents.append(best)
    return incumbents


def _order(trial: Trial) -> tuple[float, tuple[float, float, int]]:
    """Longer trainings first: they say more; then as trials are ranked."""
    return -(trial.fidelity or 0), trial.rank
