"""Architecture updates: how a distribution learns from a step. Each sets gradients of the logits and lets go of them in
the optimizer that it asked for.

Pathwise and unrolled gradients flow through gates; binary gates and the score function need nothing but architectures.
Importance weights are in `importance.py`, the natural gradient in `natural_gradient.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call
from torch.optim import Adam, Optimizer

from archscout.core.architecture import Architecture
from archscout.supernets.distributions import Distribution
from archscout.supernets.evaluate import losses
from archscout.supernets.gates import binary, through_softmax
from archscout.supernets.plans import Plan
from archscout.supernets.step import Data, Step
from archscout.training.optimizers import descend


class Update(ABC):
    """Moves the distribution once a step.

    Args:
        rate: the learning rate of Adam.
        betas: of Adam.
        decay: L2 penalty on the logits.
    """

    def __init__(self, rate: float = 3e-4, betas: tuple[float, float] = (0.5, 0.999), decay: float = 1e-3) -> None:
        self.rate, self.betas, self.decay = rate, betas, decay

    def optimizer(self, distribution: Distribution) -> Optimizer:
        """What moves the logits; its state is kept in checkpoints."""
        return Adam(distribution.parameters(), lr=self.rate, betas=self.betas, weight_decay=self.decay)

    def begin(self, step: Step, optimizer: Optimizer) -> None:  # noqa: B027 - most have nothing to do
        """Called before the paths of a step are planned."""

    @abstractmethod
    def gradients(self, step: Step) -> dict[str, float]:
        """Set the gradients of the logits; returns what is worth recording."""

    def __call__(self, step: Step, optimizer: Optimizer) -> dict[str, float]:
        """Set the gradients and take the step."""
        return descend(optimizer, partial(self.gradients, step))


class Pathwise(Update):
    """The gradient of the validation loss through the gates of a plan (DARTS of first order; GDAS with samples)."""

    def __init__(
        self, plan: Plan, rate: float = 3e-4, betas: tuple[float, float] = (0.5, 0.999), decay: float = 1e-3
    ) -> None:
        super().__init__(rate, betas, decay)
        self.plan = plan

    def gradients(self, step: Step) -> dict[str, float]:
        with step.weights_at_rest():
            total = 0.0
            for job in self.plan(step):
                loss = step.loss(job.path, step.valid)
                if loss.requires_grad:  # a sampled path need not depend on any probability
                    loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
        return {"valid_loss": total}


class Unrolled(Pathwise):
    """The gradient of the validation loss after one virtual step of the weights (second-order DARTS)."""

    def gradients(self, step: Step) -> dict[str, float]:
        group = step.optimizer.param_groups[0]
        names = {id(p): name for name, p in step.supernet.network.named_parameters()}
        moved = [weight for weight in step.weights if id(weight) in names]

        def loss(data: Data) -> Callable[[Sequence[Tensor]], Tensor]:
            def of(weights: Sequence[Tensor]) -> Tensor:
                values = {names[id(own)]: weight for own, weight in zip(moved, weights, strict=True)}
                parts = []
                for job in self.plan(step):
                    step.supernet.gate(job.gates)
                    outputs = functional_call(step.supernet.network, values, (data[0],))
                    parts.append(step.supernet.task.loss(outputs, data[1]))
                return torch.stack(parts).mean()

            return of

        buffers = [step.optimizer.state.get(weight, {}).get("momentum_buffer") for weight in moved]
        slopes, value = unrolled(
            loss(step.train),
            loss(step.valid),
            [weight.detach() for weight in moved],
            list(step.distribution.logits),
            rate=group["lr"],
            momentum=group.get("momentum", 0.0),
            decay=group.get("weight_decay", 0.0),
            buffers=buffers,
        )
        for logits, gradient in zip(step.distribution.logits, slopes, strict=True):
            logits.grad = gradient
        return {"valid_loss": value}


def unrolled(
    train_loss: Callable[[Sequence[Tensor]], Tensor],
    valid_loss: Callable[[Sequence[Tensor]], Tensor],
    weights: Sequence[Tensor],
    logits: Sequence[Tensor],
    *,
    rate: float,
    momentum: float = 0.0,
    decay: float = 0.0,
    buffers: Sequence[Tensor | None] | None = None,
) -> tuple[list[Tensor], float]:
    """The gradient in `logits` of the validation loss at w' = w - rate * (momentum * buffer + gradient + decay * w).

    The product of the second derivative with the gradient at w' is a central difference of length 0.01 / norm (Liu et
    al. 2019, arXiv 1806.09055, equation 8).

    Args:
        train_loss, valid_loss: losses as functions of the weights; they depend on the logits too.
        weights: where to start; they are not changed.
        logits: what the gradient is in.
        rate, momentum, decay, buffers: of the virtual step of SGD; `buffers` has the momentum of each weight.

    Returns:
        One gradient a tensor of logits, and the validation loss at w'.
    """

    def differentiable(values: Sequence[Tensor]) -> list[Tensor]:
        return [value.detach().requires_grad_() for value in values]

    def gradient(loss: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
        gradients = torch.autograd.grad(loss, list(inputs), allow_unused=True)
        return [torch.zeros_like(i) if g is None else g for i, g in zip(inputs, gradients, strict=True)]

    start = differentiable(weights)
    slopes = gradient(train_loss(start), start)
    with torch.no_grad():
        ahead = []
        for place, (weight, slope) in enumerate(zip(start, slopes, strict=True)):
            push = slope + decay * weight
            buffer = None if buffers is None else buffers[place]
            ahead.append(weight - rate * (push if buffer is None else push + momentum * buffer))
    ahead = differentiable(ahead)
    loss = valid_loss(ahead)
    both = gradient(loss, [*logits, *ahead])
    direct, direction = both[: len(logits)], both[len(logits) :]
    norm = float(torch.sqrt(sum((d * d).sum() for d in direction)))  # type: ignore[arg-type]
    if norm < 1e-12:
        return direct, float(loss.detach())
    length = 0.01 / norm
    sides = []
    for sign in (1.0, -1.0):
        shifted = differentiable([w + sign * length * d for w, d in zip(start, direction, strict=True)])
        sides.append(gradient(train_loss(shifted), logits))
    second = [(up - down) / (2 * length) for up, down in zip(*sides, strict=True)]
    return [d - rate * s for d, s in zip(direct, second, strict=True)], float(loss.detach())


class BinaryGates(Update):
    """One option runs for real; the others tell, without being trained, what they would have changed (ProxylessNAS).

    Args:
        rate, betas: of Adam.
        cost: by choice, a cost for each option; the sum over choices of expected costs, plus `constant`, is held at
            `target`. No cost where None.
        target: in the unit of `cost`.
        constant: what every architecture costs.
        strength: of the cost's part in the loss, which is strength * (expected cost - target) / target.
    """

    def __init__(
        self,
        rate: float = 1e-3,
        betas: tuple[float, float] = (0.0, 0.999),
        *,
        cost: Mapping[str, Sequence[float]] | None = None,
        target: float = 1.0,
        constant: float = 0.0,
        strength: float = 0.1,
    ) -> None:
        super().__init__(rate, betas, 0.0)
        self.cost, self.target, self.constant, self.strength = cost, target, constant, strength

    def gradients(self, step: Step) -> dict[str, float]:
        gates, multipliers = binary(step.distribution, step.rng("binary"))
        row = {}
        with step.weights_at_rest():
            loss = step.loss(gates, step.valid)
            loss.backward()  # type: ignore[no-untyped-call]
        row["valid_loss"] = float(loss.detach())
        if self.cost is not None:
            # By autograd for the cost, by the rule of binary gates for the loss: the two add up.
            expected = expected_cost(step.distribution, self.cost) + self.constant
            (self.strength * (expected - self.target) / self.target).backward()  # type: ignore[no-untyped-call]
            row["expected_cost"] = float(expected.detach())
        marginals = step.distribution.marginals()
        for variable, logits in zip(step.distribution.variables, step.distribution.logits, strict=True):
            name = variable.choices[0].name
            slope = multipliers[name].grad
            if slope is not None:
                own = through_softmax(slope, marginals[name].detach())
                logits.grad = own if logits.grad is None else logits.grad + own
        return row


def expected_cost(distribution: Distribution, table: Mapping[str, Sequence[float]]) -> Tensor:
    """The sum over choices of the expected cost of their options, each choice weighted by how often it is active."""
    marginals, presence = distribution.marginals(), distribution.presence()
    terms = [
        presence[name] * (marginals[name] * torch.tensor(costs).to(marginals[name])).sum()
        for name, costs in table.items()
    ]
    return torch.stack(terms).sum()


class ScoreFunction(Update):
    """REINFORCE: the reward's excess over its running mean times the gradient of the log-probability.

    Args:
        rate, betas: of Adam.
        memory: how slowly the running mean follows.
        reward: from losses and architectures; minus the loss where None.
    """

    def __init__(
        self,
        rate: float = 1e-2,
        betas: tuple[float, float] = (0.5, 0.999),
        *,
        memory: float = 0.9,
        reward: Callable[[Tensor, Sequence[Architecture]], Tensor] | None = None,
    ) -> None:
        super().__init__(rate, betas, 0.0)
        self.memory, self.reward = memory, reward

    def gradients(self, step: Step) -> dict[str, float]:
        architectures = [job.architecture for job in step.jobs]
        sample_losses = losses(step.supernet, architectures, step.valid)
        rewards = -sample_losses if self.reward is None else self.reward(sample_losses, architectures)
        # The mean is kept with the distribution, so that a checkpoint has it.
        mean = step.distribution.baseline
        if bool(torch.isnan(mean)):
            mean.copy_(rewards.mean())
        advantage = rewards - mean
        mean.mul_(self.memory).add_((1 - self.memory) * rewards.mean())
        logs = step.distribution.log_probabilities(architectures)
        (-(advantage * logs).mean()).backward()  # type: ignore[no-untyped-call]
        return {"valid_loss": float(sample_losses.mean()), "reward": float(rewards.mean())}
