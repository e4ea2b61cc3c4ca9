"""How steady the gradients of a layer are, times how differently its units see the examples."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from archscout.core.errors import UndefinedScore, UsageError
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch
from archscout.estimators.zero_cost.layers import check_weights_are_parameters, familiar
from archscout.estimators.zero_cost.own_code import Call, own_calls
from archscout.estimators.zero_cost.patterns import different_columns

EXAMPLES = 16
"""Of which patterns are told."""

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


@register("estimator", "l_swag")
class LSwag(Score):
    """L-SWAG: steadiness of gradients times number of activation patterns, by layer (2 passes, labels).

    score = sum_l Lambda_l Psi_l over the layers l between two depths, with Lambda_l = log sum_k 1 / std_b g_bk over the
    weights k and two batches b (what ZiCo divides by, without what it divides; weights that do not vary are left out),
    and Psi_l the number of different patterns over 16 examples that the units of the layer show. A layer is a module
    with weights of its own, convolution, linear or attention, so that transformers have the score too.

    Source: Casarin, Escalera, Lanz 2025, "L-SWAG: Layer-Sample Wise Activation with Gradients information for Zero-Shot
    NAS on Vision Transformers", arXiv 2505.07300. They choose the layers of a space by where gradients tell most;
    `first` and `last` say which, all by default. Reconstructed: a unit is on where what the layer gives, after the
    normalisation that follows at once, is above zero; a pattern is compared with those of its own layer.

    Args:
        batch: examples of each of the two batches.
        first: layers before this share of the depth are left out.
        last: layers after this share of the depth are left out.
    """

    needs = frozenset({"inputs", "targets", "gradients"})
    uses = frozenset({"loss"})

    def __init__(self, batch: int = 64, first: float = 0.0, last: float = 1.0) -> None:
        self.name = "l_swag"
        self.batch = check_batch(batch, self.name)
        if not 0 <= first < last <= 1:
            raise UsageError(
                f"estimator 'l_swag' needs 0 <= first < last <= 1, shares of the depth, not first={first}, last={last}."
            )
        self.first, self.last = first, last

    def score(self, subject: Subject) -> float:
        check_weights_are_parameters(subject.network)
        subject.apart(self.batch, 1)
        one, other = subject.gradients(self.batch), subject.gradients(self.batch, 1)
        x, _ = subject.inputs(EXAMPLES)
        patterns = layer_patterns(subject.network, x)
        steady = {
            name: value
            for name, gradient in one.gradients.items()
            if name.rpartition(".")[0] in patterns
            and (value := steadiness(gradient.detach(), other.gradients[name])) is not None
        }
        if not steady:
            raise UndefinedScore("no layer has gradients that differ between the two batches")
        layers = list(patterns)  # in the order of execution
        low, high = self.first * len(layers), self.last * len(layers)
        among = {layer for place, layer in enumerate(layers) if low <= place < high}
        terms = [
            value * patterns[layer] for name, value in steady.items() if (layer := name.rpartition(".")[0]) in among
        ]
        if not terms:
            raise UndefinedScore(f"no layer between {self.first:g} and {self.last:g} of the depth has a value")
        return math.fsum(terms)


def steadiness(one: Tensor, other: Tensor) -> float | None:
    """log of the sum of 1 / standard deviation over two batches, of the weights that vary; None where none does."""
    spread = (one - other).abs_() / 2
    total = float((1 / spread[spread > 0]).sum(dtype=torch.float64))
    return math.log(total) if total > 0 else None


@torch.no_grad()
def layer_patterns(network: nn.Module, x: Tensor) -> dict[str, int]:
    """By name of each layer with weights, in the order of execution, how many patterns its units show over a batch.

    At most 16 examples. What the outermost module holds itself (positions of a transformer, say) is of no layer.

    Raises `UndefinedScore` where a user's own code multiplies by weights of a module that is not the one that runs.
    """
    owners = {
        module: name
        for name, module in network.named_modules()
        if name and any(weight.ndim > 1 for weight in module.parameters(recurse=False))
    }
    holders = {id(weight): module for module in owners for weight in module.parameters(recurse=False)}
    safe = familiar(network)
    running: list[nn.Module] = []
    outside: list[Call] = []
    given: dict[str, Tensor] = {}
    latest: list[str] = []
    """The layer that has just been run; nothing once another module has."""

    def hook(module: nn.Module, _: Any, output: Any) -> None:
        y = output[0] if isinstance(output, tuple) else output
        if not isinstance(y, Tensor):
            return
        y = y if safe else y.clone()  # a user's own code may change it in place
        if module in owners:
            given[owners[module]] = y
            latest[:] = [owners[module]]
        elif isinstance(module, _NORMS) and latest and given[latest[0]].shape == y.shape:
            given[latest[0]] = y
        if not isinstance(module, nn.Sequential) and module not in owners:
            latest.clear()

    def show(call: Call) -> None:
        if call.weight is not None and (not running or holders.get(id(call.weight)) is not running[-1]):
            outside.append(call)
        if call.weight is None and (not running or running[-1] not in owners):
            hook(call.kind, None, call.output)

    with ExitStack() as stack:
        if not safe:
            for module in network.modules():
                stack.callback(module.register_forward_pre_hook(lambda m, _: running.append(m)).remove)
                stack.callback(module.register_forward_hook(lambda *_: running.pop() and None).remove)
            stack.enter_context(own_calls(network, show))
        for module in network.modules():
            stack.callback(module.register_forward_hook(hook).remove)
        network(x)
    if outside:
        raise UndefinedScore("its code multiplies by weights outside of the layer that holds them")
    return {name: different_columns([(y > 0).flatten(1).cpu()]) for name, y in given.items()}
