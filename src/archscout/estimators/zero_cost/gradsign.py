"""How well the gradients of single examples agree in sign."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch, normalised_by
from archscout.estimators.zero_cost.layers import Calls, following, frozen, weight_gradients

_CHUNK = 16
"""Examples whose patches are held at once: few enough to stay in the processor's cache."""


@register("estimator", "gradsign")
class GradSign(Score):
    """GradSign: agreement in sign of the examples' gradients (1 forward and backward pass with instance norm, labels).

    score = sum_k |sum_i sign(d l_i / d theta_k)| over the weights k of convolutions and linear layers, l_i the loss of
    example i seen alone: batch normalisation then takes its statistics over the places of that one example.

    Source: Zhang, Jia 2022, "GradSign: Model Performance Inference with Theoretical Insights", arXiv 2110.08616. Their
    code runs forward and backward once for each example, in training mode. Here one batch goes through with instance
    normalisation, which is the same, and each layer's gradients of all examples are one product. (One file of theirs
    takes the mean over k in place of the sum: another order, as the sum grows with the number of weights.) A map of one
    place, at which their code stops with an error, has variance 0.

    Args:
        batch: examples; the original's 128 by default.
    """

    needs = frozenset({"inputs", "targets", "gradients"})

    def __init__(self, batch: int = 128) -> None:
        self.name = "gradsign"
        self.size = check_batch(batch, self.name)

    def score(self, subject: Subject) -> float:
        network, task = subject.network, subject.setting.task
        x, y = subject.inputs(self.size)
        with frozen(network), normalised_by(network, alone), following(network) as calls:
            outputs = network(x.clone(memory_format=torch.preserve_format).requires_grad_())
            if not calls.made:
                raise UndefinedScore("the network has no convolution or linear layer in it")
            if not outputs.requires_grad:
                raise UndefinedScore("no output depends on the input")
            # The loss of a batch is a mean; signs do not mind the factor.
            return _agreement(calls, task.loss(outputs, y))


def _agreement(calls: Calls, loss: Tensor) -> float:
    layers = [layer for layer, _, _ in calls]
    signs: dict[int, Tensor] = {}
    held: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def hear(number: int, gradient: Tensor) -> None:
        layer, x, _ = calls.made[number]
        calls_of_layer = held.setdefault(id(layer), [])
        calls_of_layer.append((x.detach(), gradient))
        if len(calls_of_layer) == sum(other is layer for other in layers):
            signs[id(layer)] = _signs(layer, held.pop(id(layer)))

    first = [y for _, _, y in calls if y.requires_grad]
    handles = [
        y.register_hook(lambda gradient, number=number: hear(number, gradient))  # type: ignore[no-untyped-call]
        for number, (_, _, y) in enumerate(calls)
        if y.requires_grad
    ]
    torch.autograd.grad(loss, [first[0]], allow_unused=True)
    for handle in handles:
        handle.remove()
    by_identity = {id(layer): layer for layer in layers}
    for key, pairs in held.items():
        signs[key] = _signs(by_identity[key], pairs)
    return float(sum(int(counts.abs().sum()) for counts in signs.values()))


def _signs(layer: torch.nn.Module, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """For each weight of a layer the sum over examples of the gradient's sign, which adds up over the layer's calls."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    total = torch.zeros(weight.numel(), dtype=torch.int64)
    for begin in range(0, len(pairs[0][0]), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        first, *others = (weight_gradients(layer, x[part], gradient[part]) for x, gradient in pairs)
        for other in others:
            first += other
        total += first.sign_().sum(0).long()
    return total


def alone(layer: _BatchNorm, x: Tensor) -> Tensor:
    """Batch normalisation of each example as a batch of its own."""
    if x.ndim == 2:
        return torch.zeros_like(x) + (layer.bias if layer.bias is not None else 0)
    return F.group_norm(x, layer.num_features, layer.weight, layer.bias, layer.eps)
