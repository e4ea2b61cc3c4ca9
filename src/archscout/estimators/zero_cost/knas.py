"""The mean of the Gram matrix of gradients."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch


@register("estimator", "knas")
class Knas(Score):
    """KNAS, the paper's form: mean of the Gram matrix of the examples' gradients (1 forward and backward pass, labels).

    score = 1/N^2 sum_ij <g_i, g_j>, g_i the gradient of the loss of example i with respect to all weights of
    convolutions and linear layers. That mean is |mean_i g_i|^2, so the gradient of the mean loss is all that it takes:
    the pass of `grad_norm`.

    Source: Xu, Zhao, Lin, Gao, Sun, Yang 2021, "KNAS: Green Neural Architecture Search", arXiv 2111.13293. Their code
    computes something else: see `knas_code`.

    Args:
        batch: examples.
    """

    needs = frozenset({"inputs", "targets", "gradients"})
    uses = frozenset({"loss"})

    def __init__(self, batch: int = 64) -> None:
        self.name = "knas"
        self.batch = check_batch(batch, self.name)

    def score(self, subject: Subject) -> float:
        gradients = subject.gradients(self.batch).gradients.values()
        return sum(float((gradient.detach().double() ** 2).sum()) for gradient in gradients)
