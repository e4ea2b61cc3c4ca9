"""How well the tangent kernel of a network predicts labels it has not seen."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.epe_nas import class_labels
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch
from archscout.estimators.zero_cost.kernel import gram, thin_network
from archscout.estimators.zero_cost.te_nas_ntk import check_repeats

_RIDGE = 1e-6


@register("estimator", "teg_mse")
class TegMse(Score):
    """TEG-NAS's generalisation: minus the error of kernel regression with the tangent kernel (2 N backward, labels).

    With K the tangent kernel of two batches (x, Y) and (x', Y') together, Y one-hot and centred by class, P = K_x'x
    K_xx^-1 Y and score = -mean_i sum_c (P - Y')^2_ic; the mean over `repeats` draws. The kernel takes the weights of
    all layers but the first and the last: those of the cells.

    Source: Chen, Gong, Wu, et al. 2021, "Understanding and Accelerating Neural Architecture Search with Training-Free
    and Theory-Grounded Metrics", arXiv 2108.11939. Their code inverts K_xx as it is, singular for cells without
    convolutions; here K_xx + 1e-6 tr(K_xx) / N is solved for. Both batches go through the network as one here, so that
    they share the statistics of batch normalisation.

    Args:
        batch: examples of each of the two batches.
        repeats: draws; the original's 3 by default.
    """

    needs = frozenset({"inputs", "targets", "gradients"})

    def __init__(self, batch: int = 64, repeats: int = 3) -> None:
        self.name = "teg_mse"
        self.size = check_batch(batch, self.name)
        self.repeats = check_repeats(repeats, self.name)

    def score(self, subject: Subject) -> float:
        class_labels(subject, self.size)
        subject.apart(self.size, 1)
        return -sum(self._error(subject, number) for number in range(self.repeats)) / self.repeats

    def _error(self, subject: Subject, number: int) -> float:
        (x, y), (other, targets) = subject.inputs(self.size, 2 * number), subject.inputs(self.size, 2 * number + 1)
        kernel = gram(thin_network(subject, number), torch.cat([x, other]), inner=True)
        seen = len(x)
        trace = float(kernel[:seen, :seen].trace())
        if not trace > 0:
            raise UndefinedScore("the outputs depend on no weight of the cells")
        ridge = torch.eye(seen, dtype=kernel.dtype) * (_RIDGE * trace / seen)
        solved = torch.linalg.solve(kernel[:seen, :seen] + ridge, _one_hot(y, subject))
        error = kernel[seen:, :seen] @ solved - _one_hot(targets, subject)
        return float((error**2).sum(1).mean())


def _one_hot(y: Tensor, subject: Subject) -> Tensor:
    coded = F.one_hot(y.cpu(), subject.setting.task.outputs).double()
    return coded - coded.mean(0)
