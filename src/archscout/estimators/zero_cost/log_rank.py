"""Several scores as one, by logarithmic ranks."""

from __future__ import annotations

from archscout.core.errors import UsageError
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Ensemble
from archscout.estimators.zero_cost.ranks import log_rank_sum


@register("estimator", "log_rank")
class LogRank(Ensemble):
    """Sum of logarithmic ranks of several scores among a reference sample of the space.

    score = sum over members of log rank, rank the share of the reference that the architecture beats. This one line is
    what a new score should be compared with.

    Source: the rule is that of Lee, Ham 2024, arXiv 2403.19232 (`az_nas`); the choice of members is ours.

    Args:
        members: names of scores, with a plus between them.
        reference: architectures drawn to rank against.
    """

    def __init__(self, members: str = "naswot+jacob_cov+synflow+params", reference: int = 64) -> None:
        self.name = "log_rank"
        self.members = tuple(name for name in members.split("+") if name)
        self.reference = reference
        if not self.members or reference < 2:
            raise UsageError(
                "estimator 'log_rank' needs members with a plus between them, and a reference of 2 or more."
            )

    combine = staticmethod(log_rank_sum)
