"""Says how good architectures are; higher is better."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from archscout.core.architecture import Architecture
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.core.trial import Estimate, Trial


@dataclass(frozen=True)
class Setting:
    """Where an estimate is made: the space, the task without its test split, a seed, a device.

    `folder` is where an estimator may keep files between calls (weights to continue from); None where it may not.
    """

    space: Space
    task: Task
    seed: int = 0
    device: str = "cpu"
    folder: Path | None = None


TRAINING = "trained"
"""The name of real training, by which all else is judged."""


PAUSED = "paused"
"""The name of full trainings that pause and are continued: a budget in trials counts each by its share of epochs."""


FOLDS = "folds"
"""The name of cross-validation, before its parameters."""


def is_cross_validation(name: str) -> bool:
    """Whether an estimator of this name trains networks of which none is kept.

    >>> is_cross_validation("folds:count=3"), is_cross_validation("trained")
    (True, False)
    """
    return name.partition(":")[0] == FOLDS


def is_training(name: str) -> bool:
    """Whether an estimator of this name, parameters included, is real training of single networks.

    >>> is_training("trained"), is_training("trained:epochs=3"), is_training("naswot")
    (True, True, False)
    """
    return name.partition(":")[0] == TRAINING


class Estimator(ABC):
    """One interface for a zero-cost score, a predictor, a learning curve, a supernet, a table and real training.

    Lifecycle: made by name, perhaps `fit` on finished trials, then `estimate` any number of times, in any process.
    An estimate depends only on (architecture, setting, fidelity, what it was fitted on), never on what was asked
    before.
    """

    name: str = "estimator"

    needs: ClassVar[frozenset[str]] = frozenset()
    """Of: "inputs", "targets", "gradients", "training" (spends epochs), "history" (must be fitted)."""

    keeps_time: ClassVar[bool] = False
    """Whether it ends by itself within the seconds that it was given, so that nobody need stop it."""

    def fit(self, trials: Sequence[Trial], setting: Setting) -> None:  # noqa: B027 - most learn nothing
        """Learn from finished trials."""

    def together(self, architectures: Sequence[Architecture], setting: Setting) -> int:
        """How many of such architectures are best given to one call of `estimate`."""
        return 8

    @abstractmethod
    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        """One estimate an architecture, in order; NaN with a reason where undefined, never an exception for that."""
