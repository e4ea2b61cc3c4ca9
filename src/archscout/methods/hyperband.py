"""Hyperband (Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar 2018, arXiv 1603.06560), and BOHB on top of it."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.methods.rungs import Climb, Rungs, brackets


@register("method", "hyperband")
class Hyperband(Rungs):
    """Brackets of successive halving, from many short trainings to few full ones, each of about the same budget.

    Nobody knows how much short trainings tell: the brackets hedge. After the last one it begins anew, and a bracket
    that the rest of the budget does not pay for begins with fewer.

    Args:
        strategy: which proposes new architectures.
        eta: one in so many is continued to the next rung, which is so many times as long.
        least: epochs of the lowest rung.
    """

    def __init__(self, strategy: str = "random", eta: int = 3, least: int = 1, name: str = "hyperband") -> None:
        super().__init__(name, strategy, eta, least)

    def climb(self, climb: Climb) -> None:
        while True:
            for count, start in brackets(len(climb.epochs), self.eta):
                affordable, rung = climb.affordable(count, start)
                fresh = climb.fresh(affordable)
                if not fresh or not climb.halve(fresh, rung):
                    return


@register("method", "bohb")
def bohb(strategy: str = "kernel_density", eta: int = 3, least: int = 1) -> Hyperband:
    """Hyperband whose trainings are proposed by kernel densities (Falkner, Klein, Hutter 2018, arXiv 1807.01774)."""
    return Hyperband(strategy, eta, least, name="bohb")
