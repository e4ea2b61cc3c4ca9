"""How well a network tells examples apart, and with how many units."""

from __future__ import annotations

import copy
import math
from functools import partial

import torch
from torch import nn

from archscout.core.errors import UndefinedScore, UsageError
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch
from archscout.estimators.zero_cost.naswot import GateKernel, log_determinant
from archscout.estimators.zero_cost.recomputing import recomputing
from archscout.estimators.zero_cost.watching import Watching
from archscout.training.optimizers import descend


@register("estimator", "das")
class Das(Score):
    """DAS: NASWOT with distinguishing ability and number of units weighted apart (1 forward pass, no labels).

    The kernel K of `naswot` has the number of ReLU units N_A all along its diagonal, so log |K| is the sum of D =
    log |K / N_A| <= 0, which says how well examples are told apart, and N log N_A, which says how many units there are.

    score = D + share * N log N_A. With share = 1 this is `naswot`, with share = 0 only the ability to tell apart.

    Source: Liu, Li, Sun, Liu 2022, "DAS: Neural Architecture Search via Distinguishing Activation Score", arXiv
    2212.12132, whose abstract describes the decoupling, a better combination and a fast training phase. Its code is not
    public and its formulas were not at hand: the combination here is a reconstruction, and so is the training (plain
    gradient descent with momentum 0.9 on batches of the training split).

    Args:
        batch: examples.
        share: weight of the number of units.
        steps: steps of training before the kernel is measured, on other examples than those it is measured on.
        rate: their learning rate.
    """

    needs = frozenset({"inputs", "targets"})
    watches = (GateKernel,)

    def __init__(self, batch: int = 128, share: float = 0.5, steps: int = 0, rate: float = 0.02) -> None:
        self.name = "das"
        self.batch = check_batch(batch, self.name)
        if steps < 0 or rate <= 0:
            raise UsageError(f"estimator 'das' needs steps of at least 0 and a rate above 0, not {steps} and {rate}.")
        self.share, self.steps, self.rate = share, steps, rate

    def score(self, subject: Subject) -> float:
        watcher = self._trained(subject) if self.steps else subject.watched(GateKernel, self.batch)
        kernel = watcher.kernel()
        ability = log_determinant(kernel / watcher.units)
        return ability + self.share * len(kernel) * math.log(watcher.units)

    def _trained(self, subject: Subject) -> GateKernel:
        task, network = subject.setting.task, copy.deepcopy(subject.network)
        if not any(True for _ in network.parameters()):
            raise UndefinedScore("the network has no weights to train")
        optimizer = torch.optim.SGD(network.parameters(), lr=self.rate, momentum=0.9)
        clip = partial(nn.utils.clip_grad_norm_, list(network.parameters()), 5.0)
        for step in range(self.steps):
            x, y = subject.apart(self.batch, 1 + step)
            with recomputing(network):
                loss = task.loss(network(x), y)
            descend(optimizer, loss.backward, clip)
        watcher = GateKernel()
        with torch.no_grad(), Watching([watcher]):
            network(subject.inputs(self.batch)[0])
        return watcher
