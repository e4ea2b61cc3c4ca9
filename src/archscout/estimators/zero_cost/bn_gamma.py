"""What a supernet's batch normalisations think of their operations."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.cache import Cache
from archscout.core.choice import Option
from archscout.core.errors import UndefinedScore, UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import register
from archscout.core.seeds import derive, stream
from archscout.core.task import Split
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch
from archscout.networks.pick import MixedOp
from archscout.supernets.supernet import Supernet
from archscout.training.optimizers import descend

_tables = Cache[dict[tuple[str, Option], float]](size=16)


@register("estimator", "bn_gamma")
class BnGamma(Score):
    """BN-NAS: sum of the scales of batch normalisation in a supernet of which nothing else is trained.

    A supernet is trained for some steps by uniformly sampled single paths, all weights but those of batch normalisation
    kept as they were drawn. s_(choice, operation) = sum over places of mean_c |gamma_c| of the last batch normalisation
    of the operation; score = sum over choices of s of the chosen operation, 0 for one without batch normalisation.

    Source: Chen, Li, Chen, Wang 2021, "BN-NAS: Neural Architecture Search with Batch Normalization", arXiv 2108.07375.
    There, all operations have batch normalisation; where some have none, their score of 0 cannot be compared with the
    others' (Zhu et al. 2021, arXiv 2112.00265), and more convolutions always score higher. The supernet is trained once
    a process, from the setting's seed.

    Args:
        steps: steps of stochastic gradient descent with momentum 0.9.
        batch: examples of a step.
        rate: learning rate.
    """

    needs = frozenset({"inputs", "targets", "gradients"})

    def __init__(self, steps: int = 100, batch: int = 64, rate: float = 0.1) -> None:
        self.name = "bn_gamma"
        self.size = check_batch(batch, self.name)
        if not isinstance(steps, int) or steps < 1 or rate <= 0:
            raise UsageError(
                f"estimator 'bn_gamma' needs steps of at least 1 and a rate above 0, not {steps} and {rate}."
            )
        self.steps, self.rate = steps, rate

    def score(self, subject: Subject) -> float:
        setting = subject.setting
        where = (setting.space.digest, setting.task.digest, setting.seed, setting.device)
        table = _tables.get((*where, self.steps, self.size, self.rate), lambda: gammas(self._trained(setting)))
        if not table:
            raise UndefinedScore("no operation that can be chosen has batch normalisation")
        return sum(table.get(pair, 0.0) for pair in subject.architecture.items())

    def _trained(self, setting: Setting) -> Supernet:
        space, task = setting.space, setting.task
        supernet = Supernet(space, task, seed=derive(setting.seed, "bn_gamma")).to(setting.device).train()
        scales = [p for m in supernet.modules() if isinstance(m, _BatchNorm) for p in m.parameters(recurse=False)]
        if not scales:
            raise UndefinedScore("the network has no batch normalisation")
        for parameter in supernet.parameters():
            parameter.requires_grad_(False)
        for parameter in scales:
            parameter.requires_grad_(True)
        optimizer = torch.optim.SGD(scales, lr=self.rate, momentum=0.9)
        rng = stream(setting.seed, "bn_gamma", "paths")
        for _ in range(self.steps):
            chosen = rng.choice(len(task.train), min(self.size, len(task.train)), replace=False)
            x, y = task.tensors(Split(task.train.x[chosen], task.train.y[chosen]), setting.device)
            with torch.enable_grad():
                loss = task.loss(supernet.select(space.sample(rng))(x), y)
                if loss.requires_grad:
                    descend(optimizer, loss.backward)
        return supernet


def gammas(supernet: Supernet) -> dict[tuple[str, Option], float]:
    """s of each (choice, operation) that has batch normalisation."""
    means: dict[tuple[str, Option], float] = {}
    for module in supernet.modules():
        if isinstance(module, MixedOp):
            for option, key in module.keys.items():
                norms = [m for m in module.options[key].modules() if isinstance(m, _BatchNorm) and m.affine]
                if norms:
                    pair = (module.choice, option)
                    means[pair] = means.get(pair, 0.0) + float(norms[-1].weight.detach().abs().mean())
    return means


def best(table: Mapping[tuple[str, Option], float]) -> dict[str, Option]:
    """The operation of largest s for each choice: without a limit on costs, no search finds better."""
    chosen: dict[str, Option] = {}
    for (choice, option), value in table.items():
        if choice not in chosen or value > table[choice, chosen[choice]]:
            chosen[choice] = option
    return chosen
