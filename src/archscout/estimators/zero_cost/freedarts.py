"""How much of a supernet's signal each operation carries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from archscout.core.cache import Cache
from archscout.core.choice import Option
from archscout.core.errors import UndefinedScore, UsageError, nearest
from archscout.core.estimator import Setting
from archscout.core.registry import register
from archscout.core.seeds import derive
from archscout.estimators.zero_cost.harness import Score, Subject, draw, prepared
from archscout.estimators.zero_cost.normalising import normalised_by, unchanged
from archscout.networks.pick import MixedOp
from archscout.supernets.supernet import Supernet

SIGNALS = ("synflow", "snip", "grasp")

SPREAD = 1e-3
"""Standard deviation of drawn alphas."""

BATCH = 64
"""Training examples of `snip` and `grasp`, as in the original code."""

_tables = Cache[dict[tuple[str, Option], float]](size=16)


@register("estimator", "freedarts")
class FreeDarts(Score):
    """FreeDARTS: sum over choices of the log saliency of the chosen operation in the supernet (1 pass for all).

    In the supernet a choice is the sum over operations of alpha_o o(x), without a softmax; S_o = |alpha_o dR/dalpha_o|.
    score = sum over choices of log S of the chosen operation.

    R is by `signal`. `synflow`: the sum of the outputs for one input of ones, with parameters and alphas replaced by
    their absolute values. `snip`: the loss of 64 training examples. `grasp`: the sum of alpha x dL/dalpha of that loss
    L, so that S = |alpha (H alpha + dL/dalpha)|; their code changes alpha by one step of Adam first, which is left out.
    As in their code, alphas are drawn, 0.001 N(0, 1), and batch normalisation stays, with the statistics of what runs.

    Why cells vary with the seed: alphas are drawn, and S is proportional to alpha times what depends little on it.
    With `alphas=one`, and batch normalisation removed as in SynFlow itself (`norm=false`), S is largest for the
    operation with most weights on every edge of NAS-Bench-201 and DARTS, whatever the seed: the largest network. Their
    stored run on NAS-Bench-201 has alphas of 1 with batch normalisation and picks `none` everywhere, since in float32
    the signal overflows and gradients are no numbers; in float64, which `synflow` has here, it picks plain
    connections and pooling.

    Source: Zhang, Su, Pan, et al. 2021, "Differentiable Architecture Search Without Training Nor Labels: A Pruning
    Perspective" (FreeDARTS), arXiv 2106.11542, and its code; they prune by S and do not score whole architectures. An
    operation that carries nothing (`none`) has saliency 0, and an architecture with one is undefined.

    Args:
        signal: `synflow`, `snip` or `grasp`.
        alphas: `drawn` or `one`.
        norm: whether batch normalisation stays.
    """

    needs = frozenset({"inputs", "targets", "gradients"})

    def __init__(self, signal: str = "synflow", alphas: str = "drawn", norm: bool = True) -> None:
        self.name = "freedarts"
        self.parameters = Saliency(signal, alphas, norm)

    def score(self, subject: Subject) -> float:
        table = saliency(subject.setting, self.parameters)
        chosen = [(c, o) for c, o in subject.architecture.items() if (c, o) in table]
        if not chosen:
            raise UndefinedScore("the space has no choice between operations")
        idle = [f"{choice}={option}" for choice, option in chosen if not table[choice, option] > 0]
        if idle:
            raise UndefinedScore(f"{idle[0]} carries nothing")
        return sum(math.log(table[pair]) for pair in chosen)


@dataclass(frozen=True)
class Saliency:
    """Which saliency is meant; see `FreeDarts`. Raises `UsageError` for what there is not."""

    signal: str = "synflow"
    alphas: str = "drawn"
    norm: bool = True

    def __post_init__(self) -> None:
        if self.signal not in SIGNALS:
            raise UsageError(f"the signal of 'freedarts' cannot be '{self.signal}': {nearest(self.signal, SIGNALS)}")
        if self.alphas not in ("drawn", "one"):
            raise UsageError(f"the alphas of 'freedarts' are drawn or one, not '{self.alphas}'.")
        if not isinstance(self.norm, bool):
            raise UsageError(f"norm of 'freedarts' is true or false, not {self.norm!r}.")


def saliency(setting: Setting, parameters: Saliency = Saliency()) -> Mapping[tuple[str, Option], float]:
    """S of each (choice, operation), summed over the places where the choice is made; computed once a process.

    Raises `UndefinedScore` for a space whose choices are not all between operations, and where S is no number.
    """
    key = (setting.space.digest, setting.task.digest, setting.seed, parameters)
    return _tables.get(key, lambda: _saliency(setting, parameters))


def _saliency(setting: Setting, parameters: Saliency) -> dict[tuple[str, Option], float]:
    seed, positive = derive(setting.seed, "freedarts"), parameters.signal == "synflow"
    kind = torch.float64 if positive else torch.float32
    network = prepared(Supernet(setting.space, setting.task, seed=seed).network)
    mixed = [module for module in network.modules() if isinstance(module, MixedOp)]
    alphas = _alphas(mixed, parameters, derive(setting.seed, "freedarts", "alphas"), kind)
    weights = {name: p.detach().to(kind) for name, p in network.named_parameters()}
    if positive:
        weights = {name: weight.abs() for name, weight in weights.items()}
    buffers = {name: b.to(kind) if b.is_floating_point() else b for name, b in network.named_buffers()}

    def outputs(x: Tensor) -> Tensor:
        return functional_call(network, (weights, buffers), (x.to(kind),))  # type: ignore[no-any-return]

    for module in mixed:
        module.forward = _Sum(module, alphas)  # type: ignore[method-assign]
    try:
        with torch.enable_grad(), nullcontext() if parameters.norm else normalised_by(network, unchanged):
            if positive:
                try:
                    total = outputs(torch.ones((1, *setting.task.input_shape))).sum()
                except ValueError as error:  # of a normalisation of vectors, which one example has no statistics for
                    raise UndefinedScore(
                        "one example cannot be normalised by itself (norm=false leaves it out)"
                    ) from error
            else:
                x, y = draw(replace(setting, device="cpu"), BATCH)
                total = setting.task.loss(outputs(x), y)
            slopes = _gradient(total, list(alphas.values()), again=parameters.signal == "grasp")
    except KeyError as error:
        raise UndefinedScore(f"the space has choices of sizes, not of operations alone ({error})") from error
    finally:
        for module in mixed:
            del module.forward
    table = {pair: abs(float(alpha.detach() * s)) for (pair, alpha), s in zip(alphas.items(), slopes, strict=True)}
    if not all(math.isfinite(value) for value in table.values()):
        raise UndefinedScore("the supernet's signal overflows")
    return table


def _alphas(
    mixed: Sequence[MixedOp], parameters: Saliency, seed: int, kind: torch.dtype
) -> dict[tuple[str, Option], Tensor]:
    """One a choice and operation, as leaves; drawn in the order in which the network makes its choices."""
    generator = torch.Generator().manual_seed(seed)
    alphas: dict[tuple[str, Option], Tensor] = {}
    for pair in dict.fromkeys((module.choice, option) for module in mixed for option in module.keys):
        alpha = torch.ones(()) if parameters.alphas == "one" else SPREAD * torch.randn((), generator=generator)
        alphas[pair] = (alpha.abs() if parameters.signal == "synflow" else alpha).to(kind).requires_grad_()
    return alphas


def _gradient(total: Tensor, alphas: Sequence[Tensor], *, again: bool) -> Sequence[Tensor]:
    """Of `total` by each alpha; `again`: of the sum of alpha times that."""
    first = torch.autograd.grad(total, alphas, create_graph=again, allow_unused=True, materialize_grads=True)
    if not again:
        return first
    product = torch.stack([alpha * slope for alpha, slope in zip(alphas, first, strict=True)]).sum()
    return torch.autograd.grad(product, alphas, allow_unused=True, materialize_grads=True)


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
