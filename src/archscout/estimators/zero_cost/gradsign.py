"""How well the gradients of single examples agree in sign."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch
from archscout.estimators.zero_cost.layers import (
    WEIGHTED,
    Calls,
    check_weights_are_parameters,
    familiar,
    following,
    weight_gradients,
)
from archscout.estimators.zero_cost.normalising import normalised_by
from archscout.estimators.zero_cost.own_code import Call, Unknown, own_weights
from archscout.supernets.pooling import speed_up
from archscout.training.contexts import frozen

_CHUNK = 32
"""Examples that go through at once."""


@register("estimator", "gradsign")
class GradSign(Score):
    """GradSign: agreement in sign of the examples' gradients (1 forward and backward pass with instance norm, labels).

    score = sum_k |sum_i sign(d l_i / d theta_k)| over the weights k of convolutions and linear layers, l_i the loss of
    example i seen alone: batch normalisation then takes its statistics over the places of that one example.

    Source: Zhang, Jia 2022, "GradSign: Model Performance Inference with Theoretical Insights", arXiv 2110.08616. Their
    code runs forward and backward once for each example, in training mode. Here a batch goes through with instance
    normalisation, which is the same, and each layer's gradients of all examples are one convolution in groups. (One
    file of theirs takes the mean over k in place of the sum: another order, as the sum grows with the number of
    weights.) A map of one place, at which their code stops with an error, has variance 0. Modules of a user's own that
    are found to mix examples, or to use weights outside of layers, run as in their code.

    Args:
        batch: examples; the original's 128 by default.
    """

    needs = frozenset({"inputs", "targets", "gradients"})

    def __init__(self, batch: int = 128) -> None:
        self.name = "gradsign"
        self.size = check_batch(batch, self.name)

    def score(self, subject: Subject) -> float:
        check_weights_are_parameters(subject.network)
        # With channels last, normalisation of single examples and their gradients take longer than layers win.
        network = copy.deepcopy(subject.network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        x, y = subject.inputs(self.size)
        x, loss = x.contiguous(), subject.setting.task.loss
        speed_up(network)
        with normalised_by(network, alone):
            if not familiar(network):
                # A user's own code may mix examples, or use weights where no layer is called.
                calls = own_weights(network, lambda: network(x[:2]))
                if calls:
                    return one_by_one(network, x, y, loss, _weights_of(calls))
                slow, fast = (form(network, x[:2], y[:2], loss) for form in (one_by_one, together))
                if abs(slow - fast) > 1e-3 * slow:
                    return one_by_one(network, x, y, loss)
            return together(network, x, y, loss)


Loss = Callable[[Tensor, Tensor], Tensor]


def together(network: nn.Module, x: Tensor, y: Tensor, loss: Loss) -> float:
    """The score of a network that sees each example alone."""
    agreement = _Agreement()
    with torch.enable_grad(), frozen(network):
        for some, targets in zip(torch.split(x, _CHUNK), torch.split(y, _CHUNK), strict=True):
            with following(network) as calls:
                outputs = network(some.clone().requires_grad_())
            if not calls.made:
                raise UndefinedScore("the network has no convolution or linear layer in it")
            if not outputs.requires_grad:
                raise UndefinedScore("no output depends on the input")
            # The loss of a batch is a mean; signs do not mind the factor.
            agreement.add(calls, loss(outputs, targets))
    return agreement.total()


def _weights_of(calls: list[Call]) -> list[nn.Parameter]:
    """What a user's own code multiplies by as convolutions and linear layers do."""
    for call in calls:
        if isinstance(call.kind, Unknown):
            raise UndefinedScore(call.kind.reason)
    return [call.weight for call in calls if call.weight is not None and isinstance(call.kind, WEIGHTED)]


def one_by_one(network: nn.Module, x: Tensor, y: Tensor, loss: Loss, own: Sequence[nn.Parameter] = ()) -> float:
    """The same by a forward and a backward pass for each example; `own` are weights that no layer may hold."""
    weights: list[Tensor] = [layer.weight for layer in network.modules() if isinstance(layer, WEIGHTED)]
    held = {id(weight) for weight in weights}
    weights += [weight for weight in dict.fromkeys(own) if id(weight) not in held]
    if not weights:
        raise UndefinedScore("the network has no convolution or linear layer in it")
    signs = [torch.zeros_like(weight) for weight in weights]
    for number in range(len(x)):
        try:
            outputs = network(x[number : number + 1])
        except (RuntimeError, ValueError) as error:
            raise UndefinedScore(f"the network does not take an example alone: {error}") from error
        if not outputs.requires_grad:
            raise UndefinedScore("no output depends on a weight")
        gradients = torch.autograd.grad(loss(outputs, y[number : number + 1]), weights, allow_unused=True)
        for total, gradient in zip(signs, gradients, strict=True):
            if gradient is not None:
                total += gradient.sign()
    return float(sum(int(total.abs().sum()) for total in signs))


class _Agreement:
    """For each weight of a network the sum over examples of the sign of their gradients."""

    def __init__(self) -> None:
        self._signs: dict[nn.Module, Tensor] = {}

    def total(self) -> float:
        return float(sum(int(signs.abs().sum()) for signs in self._signs.values()))

    def add(self, calls: Calls, loss: Tensor) -> None:
        """More examples. The gradients of a layer add up over its calls before they have a sign."""
        open_calls = Counter(layer for layer, _, y in calls if y.requires_grad)
        gradients: dict[nn.Module, Tensor] = {}

        def hear(layer: nn.Module, x: Tensor, gradient: Tensor) -> None:
            made = weight_gradients(layer, x, gradient)
            gradients[layer] = gradients[layer] + made if layer in gradients else made
            open_calls[layer] -= 1
            if not open_calls[layer]:
                self._sign(layer, gradients.pop(layer))

        handles = [
            y.register_hook(partial(hear, layer, x.detach()))  # type: ignore[no-untyped-call]
            for layer, x, y in calls
            if y.requires_grad
        ]
        first = next(y for _, _, y in calls if y.requires_grad)
        torch.autograd.grad(loss, [first], allow_unused=True)
        for handle in handles:
            handle.remove()
        for layer, gradient in gradients.items():  # some of whose calls have no part in the loss
            self._sign(layer, gradient)

    def _sign(self, layer: nn.Module, gradients: Tensor) -> None:
        signs = gradients.sign_().sum(0)
        self._signs[layer] = self._signs[layer].add_(signs) if layer in self._signs else signs


def alone(layer: _BatchNorm, x: Tensor) -> Tensor:
    """Batch normalisation of each example as a batch of its own."""
    if x.ndim == 2:
        return torch.zeros_like(x) + (layer.bias if layer.bias is not None else 0)
    return F.group_norm(x, layer.num_features, layer.weight, layer.bias, layer.eps)
