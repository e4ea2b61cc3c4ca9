"""A whole search by name: parts of the lower rooms put together with a schedule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.cost import Constraint
from archscout.core.estimator import Estimator
from archscout.core.space import Space
from archscout.core.strategy import Strategy
from archscout.core.task import Task
from archscout.core.trial import Trial


class Run(Protocol):
    """What a method gets: it evaluates, checkpoints, reports, and knows the budget.

    A method is replayed from its start when a search is resumed: `evaluate` answers from the store what it has
    answered before, and `decide` repeats a decision that depended on the clock.
    """

    space: Space
    task: Task
    seed: int
    workers: int
    constraints: Sequence[Constraint]
    estimator: str
    epochs: int
    """What full training means for this task, in epochs."""

    def rng(self, *keys: str | int) -> np.random.Generator:
        """A named stream of this search's seed."""

    def evaluate(
        self,
        architectures: Sequence[Architecture],
        estimator: Estimator | str,
        *,
        fidelity: int | None = None,
        phase: str = "search",
    ) -> list[Trial]:
        """One trial an architecture, in order, computed by the workers and committed one by one.

        Equal networks (same canonical form) are paid for once. Fewer trials come back where the budget ends first.
        """

    def follow(
        self,
        strategy: Strategy,
        estimator: Estimator | str,
        *,
        fidelity: int | None = None,
        phase: str = "search",
        trials: int | None = None,
    ) -> list[Trial]:
        """Let a strategy propose until `trials` are done or the budget ends; what breaks a constraint is not paid for."""

    def admit(self, architectures: Iterable[Architecture], count: int) -> list[Architecture]:
        """The first `count` that break no constraint, in order; the rejected ones are counted."""

    def seconds_left(self) -> float:
        """Of the budget's search part (infinite where the budget is in trials)."""

    def trials_left(self) -> float:
        """Paid evaluations left (infinite where the budget is in time)."""

    def decide(self, key: str, make: Callable[[], Any]) -> Any:
        """A JSON value that is made once and repeated on resume."""

    def note(self, key: str, value: Any) -> None:
        """A JSON value for the report."""


class Method(ABC):
    """A published system, or a combination: returns its candidates for full training, best first."""

    name: str = "method"

    @abstractmethod
    def search(self, run: Run) -> list[Trial]:
        """Search with the means of `run`; the search then trains, measures and exports what comes back, best first."""
