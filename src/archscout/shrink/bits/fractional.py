"""Bits as real numbers that are learned, between two neighbours that are mixed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from archscout.shrink.bits.problem import BitProblem, Choice
from archscout.shrink.bits.relaxed import learn


def fractional(problem: BitProblem, seed: int) -> Choice:
    """FracBits (Yang, Jin 2021, arXiv 2007.02017), on the trained network: its weights stay as they are.

    A position between two numbers of bits is a mixture of both, in proportion; the choice is the nearest one within the
    limits, by squared distance. Nothing of it is random.
    """
    last = len(problem.bits) - 1
    # A little below the top, where there are two neighbours.
    positions = [torch.tensor(last - 0.1, requires_grad=True) for _ in problem.places]

    def mixed(position: Tensor) -> Tensor:
        inside = position + (position.clamp(0, last) - position).detach()  # what left the range can come back
        lower = min(int(inside.detach()), last - 1)
        share = inside - lower
        ends = torch.nn.functional.one_hot(torch.tensor([lower, lower + 1]), last + 1).float()
        return (1 - share) * ends[0] + share * ends[1]

    learn(problem, positions, lambda: [mixed(position) for position in positions])
    wanted = [float(position.detach().clamp(0, last)) for position in positions]
    return problem.settle([(np.arange(last + 1) - each) ** 2 for each in wanted])
