"""Pairs of paths whose losses shall be in the order of a prior (PGONAS: Dong et al. 2022, arXiv 2206.13329)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.supernets.extent import ends
from archscout.supernets.step import Job, Step
from archscout.supernets.terms import Mean, Term

Draw = Callable[[np.random.Generator, int], list[Architecture]]
"""So many architectures at random."""

Prior = Callable[[Architecture], float]
"""How good an architecture is expected to be, before anything is trained; higher is better."""

Form = Literal["symmetric", "literal"]

PAIR = "pair"
TRIES = 20
"""Partners that are drawn for one that differs enough, at most."""


class SandwichAndPairs:
    """The largest architecture as teacher, the smallest and some random ones as students, and pairs of random ones.

    Args:
        between: random students.
        pairs: of architectures, one job after the other.
        draw: random architectures.
        distance: the share of choices in which the partners of a pair differ, at least (where a few draws find one).
    """

    def __init__(self, between: int, pairs: int, draw: Draw, distance: float = 0.0) -> None:
        self.between, self.pairs, self.draw, self.distance = between, pairs, draw, distance

    def __call__(self, step: Step) -> list[Job]:
        rng = step.rng("paths")
        smallest, largest = ends(step.supernet)
        students = [smallest, *self.draw(rng, self.between)]
        jobs = [Job(largest, "teacher"), *(Job(each, "student") for each in students)]
        for _ in range(self.pairs):
            first, second = self.draw(rng, 2)
            for _ in range(TRIES):
                if difference(first, second) >= self.distance:
                    break
                (second,) = self.draw(rng, 1)
            jobs += [Job(first, PAIR), Job(second, PAIR)]
        return jobs


def difference(first: Architecture, second: Architecture) -> float:
    """The share of choices in which two architectures differ; one that only one of them makes counts."""
    names = {*first, *second}
    return sum(first.get(name) != second.get(name) for name in names) / max(1, len(names))


class Ranked(Mean):
    """The mean over paths; of each pair, also the violation of the order that a prior gives its losses.

    With losses l and the better of a pair by the prior first: `symmetric` adds relu(l_better - l_worse). The published
    code (`literal`) has no gradient through the first of the pair: it adds relu(l_2 - l_1) where the second is better,
    and relu(l_1 - l_2), which can only raise the loss of the second, where it is not.

    Args:
        terms: of the loss of students and teacher; pairs learn from labels.
        prior: what orders a pair; equal or undefined priors give no order.
        form: see above.
        strength: of the violation at the end; it rises linearly over the first fifth of the phase.
        summed: see `Mean`.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        prior: Prior,
        form: Form = "symmetric",
        strength: float = 2.0,
        *,
        summed: bool = False,
    ) -> None:
        super().__init__(terms, summed=summed)
        self.prior, self.form, self.strength = prior, form, strength

    def __call__(self, step: Step) -> float:
        pairs = [job for job in step.jobs if job.role == PAIR]
        total = self.backward(step, [job for job in step.jobs if job.role != PAIR])
        strength = self.strength * min(1.0, 5 * step.progress)
        for first, second in zip(pairs[::2], pairs[1::2], strict=True):
            losses = [step.loss(job.path, step.train) for job in (first, second)]
            loss = losses[0] + losses[1] + strength * self.violation(first, second, *losses)
            total += self.accumulate(step, loss)
        return total

    def violation(self, first: Job, second: Job, one: Tensor, other: Tensor) -> Tensor:
        """By how much the losses of a pair are in the wrong order; 0 where they are not."""
        expected = self.prior(first.architecture), self.prior(second.architecture)
        if self.form == "literal":
            one = one.detach()
        if expected[1] > expected[0]:
            return torch.relu(other - one)
        return torch.relu(one - other) if expected[0] > expected[1] else torch.zeros_like(one)
