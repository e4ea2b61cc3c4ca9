"""The number of multiply-adds as a score: what every other score has to beat."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject


@register("estimator", "macs")
class Macs(Score):
    """Multiply-adds for one example (no pass): a control, for larger networks tend to be better."""

    def __init__(self) -> None:
        self.name = "macs"

    def score(self, subject: Subject) -> float:
        return float(subject.graph.macs)
