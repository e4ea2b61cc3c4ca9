"""How pruning a weight would change the flow of gradients."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch


@register("estimator", "grasp")
class Grasp(Score):
    """GraSP: minus the sum over weights of weight x (Hessian x gradient) (1 forward, 1 double backward pass, labels).

    score = -sum theta (H g) over the weights of convolutions and linear layers, H the Hessian of the mean loss.

    Source: Wang, Zhang, Grosse 2020, "Picking Winning Tickets Before Training by Preserving Gradient Flow", arXiv
    2002.07376; as a score of architectures Abdelfattah et al. 2021, arXiv 2101.08134. Their code makes the gradient
    twice, once to multiply by and once to differentiate; it is one tensor, and here it is the one of `grad_norm`.

    Args:
        batch: examples.
    """

    needs = frozenset({"inputs", "targets", "gradients"})
    uses = frozenset({"loss", "curvature"})

    def __init__(self, batch: int = 64) -> None:
        self.name = "grasp"
        self.batch = check_batch(batch, self.name)

    def score(self, subject: Subject) -> float:
        second = subject.curvature(self.batch)
        weights = subject.gradients(self.batch).weights
        return -sum(float((weight.detach().double() * second[name].detach()).sum()) for name, weight in weights.items())
