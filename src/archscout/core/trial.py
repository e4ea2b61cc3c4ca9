"""One evaluation and its outcome."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

from archscout.core.architecture import Architecture

Status = Literal["completed", "failed", "rejected"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an estimator says of one architecture: higher is better, NaN where it is undefined.

    `curve` is one row an epoch where something was trained; `std` the uncertainty where the estimator has one;
    `reason` says why a value is NaN.
    """

    value: float
    seconds: float = 0.0
    std: float | None = None
    curve: tuple[Mapping[str, float], ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """One evaluation as it is stored: `number` is its place in the order of asking.

    `costs` maps the keys of the costs that are known (`params`, `latency_ms`, ...) to their values.
    """

    number: int
    architecture: Architecture
    canonical: str
    estimator: str
    fidelity: int | None
    status: Status
    value: float = math.nan
    costs: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    std: float | None = None
    curve: tuple[Mapping[str, float], ...] = ()
    phase: str = ""
    reason: str = ""
    seed: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rank(self) -> tuple[float, float, int]:
        """Sorts the best first: by value, then by the lower validation loss (accuracies tie), then by number."""
        return (-self.value if self.defined else math.inf, self.loss, self.number)

    @property
    def loss(self) -> float:
        """The lowest validation loss of the curve; infinite where there is none."""
        return min((row["valid_loss"] for row in self.curve if "valid_loss" in row), default=math.inf)

    @property
    def defined(self) -> bool:
        """Whether the value can be compared with others."""
        return self.status == "completed" and math.isfinite(self.value)


@dataclass(frozen=True, slots=True)
class Pending:
    """A proposal whose trial has not been told yet."""

    architecture: Architecture
    canonical: str
    fidelity: int | None = None


class History(Sequence[Trial]):
    """Finished trials in the order of asking, with the canonical forms seen so far at hand.

    `pending` are the proposals that were made after the last of them, in the order of asking: what is under way.
    """

    def __init__(self, trials: Iterable[Trial] = (), pending: Sequence[Pending] = ()) -> None:
        self._trials: list[Trial] = []
        self.seen: set[str] = set()
        self.pending = pending
        for trial in trials:
            self.append(trial)

    def append(self, trial: Trial) -> None:
        """Add the next trial."""
        self._trials.append(trial)
        self.seen.add(trial.canonical)

    @overload
    def __getitem__(self, index: int) -> Trial: ...
    @overload
    def __getitem__(self, index: slice) -> list[Trial]: ...
    def __getitem__(self, index: int | slice) -> Trial | list[Trial]:
        return self._trials[index]

    def __len__(self) -> int:
        return len(self._trials)

    def __iter__(self) -> Iterator[Trial]:  # what a sequence has, but not one index at a time
        return iter(self._trials)
