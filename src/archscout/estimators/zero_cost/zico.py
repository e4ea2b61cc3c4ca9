"""How well gradients of two batches agree, weight by weight."""

from __future__ import annotations

import math

import torch

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch


@register("estimator", "zico")
class Zico(Score):
    """ZiCo: inverse coefficient of variation of gradients over two batches (2 forward and backward passes, labels).

    score = sum_l log sum_k mean_b |g_bk| / std_b g_bk over the weights k of convolutions and linear layers l, and two
    batches b; weights whose gradient does not vary are left out, and so are layers without others. For two batches the
    ratio is (|g1| + |g2|) / |g1 - g2| (std is half the difference). The first batch's pass is that of `grad_norm`.

    Source: Li, Yang, Bhardwaj, Marculescu 2023, "ZiCo: Zero-shot NAS via Inverse Coefficient of Variation on
    Gradients", arXiv 2301.11300. The
    copy of it in the code of MeCo does not clear gradients between the batches, so that its g2 is g1 + g2.

    Args:
        batch: examples of each of the two batches.
    """

    needs = frozenset({"inputs", "targets", "gradients"})
    uses = frozenset({"loss"})

    def __init__(self, batch: int = 64) -> None:
        self.name = "zico"
        self.batch = check_batch(batch, self.name)

    def score(self, subject: Subject) -> float:
        subject.apart(self.batch, 1)
        first, second = subject.gradients(self.batch).gradients, subject.gradients(self.batch, 1).gradients
        total, layers = 0.0, 0
        for name, gradient in first.items():
            one, other = gradient.detach(), second[name]
            spread = (one - other).abs_()
            varies = spread > 0
            ratios = float(((one.abs() + other.abs())[varies] / spread[varies]).sum(dtype=torch.float64))
            if ratios > 0:
                total += math.log(ratios)
                layers += 1
        if not layers:
            raise UndefinedScore("no gradient differs between the two batches")
        return total
