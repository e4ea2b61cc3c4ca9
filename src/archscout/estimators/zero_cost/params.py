"""The number of parameters as a score: what every other score has to beat."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject


@register("estimator", "params")
class Params(Score):
    """Number of parameters (no pass): a control, for larger networks tend to be better."""

    def __init__(self) -> None:
        self.name = "params"

    def score(self, subject: Subject) -> float:
        return float(sum(parameter.numel() for parameter in subject.blueprint.parameters()))
