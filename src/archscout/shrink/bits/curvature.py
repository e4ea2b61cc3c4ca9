"""Bits by how much each layer matters alone: harms that are taken to add up, and the exact knapsack."""

from __future__ import annotations

import numpy as np
import torch

from archscout.shrink.bits.hessian import hawq, traces, values_of
from archscout.shrink.bits.problem import BitProblem, Choice


def by_curvature(problem: BitProblem, seed: int) -> Choice:
    """HAWQ-V2 (Dong et al. 2020, arXiv 1911.03852): half the mean curvature times the squared error of rounding."""
    harms = hawq(problem.program, problem.examples, problem.loss, problem.how, problem.bits, seed=seed)
    if problem.values:
        curvatures = traces(
            problem.program, problem.examples, problem.loss, values=problem.values, seed=seed
        )[len(problem.layers) :]  # fmt: skip
        seen = values_of(problem.program, problem.examples, problem.values)
        for value, trace, grids in zip(problem.values, curvatures, problem.grids, strict=True):
            x = seen[value]
            errors = [float((grid.rounded(x) - x).double().pow(2).sum()) for grid in grids]
            harms.append(np.array(errors) * max(trace, 0.0) / (2 * x.numel()))
    return problem.settle(harms)


def one_at_a_time(problem: BitProblem, seed: int) -> Choice:
    """The rise of the loss where one choice alone has fewer bits, and all others the most."""
    most = (len(problem.bits) - 1,) * len(problem.places)
    with torch.no_grad():
        harms = [
            np.array([problem.loss_of((*most[:place], k, *most[place + 1 :])) for k in range(len(problem.bits))])
            for place in problem.places
        ]
    whole = problem.loss_of(most)
    return problem.settle([harm - whole for harm in harms])
