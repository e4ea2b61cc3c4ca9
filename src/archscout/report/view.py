"""What the sections of the page share: the report, its trials, and what was worked out from both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archscout.core.estimator import is_training
from archscout.core.metric import Metric
from archscout.report import candidates, panels
from archscout.report.candidates import Course, Network, TrialLike
from archscout.report.quantities import finite
from archscout.report.style import clean


@dataclass(frozen=True)
class View:
    """A report, its trials, and what was worked out from both."""

    report: Mapping[str, Any]
    trials: Sequence[TrialLike]
    estimator: str
    metric: Metric
    course: Course
    networks: Sequence[Network]

    @classmethod
    def of(cls, report: Mapping[str, Any], trials: Sequence[TrialLike]) -> View:
        """Work out the course of the search and what is known of each network."""
        ordered = sorted(trials, key=lambda trial: trial.number)
        estimator = candidates.main_estimator(ordered, report)
        workers = int(finite((report.get("conditions") or {}).get("workers")) or 1)
        course = candidates.course(ordered, estimator, workers=workers, full=candidates.full_epochs(report))
        networks = candidates.networks(ordered, report, estimator)
        return cls(report, ordered, estimator, candidates.metric_of(report), course, networks)

    @property
    def winner(self) -> Mapping[str, Any]:
        return self.report.get("winner") or {}

    @property
    def limits(self) -> dict[str, float]:
        rows = self.report.get("constraints") or []
        return {str(row["key"]): float(row["limit"]) for row in rows if finite(row.get("limit")) is not None}

    @property
    def value_title(self) -> str:
        trained = not self.estimator or is_training(self.estimator)
        return f"{self.metric.title} on the validation data" if trained else f"score by {clean(self.estimator, 40)}"

    @property
    def value_metric(self) -> Metric:
        """How values of trials are written: other estimators than training give plain numbers."""
        return self.metric if (not self.estimator or is_training(self.estimator)) else Metric("score")

    @property
    def panels(self) -> list[Any]:
        """The panels of the task, also of a report that was written before there were any."""
        written = self.report.get("panels")
        return written if isinstance(written, list) else panels.of_older(self.report)

    @property
    def right(self) -> tuple[int, int]:
        """How many test examples are right, and how many there are; none where the task tells no confusion."""
        confusion = panels.confusion_of(self.panels)
        return sum(row[i] for i, row in enumerate(confusion)), sum(map(sum, confusion))
