"""Epsilon for every network through which an input reaches the output."""

from __future__ import annotations

import math

import torch

from archscout.core.errors import UndefinedScore, UsageError
from archscout.core.registry import register
from archscout.estimators.zero_cost.epsilon import disagreement, outputs
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch

LOW, HIGH = 1e-5, 1.0
"""Small enough for the paths of fewest weights to rule, large enough that fifty of them do not vanish in float64."""


@register("estimator", "epsilon_log")
class EpsilonLog(Score):
    """Epsilon plus the order of the paths of fewest weights, for every connected network (3 passes, one channel).

    As the smaller constant w of `epsilon` goes to 0, outputs become those of the paths of fewest weights, times w^s, s
    the number of weights along them. In float32 that vanishes where s > 0 in every cell; in float64, with w = 1e-5, it
    does not. score = epsilon(w, 1) + order * s, s = d log(range of the outputs) / d log w between w and 10 w. A network
    whose signal must pass convolutions is given `order` for each weight that it must pass.

    The score is ours: `epsilon` with its hole filled. order = 0.01 was chosen on CIFAR-10 accuracies of 900
    architectures of NAS-Bench-201 (`benchmarks/zero_cost/nasbench201.py` measures it on all, and on other data sets).

    Args:
        batch: examples.
        order: what a weight on the paths of fewest weights is worth.
    """

    needs = frozenset({"inputs"})

    def __init__(self, batch: int = 64, order: float = 0.01) -> None:
        self.name = "epsilon_log"
        self.size = check_batch(batch, self.name)
        if order < 0:
            raise UsageError(f"the order of estimator 'epsilon_log' must be at least 0, not {order}.")
        self.order = order

    def score(self, subject: Subject) -> float:
        try:
            made = outputs(subject, self.size, (LOW, 10 * LOW, HIGH), torch.float64)
        except UndefinedScore:
            raise UndefinedScore("all examples have the same output: no path leads from the input to it") from None
        ranges = (made.amax(1) - made.amin(1)).tolist()
        weights = math.log10(ranges[1] / ranges[0])
        return disagreement(torch.stack([made[0], made[2]])) + self.order * weights
