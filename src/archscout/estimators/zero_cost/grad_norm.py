"""How strongly the loss pulls at the weights of a network at initialisation."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch


@register("estimator", "grad_norm")
class GradNorm(Score):
    """Sum over layers of the Euclidean norm of the gradient of the loss (1 forward and backward pass, labels).

    score = sum_l ||g_l||_2 over the weights of convolutions and linear layers, g_l the gradient of the mean loss of the
    batch. The pass is shared with `snip`, `plain`, `fisher`, `grasp`, `zico` and `knas`.

    Source: Abdelfattah, Mehrotra, Dudziak, Lane 2021, "Zero-Cost Proxies for Lightweight NAS", arXiv 2101.08134. Their
    code can split a batch to save memory, which changes the statistics of batch normalisation; here it never is.

    Args:
        batch: examples.
    """

    needs = frozenset({"inputs", "targets", "gradients"})
    uses = frozenset({"loss"})

    def __init__(self, batch: int = 64) -> None:
        self.name = "grad_norm"
        self.batch = check_batch(batch, self.name)

    def score(self, subject: Subject) -> float:
        return sum(float(gradient.detach().norm()) for gradient in subject.gradients(self.batch).gradients.values())
