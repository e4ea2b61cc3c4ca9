"""Five scores as one, with weights that were tuned."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.estimators.zero_cost.log_rank import LogRank


@register("estimator", "rank_blend")
class RankBlend(LogRank):
    """Weighted log-ranks of meco, near, nasgraph, epsilon_log and epsilon (2 forward passes; no labels).

    score = sum over members of weight * log rank among a reference sample of the space (`log_rank`). An architecture
    without a path free of convolutions ranks lowest in `epsilon` alone; `epsilon_log` orders these too.

    The score is ours. Its weights were tuned on CIFAR-10 accuracies of 1,000 architectures of NAS-Bench-201; what it is
    worth on the others and on other data sets is told in `docs/results/training-free.md`
    (`benchmarks/zero_cost/nasbench201.py`). Elsewhere it is untried.

    Args:
        reference: architectures drawn to rank against.
    """

    def __init__(self, reference: int = 64) -> None:
        super().__init__("2*meco+near+nasgraph:expected=true+2*epsilon_log+epsilon", reference)
        self.name = "rank_blend"
