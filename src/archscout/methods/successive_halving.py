"""Successive halving (Jamieson, Talwalkar 2016, arXiv 1502.07943): many short trainings, the best of them longer."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.methods.rungs import Climb, Rungs


@register("method", "successive_halving")
class SuccessiveHalving(Rungs):
    """Many trainings begin; the best third of them is continued for three times as long, and so on to full training.

    As many begin as leave one for the end (eta to the power of the number of rungs above the first); where the budget
    pays for more, it begins anew.

    Args:
        strategy: which proposes new architectures.
        eta: one in so many is continued to the next rung, which is so many times as long.
        least: epochs of the lowest rung.
    """

    def __init__(self, strategy: str = "random", eta: int = 3, least: int = 1) -> None:
        super().__init__("successive_halving", strategy, eta, least)

    def climb(self, climb: Climb) -> None:
        count = self.eta ** (len(climb.epochs) - 1)
        while True:
            affordable, start = climb.affordable(count)
            fresh = climb.fresh(affordable)
            if not fresh or not climb.halve(fresh, start):
                return
