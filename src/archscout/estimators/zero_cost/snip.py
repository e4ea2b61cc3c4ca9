"""What the loss would lose with each weight of a network at initialisation."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch


@register("estimator", "snip")
class Snip(Score):
    """SNIP: sum over weights of |weight x gradient of the loss| (1 forward and backward pass, labels).

    score = sum |theta g| over the weights of convolutions and linear layers.

    Source: Lee, Ajanthan, Torr 2019, "SNIP: Single-shot Network Pruning based on Connection Sensitivity", arXiv
    1810.02340; as a score of architectures Abdelfattah et al. 2021, arXiv 2101.08134. Their code multiplies each weight
    by a mask of ones and takes the mask's gradient, which is theta g.

    Args:
        batch: examples.
    """

    needs = frozenset({"inputs", "targets", "gradients"})
    uses = frozenset({"loss"})

    def __init__(self, batch: int = 64) -> None:
        self.name = "snip"
        self.batch = check_batch(batch, self.name)

    def score(self, subject: Subject) -> float:
        gradients = subject.gradients(self.batch)
        pairs = ((weight.detach(), gradients.gradients[name].detach()) for name, weight in gradients.weights.items())
        return sum(float((weight * gradient).abs_().sum()) for weight, gradient in pairs)
