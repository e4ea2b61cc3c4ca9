"""The sum of weight times gradient, sign and all."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch


@register("estimator", "plain")
class Plain(Score):
    """Sum over weights of weight x gradient of the loss, with its sign (1 forward and backward pass, labels).

    score = sum theta g over the weights of convolutions and linear layers. A weight before batch normalisation has
    theta . g = 0 up to rounding and the normalisation's epsilon (scaling it changes nothing), so that what is left is
    mostly the classifier's share.

    Source: Mozer, Smolensky 1989, "Skeletonization"; as a score of architectures Abdelfattah et al. 2021, arXiv
    2101.08134.

    Args:
        batch: examples.
    """

    needs = frozenset({"inputs", "targets", "gradients"})
    uses = frozenset({"loss"})

    def __init__(self, batch: int = 64) -> None:
        self.name = "plain"
        self.batch = check_batch(batch, self.name)

    def score(self, subject: Subject) -> float:
        gradients = subject.gradients(self.batch)
        pairs = ((weight.detach(), gradients.gradients[name].detach()) for name, weight in gradients.weights.items())
        return sum(float((weight.double() * gradient).sum()) for weight, gradient in pairs)
