"""How well the tangent kernel of a network predicts labels it has not seen."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.epe_nas import class_labels
from archscout.estimators.zero_cost.harness import Batch, Score, Subject, check_batch
from archscout.estimators.zero_cost.kernel import check_shared, gram, thin_network
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
        shared: whether all architectures are cut out of one supernet of random weights a repeat, as theirs are.
    """

    needs = frozenset({"inputs", "targets", "gradients"})

    def __init__(self, batch: int = 64, repeats: int = 3, shared: bool = False) -> None:
        self.name = "teg_mse"
        self.size = check_batch(batch, self.name)
        self.repeats, self.shared = check_repeats(repeats, self.name), check_shared(shared, self.name)

    def score(self, subject: Subject) -> float:
        class_labels(subject, self.size)
        subject.apart(self.size, 1)
        return -sum(self._error(subject, number) for number in range(self.repeats)) / self.repeats

    def _error(self, subject: Subject, number: int) -> float:
        (x, y), (other, targets) = subject.inputs(self.size, 2 * number), subject.inputs(self.size, 2 * number + 1)
        network = thin_network(subject, number, shared=self.shared)
        return regression_error(network, (x, y), (other, targets), subject.setting.task.outputs)


def regression_error(network: nn.Module, seen: Batch, unseen: Batch, classes: int) -> float:
    """The mean squared error on `unseen` of kernel regression on `seen`, as the class above says.

    Raises `UndefinedScore` where the outputs depend on no weight of the cells.
    """
    kernel, count = gram(network, torch.cat([seen[0], unseen[0]]), inner=True), len(seen[0])
    trace = float(kernel[:count, :count].trace())
    if not trace > 0:
        raise UndefinedScore("the outputs depend on no weight of the cells")
    ridge = torch.eye(count, dtype=kernel.dtype) * (_RIDGE * trace / count)
    solved = torch.linalg.solve(kernel[:count, :count] + ridge, _one_hot(seen[1], classes))
    error = kernel[count:, :count] @ solved - _one_hot(unseen[1], classes)
    return float((error**2).sum(1).mean())


def _one_hot(y: Tensor, classes: int) -> Tensor:
    coded = F.one_hot(y.cpu(), classes).double()
    return coded - coded.mean(0)
