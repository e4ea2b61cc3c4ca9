"""What weights are trained for: terms of the loss of one path, and how the paths of a step are combined."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.supernets.evaluate import losses
from archscout.supernets.step import Job, Step

Term = Callable[[Step, Job, Tensor], Tensor | None]
Objective = Callable[[Step], float]

NEGLIGIBLE = 0.01
"""Paths of a smaller posterior weight are not worth their backward pass."""


class Labels:
    """The task's loss against the labels; with `teacher_only`, students learn from the teacher alone."""

    def __init__(self, smoothing: float = 0.0, *, teacher_only: bool = False) -> None:
        self.smoothing, self.teacher_only = smoothing, teacher_only

    def __call__(self, step: Step, job: Job, outputs: Tensor) -> Tensor | None:
        if self.teacher_only and job.role == "student":
            return None
        loss: Tensor = step.supernet.task.loss(outputs, step.train[1], self.smoothing)
        return loss


def distillation(step: Step, job: Job, outputs: Tensor) -> Tensor | None:
    """Students match the teacher's class probabilities: the mean Kullback-Leibler divergence, in nats.

    The teacher comes before its students in a plan; no gradient reaches it through them.
    """
    if job.role == "teacher":
        step.teacher = outputs.detach()
        return None
    if step.teacher is None:
        return None
    wanted = torch.log_softmax(step.teacher, 1)
    return (wanted.exp() * (wanted - torch.log_softmax(outputs, 1))).sum(1).mean()


class Mean:
    """The mean over the paths of a step of the sum of terms; gradients are accumulated path by path.

    Args:
        terms: of the loss of a path.
        summed: whether weights move by the sum of the paths' gradients, as where largest and smallest network share a
            step each counts in full; the loss that is told is the mean all the same.
    """

    def __init__(self, terms: Sequence[Term] = (Labels(),), *, summed: bool = False) -> None:
        self.terms, self.summed = tuple(terms), summed

    def outputs(self, step: Step, job: Job) -> Tensor:
        """What the network makes of the step's inputs along a path."""
        return step.outputs(job.path, step.train[0])

    def __call__(self, step: Step) -> float:
        return self.backward(step, step.jobs)

    def backward(self, step: Step, jobs: Sequence[Job]) -> float:
        """Accumulate the gradients of some of the step's paths; returns their part of the mean."""
        total = 0.0
        for job in jobs:
            outputs = self.outputs(step, job)
            parts = [part for term in self.terms if (part := term(step, job, outputs)) is not None]
            total += self.accumulate(step, torch.stack(parts).sum())
        return total

    def accumulate(self, step: Step, loss: Tensor) -> float:
        """Accumulate the gradient of the loss of a path, or of some of them; returns its part of the mean."""
        if loss.requires_grad:  # a path may hold nothing of what is being trained
            (loss if self.summed else loss / len(step.jobs)).backward()  # type: ignore[no-untyped-call]
        return float(loss.detach()) / len(step.jobs)


class RegularisedTeacher(Mean):
    """The mean, where the teacher alone gets dropout in front of the last linear layer.

    Only the largest network overfits; students of a network that is held back need no more of it (Yu et al. 2020, arXiv
    2003.11142). Cuts of a trained network have the dropout that they came with, and no other.
    """

    def __init__(self, terms: Sequence[Term] = (Labels(),), dropout: float = 0.2, *, summed: bool = False) -> None:
        super().__init__(terms, summed=summed)
        self.dropout = dropout

    def outputs(self, step: Step, job: Job) -> Tensor:
        linear = [module for module in step.supernet.network.modules() if isinstance(module, nn.Linear)]
        if job.role != "teacher" or not self.dropout or not linear:
            return super().outputs(step, job)

        def drop(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (F.dropout(inputs[0], self.dropout), *inputs[1:])

        handle = linear[-1].register_forward_pre_hook(drop)
        try:
            return super().outputs(step, job)
        finally:
            handle.remove()


class PosteriorMean:
    """The loss of each path weighted by how well it explains the batch: the gradient of the weights in PARSEC.

    Two passes: one without gradient over all paths, and one with it over those that count.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        self.temperature = temperature

    def __call__(self, step: Step) -> float:
        path_losses = losses(step.supernet, [job.architecture for job in step.jobs], step.train)
        weights = posterior(-path_losses * len(step.train[1]), self.temperature)
        shares: dict[Architecture, float] = {}
        for job, weight in zip(step.jobs, weights.tolist(), strict=True):
            shares[job.architecture] = shares.get(job.architecture, 0.0) + weight
        for architecture, share in shares.items():
            if share > NEGLIGIBLE:
                (share * step.loss(architecture, step.train)).backward()  # type: ignore[no-untyped-call]
        return float((weights * path_losses).sum())


def posterior(log_likelihoods: Tensor, temperature: float = 1.0) -> Tensor:
    """Importance weights of architectures that were drawn from the prior (Casale et al. 2019, arXiv 1902.05116).

    m_k = p_k / sum of p_j, with p_k the likelihood of the whole batch to the power of 1 / temperature: 1 is exact, the
    size of the batch means the likelihood of a single example.
    """
    return torch.softmax(log_likelihoods / temperature, 0)
