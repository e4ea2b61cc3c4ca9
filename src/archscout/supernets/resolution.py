"""Training at several sizes of the input, so that one supernet serves them all."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch.nn.functional as F

from archscout.supernets.step import Step
from archscout.supernets.terms import Objective


class AtSizes:
    """An objective whose inputs are resized in each step to one of several sizes, drawn uniformly (elastic resolution:
    Cai et al. 2020, arXiv 1908.09791).

    Args:
        objective: what is optimised.
        sides: heights and widths of the images (N, C, H, W), bilinear.
    """

    def __init__(self, objective: Objective, sides: Sequence[tuple[int, int]]) -> None:
        self.objective, self.sides = objective, list(sides)

    def __call__(self, step: Step) -> float:
        side = self.sides[int(step.rng("size").integers(len(self.sides)))]
        x, y = step.train
        if tuple(x.shape[2:]) != side:
            x = F.interpolate(x, side, mode="bilinear", align_corners=False)
        return self.objective(dataclasses.replace(step, train=(x, y)))
