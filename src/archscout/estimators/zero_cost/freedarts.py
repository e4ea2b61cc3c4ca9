"""How much of a supernet's signal each operation carries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from archscout.core.cache import Cache
from archscout.core.choice import Option
from archscout.core.errors import UndefinedScore
from archscout.core.estimator import Setting
from archscout.core.registry import register
from archscout.core.seeds import derive
from archscout.estimators.zero_cost.harness import Score, Subject, normalised_by, unchanged
from archscout.networks.pick import MixedOp
from archscout.supernets.supernet import Supernet

_tables = Cache[dict[tuple[str, Option], float]](size=16)


@register("estimator", "freedarts")
class FreeDarts(Score):
    """FreeDARTS: sum over choices of the log saliency of the chosen operation in the supernet (1 pass for all).

    In the supernet a choice is the sum over operations of alpha_o o(x), alpha = 1. With all parameters replaced by
    their absolute values, batch normalisation removed and an input of ones, R is the sum of the outputs and S_o = dR/d
    alpha_o.
    score = sum over choices of log S of the chosen operation.

    Source: Zhang, Su, Pan, et al. 2021, "Differentiable Architecture Search Without Training Nor Labels: A Pruning
    Perspective" (FreeDARTS), arXiv 2106.11542, which prunes by S and does not score whole architectures. In their code
    batch normalisation stays, with the statistics of one constant image, and the gradients of a stored run are not
    numbers, for which it returns a cell of `none`; alphas are random. Here an operation that carries nothing (`none`)
    has saliency 0, and an architecture with one is undefined.
    """

    needs = frozenset({"gradients"})

    def __init__(self) -> None:
        self.name = "freedarts"

    def score(self, subject: Subject) -> float:
        table = saliency(subject.setting)
        chosen = [(c, o) for c, o in subject.architecture.items() if (c, o) in table]
        if not chosen:
            raise UndefinedScore("the space has no choice between operations")
        idle = [f"{choice}={option}" for choice, option in chosen if not table[choice, option] > 0]
        if idle:
            raise UndefinedScore(f"{idle[0]} carries nothing")
        return sum(math.log(table[pair]) for pair in chosen)


def saliency(setting: Setting) -> Mapping[tuple[str, Option], float]:
    """S of each (choice, operation), summed over the places where the choice is made; computed once a process.

    Raises `UndefinedScore` for a space whose choices are not all between operations.
    """
    key = (setting.space.digest, setting.task.digest, setting.seed)
    return _tables.get(key, lambda: _saliency(setting))


def _saliency(setting: Setting) -> dict[tuple[str, Option], float]:
    seed = derive(setting.seed, "freedarts")
    network = Supernet(setting.space, setting.task, seed=seed).network.eval()
    mixed = [module for module in network.modules() if isinstance(module, MixedOp)]
    alphas = {
        (module.choice, option): torch.ones((), dtype=torch.float64, requires_grad=True)
        for module in mixed
        for option in module.keys
    }
    parameters = {name: p.detach().double().abs_() for name, p in network.named_parameters()}
    buffers = {name: b.double() if b.is_floating_point() else b for name, b in network.named_buffers()}
    for module in mixed:
        module.forward = _Sum(module, alphas)  # type: ignore[method-assign]
    try:
        with torch.enable_grad(), normalised_by(network, unchanged):
            x = torch.ones((1, *setting.task.input_shape), dtype=torch.float64)
            total = functional_call(network, (parameters, buffers), (x,)).sum()
            found = torch.autograd.grad(total, list(alphas.values()), allow_unused=True)
    except KeyError as error:
        raise UndefinedScore(f"the space has choices of sizes, not of operations alone ({error})") from error
    finally:
        for module in mixed:
            del module.forward
    return {pair: 0.0 if s is None else float(s) for pair, s in zip(alphas, found, strict=True)}


class _Sum:
    """All operations of a choice, each times its alpha."""

    def __init__(self, module: MixedOp, alphas: Mapping[tuple[str, Option], Tensor]) -> None:
        self.module, self.alphas = module, alphas

    def __call__(self, *inputs: Any) -> Tensor | None:
        total: Tensor | None = None
        for option, key in self.module.keys.items():
            made = self.module.options[key](*inputs)
            if made is not None:
                term = self.alphas[self.module.choice, option] * made
                total = term if total is None else total + term
        return total
