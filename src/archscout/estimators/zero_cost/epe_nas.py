"""How differently the outputs hang on the inputs, class by class."""

from __future__ import annotations

import torch
from torch import Tensor

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch
from archscout.estimators.zero_cost.jacob_cov import correlation

_SMALL = 1e-5
_MANY = 100
"""Beyond so many classes the original takes another formula."""


@register("estimator", "epe_nas")
class EpeNas(Score):
    """EPE-NAS: correlation of input Jacobians within each class (1 forward and backward pass, labels).

    score = sum_c |s_c|, s_c = sum_ij log(|corr_ij| + 1e-5) over the examples of class c in the batch; for more than 100
    classes the mean over pairs of classes of |s_c - s_c'|, with each s_c divided by the number of its terms. The
    Jacobian is that of `jacob_cov`, and made once for both.

    Source: Lopes, Alirezazadeh, Alexandre 2021, "EPE-NAS: Efficient Performance Estimation Without Training for Neural
    Architecture Search", arXiv 2102.08099. As in their code, a class seen once adds |log(1 + 1e-5)|, and CIFAR-100
    (exactly 100 classes) takes the first formula.

    Args:
        batch: examples.
    """

    needs = frozenset({"inputs", "targets", "gradients"})
    uses = frozenset({"jacobian"})

    def __init__(self, batch: int = 64) -> None:
        self.name = "epe_nas"
        self.batch = check_batch(batch, self.name)

    def score(self, subject: Subject) -> float:
        targets = class_labels(subject, self.batch)
        jacobian = subject.jacobian(self.batch)
        many = subject.setting.task.outputs > _MANY
        sums = []
        for label in sorted(set(targets.tolist())):
            terms = (correlation(jacobian[targets == label]).abs() + _SMALL).log()
            sums.append(terms.mean() if many else terms.sum())
        values = torch.stack(sums)
        if not many:
            return float(values.abs().sum())
        if len(values) < 2:
            raise UndefinedScore("the batch has one class only")
        differences = (values[:, None] - values).abs().triu(1)
        return float(differences.sum()) / (len(values) * (len(values) - 1) / 2)


def class_labels(subject: Subject, batch: int) -> Tensor:
    """The class of each example of a batch. Raises `UndefinedScore` for a task whose targets are no classes."""
    _, y = subject.inputs(batch)
    if y.ndim != 1 or y.is_floating_point():
        raise UndefinedScore("the task has no class labels")
    return y
