"""How much the loss hangs on the channels of a network at initialisation."""

from __future__ import annotations

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch


@register("estimator", "fisher")
class Fisher(Score):
    """Fisher information of channels at initialisation (1 forward and backward pass, labels).

    score = sum over the output channels of convolutions and linear layers of (weights of the channel) x 1/2 mean_i
    (sum over places of a da)^2, with a the output and da the gradient of the mean loss there.

    Source: Theis, Korshunova, Tejani, Huszar 2018, "Faster gaze prediction with dense networks and Fisher pruning",
    arXiv 1801.05787; Turner et al. 2020, "BlockSwap", arXiv 1906.04113; as a score of architectures Abdelfattah et al.
    2021, arXiv 2101.08134. The factor (weights of the channel) is in their code, which spreads the value of a channel
    over its weights before it sums; it is no part of the formula in the papers.

    Args:
        batch: examples.
    """

    needs = frozenset({"inputs", "targets", "gradients"})
    uses = frozenset({"loss", "channels"})

    def __init__(self, batch: int = 64) -> None:
        self.name = "fisher"
        self.batch = check_batch(batch, self.name)

    def score(self, subject: Subject) -> float:
        gradients = subject.gradients(self.batch)
        saliency = gradients.saliency
        if gradients.unknown:
            raise UndefinedScore(gradients.unknown)
        if not saliency:
            raise UndefinedScore("the network has no convolution or linear layer in it")
        return sum(weights * float(squares.double().sum()) / 2 for squares, weights in saliency)
