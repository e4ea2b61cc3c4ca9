"""How many different things the units of a network see in few examples."""

from __future__ import annotations

import math

import torch

from archscout.core.errors import UndefinedScore, UsageError
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject
from archscout.estimators.zero_cost.initialisation import normal
from archscout.estimators.zero_cost.patterns import Codes, different_columns
from archscout.estimators.zero_cost.watching import Watching


@register("estimator", "swap")
class Swap(Score):
    """SWAP: number of different patterns that ReLU units show over a batch (`repeats` forward passes, no labels).

    score = number of different rows of the matrix units x examples of 1[input of the unit > 0], as a mean over
    `repeats` initialisations with N(0, 1) weights. There are at most 2^batch.

    With `sigma` given: the mean times exp(-(P - mu)^2 / sigma), P the number of parameters in thousands. mu and sigma
    put in how large good networks of a space are; state the plain score beside it.

    Source: Peng, Song, Zhang, Liu, Zhang 2024, "SWAP-NAS: Sample-Wise Activation Patterns for Ultra-fast NAS", arXiv
    2403.04161. Their code sorts the rows; here each is a number of `batch` bits, marked in a table where it is small.

    Args:
        batch: examples; 16 and fewer are quicker.
        repeats: initialisations; the original's 32 by default.
        mu: in thousands of parameters.
        sigma: in thousands of parameters, squared; the score is not regularised where None.
    """

    needs = frozenset({"inputs"})

    def __init__(self, batch: int = 16, repeats: int = 32, mu: float = 0.0, sigma: float | None = None) -> None:
        self.name = "swap"
        if not isinstance(batch, int) or batch < 2:
            raise UsageError(f"the batch of estimator 'swap' must be a whole number of at least 2, not {batch}.")
        if not isinstance(repeats, int) or repeats < 1 or (sigma is not None and sigma <= 0):
            raise UsageError(f"estimator 'swap' needs repeats of at least 1 and sigma above 0, not {repeats}, {sigma}.")
        self.batch, self.repeats, self.mu, self.sigma = batch, repeats, mu, sigma

    def score(self, subject: Subject) -> float:
        x, _ = subject.inputs(self.batch)
        counts = []
        for repeat in range(self.repeats):
            network, codes = subject.initialised(normal, "swap", repeat), Codes()
            with torch.no_grad(), Watching([codes]):
                network(x)
            if not codes.parts:
                raise UndefinedScore("the network has no rectifier")
            counts.append(different_columns(codes.parts))
        mean = sum(counts) / len(counts)
        if self.sigma is None:
            return mean
        thousands = sum(parameter.numel() for parameter in subject.network.parameters()) / 1000
        return mean * math.exp(-((thousands - self.mu) ** 2) / self.sigma)
