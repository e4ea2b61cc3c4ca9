"""Several scores as one, by logarithmic ranks."""

from __future__ import annotations

import numpy as np

from archscout.core.errors import UsageError
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Ensemble
from archscout.estimators.zero_cost.ranks import ranks


@register("estimator", "log_rank")
class LogRank(Ensemble):
    """Sum of logarithmic ranks of several scores among a reference sample of the space.

    score = sum over members of weight * log rank, rank the share of the reference that the architecture beats. With
    weights of one it is what a new score should be compared with.

    Source: the rule is that of Lee, Ham 2024, arXiv 2403.19232 (`az_nas`); the choice of members is ours.

    Args:
        members: names of scores, with a plus between them; a weight other than 1 before a name, as in `2*params`.
        reference: architectures drawn to rank against.
    """

    def __init__(self, members: str = "naswot+jacob_cov+synflow+params", reference: int = 64) -> None:
        self.name = "log_rank"
        terms = [term.rpartition("*") for term in members.split("+") if term]
        if not terms or reference < 2:
            raise UsageError(
                "estimator 'log_rank' needs members with a plus between them, and a reference of 2 or more."
            )
        try:
            self.weights = np.array([float(weight) if sign else 1.0 for weight, sign, _ in terms])
        except ValueError as error:
            raise UsageError(f"a weight in '{members}' is no number: write members as in 2*params+naswot.") from error
        self.members = tuple(name for _, _, name in terms)
        self.reference = reference

    def combine(self, values: np.ndarray, reference: np.ndarray) -> np.ndarray:
        return np.asarray(np.log(ranks(values, reference)) @ self.weights)
