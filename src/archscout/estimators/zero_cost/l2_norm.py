"""The size of the weights of a network at initialisation."""

from __future__ import annotations

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject


@register("estimator", "l2_norm")
class L2Norm(Score):
    """Sum over layers of the Euclidean norm of their weights (no pass, no data): a control.

    score = sum_l ||theta_l||_2 over the weights of convolutions and linear layers (all parameters of two or more
    dimensions). With PyTorch's own initialisation ||theta_l||_2 is close to sqrt(outputs of the layer / 3), so this
    counts layers by width.

    Source: Abdelfattah, Mehrotra, Dudziak, Lane 2021, arXiv 2101.08134.
    """

    def __init__(self) -> None:
        self.name = "l2_norm"

    def score(self, subject: Subject) -> float:
        norms = [float(weight.detach().norm()) for weight in subject.network.parameters() if weight.ndim > 1]
        if not norms:
            raise UndefinedScore("the network has no weights")
        return sum(norms)
