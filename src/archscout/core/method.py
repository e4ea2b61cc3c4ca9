"""A whole search by name: parts of the lower rooms put together with a schedule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.cost import Constraint
from archscout.core.estimator import Estimator
from archscout.core.space import Space
from archscout.core.strategy import Strategy
from archscout.core.task import Task
from archscout.core.trial import Trial


@dataclass(frozen=True)
class Candidate:
    """An architecture that is known before a search, with what training it takes.

    Args:
        name: of a reference design, or its text.
        architecture: which it is.
        seconds: that an epoch of training takes here.
        macs: multiply-adds of one example.
        timed: whether the seconds were measured, not derived from those of others.
    """

    name: str
    architecture: Architecture
    seconds: float
    macs: float
    timed: bool


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
    objectives: Sequence[str]
    """Keys of the costs to trade against the value; empty where the value alone counts."""
    estimator: str
    """The estimator that the budget's trials are counted in; real training unless the user says otherwise."""
    trains: bool
    """Whether that estimator is real training."""
    epochs: int
    """What full training means in this search, in epochs."""
    cheaper: bool
    """Whether a shorter training takes less of the budget; it does not where trainings are only counted, on a table."""
    share: float
    """Of sampled architectures that meet the constraints (1 where there are none)."""
    device: str
    """Where networks are trained."""
    candidates: Sequence[Candidate]
    """Under a budget of time: what is known before the search, the most promising first."""
    start: Sequence[Trial]
    """What is known before the method begins: trials of a warm start, which were evaluated in this run, and those of an
    earlier one that it may learn from, and that cost nothing."""
    trainings: float
    """How many full trainings of the first of them would fit into the budget (infinite for a budget of trials)."""

    @property
    def folder(self) -> Path:
        """Where the method may keep files between sittings."""

    def rng(self, *keys: str | int) -> np.random.Generator:
        """A named stream of this search's seed."""

    def evaluate(
        self,
        architectures: Sequence[Architecture],
        estimator: Estimator | str,
        *,
        fidelity: int | Sequence[int] | None = None,
        phase: str = "search",
    ) -> list[Trial]:
        """One trial an architecture, in order, computed by the workers and committed one by one.

        `fidelity` is that of all, or one for each. Equal networks (same canonical form) are paid for once. Fewer trials
        come back where the budget ends first.
        """

    def score(
        self, architectures: Sequence[Architecture], names: Sequence[str], *, phase: str = "zero-cost scores"
    ) -> list[list[Trial]]:
        """For each named estimator one trial an architecture, zero-cost scores in passes that they share."""

    def follow(
        self,
        strategy: Strategy,
        estimator: Estimator | str,
        *,
        fidelity: int | None = None,
        phase: str = "search",
        trials: int | None = None,
        seconds: float = ...,
    ) -> list[Trial]:
        """Let a strategy propose until `trials` or `seconds` are spent or the budget ends.

        What breaks a constraint is not paid for. Where the strategy says how long its proposal is trained
        (`Strategy.fidelity`), that goes before `fidelity`.
        """

    def expected_seconds(self, estimator: str, fidelity: int | None, count: int = 1) -> float:
        """What evaluating `count` at once should take by the clock, by what such evaluations have taken so far.

        0 where none has been made.
        """

    def fidelity(self, epochs: int) -> int:
        """How long a training of so many epochs will be: as long, unless a table answers that knows other lengths."""

    def admit(self, architectures: Iterable[Architecture], count: int) -> list[Architecture]:
        """The first `count` that break no constraint, in order; the rejected ones are counted."""

    def screened(self, architectures: Sequence[Architecture]) -> Sequence[Mapping[str, float]]:
        """The costs of each that the constraints and objectives are about, by key."""

    def seconds_left(self) -> float:
        """Of the budget's search part (infinite where the budget is in trials)."""

    def trials_left(self) -> float:
        """Paid evaluations left (infinite where the budget is in time).

        A training that pauses and is continued counts by its share of the epochs of a full one.
        """

    def decide(self, key: str, make: Callable[[], Any]) -> Any:
        """A JSON value that is made once and repeated on resume."""

    def note(self, key: str, value: Any) -> None:
        """A JSON value for the report."""

    def show(self, phase: str, done: float, total: float | None = None) -> None:
        """Tell whoever watches how far the method's own work is; seconds count towards this phase from now on."""

    def say(self, text: str) -> None:
        """One line worth reading for whoever watches."""


class Method(ABC):
    """A published system, or a combination: returns its candidates for full training, best first."""

    name: str = "method"

    plans_final: ClassVar[bool] = False
    """Whether it knows that the winner's final training comes afterwards, and leaves it most of a short budget."""

    simulates: ClassVar[bool] = True
    """Whether trainings that are answered from a table are all that it needs."""

    @abstractmethod
    def search(self, run: Run) -> list[Trial]:
        """Search with the means of `run`; the search then trains, measures and exports what comes back, best first."""
