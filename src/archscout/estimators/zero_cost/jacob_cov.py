"""How differently the outputs hang on the inputs of different examples."""

from __future__ import annotations

import torch
from torch import Tensor

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch

_SMALL = 1e-5


@register("estimator", "jacob_cov")
class JacobCov(Score):
    """Correlation of the input Jacobians of a batch's examples (1 forward and backward pass, no labels).

    score = -sum_i [log(v_i + k) + 1 / (v_i + k)], k = 1e-5, with v the eigenvalues of the correlation matrix of the
    rows of J, and row i of J the gradient of the sum of all outputs with respect to input i. Through batch
    normalisation the outputs of one example depend on the others; all that is in J. Largest, at -N, where the rows are
    uncorrelated.

    Source: Mellor, Turner, Storkey, Crowley, the first version of arXiv 2006.04647 (2020); named by Abdelfattah et al.
    2021, arXiv 2101.08134. Their code takes eigenvalues with a solver for matrices that are not symmetric, which may
    return complex numbers. An example whose row is constant has no correlation: the score is undefined, where their
    code returns NaN.

    Args:
        batch: examples.
    """

    needs = frozenset({"inputs", "gradients"})
    uses = frozenset({"jacobian"})

    def __init__(self, batch: int = 64) -> None:
        self.name = "jacob_cov"
        self.batch = check_batch(batch, self.name)

    def score(self, subject: Subject) -> float:
        values = torch.linalg.eigvalsh(correlation(subject.jacobian(self.batch))) + _SMALL
        return -float((values.log() + 1 / values).sum())


def correlation(rows: Tensor) -> Tensor:
    """The correlation matrix of the rows (float64). Raises `UndefinedScore` where a row is constant."""
    centred = rows.double()
    centred = centred - centred.mean(1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True)
    if not bool((norms > 0).all()):
        raise UndefinedScore("the outputs do not depend on the input of some example")
    centred /= norms
    return (centred @ centred.T).clamp_(-1, 1)
