"""The least eigenvalue of the tangent kernel."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch
from archscout.estimators.zero_cost.kernel import eigenvalues, tangent_kernel
from archscout.estimators.zero_cost.te_nas_ntk import check_repeats


@register("estimator", "eigen_nas")
class EigenNas(Score):
    """Eigen-NAS: the least eigenvalue of the tangent kernel (1 forward, N backward passes, no labels).

    score = lambda_min(Theta) / N, Theta as for `te_nas_ntk` and made once for both; a mean over `repeats` draws of
    weights and examples. The generalisation bound that it stands for falls as 1 / lambda_min.

    Source: Zhu, Liu, Chrysos, Cevher 2022, "Generalization Properties of NAS under Activation and Skip Connection
    Search", arXiv 2209.07238. Their normalisation of Theta was not at hand; dividing by N changes no order. An
    eigenvalue below the precision of float32 makes the score undefined.

    Args:
        batch: examples.
        repeats: draws.
    """

    needs = frozenset({"inputs", "gradients"})

    def __init__(self, batch: int = 72, repeats: int = 3) -> None:
        self.name = "eigen_nas"
        self.size = check_batch(batch, self.name)
        self.repeats = check_repeats(repeats, self.name)

    def score(self, subject: Subject) -> float:
        kernels = (tangent_kernel(subject, self.size, number) for number in range(self.repeats))
        return sum(float(eigenvalues(kernel)[0]) / len(kernel) for kernel in kernels) / self.repeats
