"""How evenly a network can be trained: the condition number of its tangent kernel."""

from __future__ import annotations

import math
import statistics

from archscout.core.errors import UndefinedScore, UsageError
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch
from archscout.estimators.zero_cost.kernel import check_shared, eigenvalues, tangent_kernel


@register("estimator", "te_nas_ntk")
class TeNasNtk(Score):
    """TE-NAS's trainability: minus the log condition number of the tangent kernel (1 forward, N backward passes).

    score = -log(lambda_max / lambda_min) of Theta_ij = <grad z_i, grad z_j> (`archscout.estimators.zero_cost.kernel`),
    on a thin network of 3 channels and 1 cell a stage where the space has such sizes; the median over `repeats` draws
    of weights and examples.

    Source: Chen, Gong, Wang 2021, "Neural Architecture Search on ImageNet in Four GPU Hours", arXiv 2102.11535. Their
    code means to initialise anew for each repeat, but names an initialisation that it does not know, and leaves
    PyTorch's; it takes means of the ratio, whose tail is heavy, and a lambda_min of rounding noise counts there. Where
    lambda_min is below a millionth of lambda_max, the precision of float32, the score is undefined here.

    Args:
        batch: examples; the original's 72 by default.
        repeats: draws; the original's 3 by default.
        shared: whether all architectures are cut out of one supernet of random weights a repeat (TEG-NAS).
    """

    needs = frozenset({"inputs", "gradients"})

    def __init__(self, batch: int = 72, repeats: int = 3, shared: bool = False) -> None:
        self.name = "te_nas_ntk"
        self.size = check_batch(batch, self.name)
        self.repeats, self.shared = check_repeats(repeats, self.name), check_shared(shared, self.name)

    def score(self, subject: Subject) -> float:
        values, reason = [], None
        for number in range(self.repeats):
            try:
                spectrum = eigenvalues(tangent_kernel(subject, self.size, number, shared=self.shared))
                values.append(-math.log(float(spectrum[-1] / spectrum[0])))
            except UndefinedScore as undefined:
                reason = undefined
        if reason is not None and 2 * len(values) <= self.repeats:
            raise reason
        return statistics.median(values)


def check_repeats(repeats: int, name: str) -> int:
    """A number of repeats as a user may give it. Raises `UsageError` for one below 1."""
    if not isinstance(repeats, int) or repeats < 1:
        raise UsageError(f"the repeats of estimator '{name}' must be a whole number above zero, not {repeats}.")
    return repeats
