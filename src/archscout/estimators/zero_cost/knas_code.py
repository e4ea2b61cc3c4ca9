"""What the code of KNAS computes."""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch
from archscout.estimators.zero_cost.recomputing import recomputing

_BATCHES = 50
_TENSORS, _USED = 11, 50


@register("estimator", "knas_code")
class KnasCode(Score):
    """KNAS, as its code computes it: covariance of gradients in two halves of 50 batches (50 passes, labels).

    Of each of the first 11 parameters with at least 50 entries the first 50 entries of the gradient are followed over
    50 mini-batches. For each of these up to 550 coordinates the series of batches 1 to 25 and that of batches 26 to 50
    are centred and multiplied: score = sum over coordinates of their dot product / 2500.

    Source: the code of Xu et al. 2021, arXiv 2111.13293. The batches are random, so this estimates the covariance of
    independent noise, whose mean is zero: expect no stable order. (That code keeps gradients in memory that the next
    batch writes into, so that all 50 it compares are the last one, and what it sums is rounding noise.) It stands here
    because published results rest on it.

    Args:
        batch: examples of each of the 50 batches.
    """

    needs = frozenset({"inputs", "targets", "gradients"})

    def __init__(self, batch: int = 64) -> None:
        self.name = "knas_code"
        self.size = check_batch(batch, self.name)

    def score(self, subject: Subject) -> float:
        network, task = subject.network, subject.setting.task
        chosen = list(islice((p for p in network.parameters() if p.numel() >= _USED), _TENSORS))
        if not chosen:
            raise UndefinedScore("no parameter has 50 entries")
        subject.apart(self.size, 1)
        series: list[Tensor] = []
        for number in range(_BATCHES):
            x, y = subject.inputs(self.size, number)
            with torch.enable_grad():
                with recomputing(network):
                    outputs = network(x)
                if not outputs.requires_grad:
                    raise UndefinedScore("no weight has a part in the outputs")
                loss = task.loss(outputs, y)
                gradients = torch.autograd.grad(loss, chosen, allow_unused=True, materialize_grads=True)
            series.append(torch.cat([gradient.flatten()[:_USED] for gradient in gradients]).double())
        first, second = torch.stack(series).chunk(2)
        return float(((first - first.mean(0)) * (second - second.mean(0))).sum()) / _BATCHES**2
