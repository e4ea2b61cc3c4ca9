"""How pruning a weight would change the flow of gradients."""

from __future__ import annotations

import copy

import torch

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.growth import NoRule, grown
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch


@register("estimator", "grasp")
class Grasp(Score):
    """GraSP: minus the sum over weights of weight x (Hessian x gradient) (2 forward and backward passes, labels).

    score = -sum theta (H g) over the weights of convolutions and linear layers, H the Hessian of the mean loss.

    The sum is symmetric in theta and g, so that one pass of `grad_norm` and one that gives H theta do
    (`archscout.estimators.zero_cost.growth`). Where the network has operators that have no rule there, the gradient is
    differentiated once more.

    Source: Wang, Zhang, Grosse 2020, "Picking Winning Tickets Before Training by Preserving Gradient Flow", arXiv
    2002.07376; as a score of architectures Abdelfattah et al. 2021, arXiv 2101.08134. Their code makes the gradient
    twice, once to multiply by and once to differentiate through.

    Args:
        batch: examples.
    """

    needs = frozenset({"inputs", "targets", "gradients"})
    uses = frozenset({"loss"})

    def __init__(self, batch: int = 64) -> None:
        self.name = "grasp"
        self.batch = check_batch(batch, self.name)

    def score(self, subject: Subject) -> float:
        gradients, (x, y), loss = subject.gradients(self.batch), subject.inputs(self.batch), subject.setting.task.loss
        try:
            both = grown(subject.network, x, lambda outputs: loss(outputs, y), list(gradients.weights.values()))
        except NoRule:
            return -_twice(subject, self.batch)
        total = 0.0
        for gradient, together in zip(gradients.gradients.values(), both, strict=True):
            first = gradient.double()
            total += float((first * ((0 if together is None else together) - first)).sum())
        return -total


def _twice(subject: Subject, size: int) -> float:
    """theta (H g) by the gradient of the gradient."""
    # Kernels of second derivatives are slow with channels last.
    network = copy.deepcopy(subject.network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    x, y = subject.inputs(size)
    weights = [weight for weight in network.parameters() if weight.ndim > 1]
    with torch.enable_grad():
        loss = subject.setting.task.loss(network(x.contiguous()), y)
        first = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True, materialize_grads=True)
        product = sum(((g.detach() * g).sum() for g in first if g.requires_grad), torch.zeros(()))
        if not product.requires_grad:
            raise UndefinedScore("the loss has no second derivatives")
        try:
            second = torch.autograd.grad(product, weights, allow_unused=True, materialize_grads=True)
        except (RuntimeError, NotImplementedError) as error:
            raise UndefinedScore(f"the loss cannot be differentiated twice: {error}") from error
    return sum(float((weight.detach().double() * change).sum()) for weight, change in zip(weights, second, strict=True))
