"""BigNAS: one supernet whose networks are of use as they are cut out of it."""

from __future__ import annotations

import itertools

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, best_of, check, evolved, inherited
from archscout.supernets.extent import by_size, kinds
from archscout.supernets.phases import Phase, Trained
from archscout.supernets.plans import Sandwich
from archscout.supernets.supernet import Supernet
from archscout.supernets.terms import Labels, RegularisedTeacher, Term, distillation

RATE, ENDING = 0.05, 0.05
"""The learning rate at the beginning, and the share of it that it ends with: it never goes to zero, for the smallest
network is still learning when the largest is done."""

LEVELS = (0.0, 0.5, 1.0)
"""Of the way from the smallest to the largest option: what coarse architectures take."""

STARTS = 10
"""Coarse architectures that the fine search begins with."""


@register("method", "bignas")
class BigNAS(WeightSharing):
    """BigNAS: the sandwich rule with in-place distillation, search from coarse to fine (Yu et al. 2020, 2003.11142).

    In each step the largest network learns from labels, with dropout, and is at once the teacher of the smallest one
    and of `between` random ones; gradients add up to one step. The search scores architectures all of whose widths,
    depths and kernels are at the same level each, and evolves from the best of these.

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`; a step runs 2 + `between` paths.
        between: random architectures a step.
        dropout: in front of the last linear layer, of the largest network alone.
        smoothing: of its labels.
        evaluations: architectures that get an inherited score.
    """

    def __init__(
        self,
        steps: int = 1000,
        batch: int = 64,
        finalists: int = 3,
        between: int = 2,
        dropout: float = 0.2,
        smoothing: float = 0.1,
        evaluations: int = 500,
    ) -> None:
        super().__init__(steps, batch, finalists)
        check("bignas", evaluations=evaluations)
        if type(between) is not int or between < 0:
            raise UsageError(f"the random architectures of a step of bignas must be a whole number, not {between!r}.")
        for name, value in (("dropout", dropout), ("smoothing", smoothing)):
            if not 0 <= value < 1:
                raise UsageError(f"the {name} of bignas must be at least 0 and below 1, not {value}.")
        self.name = "bignas"
        self.between, self.dropout, self.smoothing, self.evaluations = between, dropout, smoothing, evaluations

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        terms: list[Term] = [Labels(self.smoothing, teacher_only=True), distillation]
        return [
            Phase(
                plan=Sandwich(self.between),
                objective=RegularisedTeacher(terms, self.dropout, summed=True),
                rate=(RATE, RATE * ENDING),
                name="sandwich",
            )
        ]

    def derive(self, run: Run, supernet: Supernet, trained: Trained) -> list[Architecture]:
        score, grid = inherited(run, supernet), coarse(supernet)
        first = best_of(run, score, iter(grid), STARTS, min(len(grid), self.evaluations))
        return evolved(run, score, self.finalists, self.evaluations, first)


def coarse(supernet: Supernet) -> list[Architecture]:
    """Architectures in which all choices of a kind are at the same level between their smallest and largest option."""
    kind, options = kinds(supernet), by_size(supernet)
    present = sorted(set(kind.values()))
    architectures = []
    for levels in itertools.product(LEVELS, repeat=len(present)):
        level = dict(zip(present, levels, strict=True))
        values = {name: row[round(level[kind[name]] * (len(row) - 1))] for name, row in options.items()}
        try:
            architectures.append(supernet.space.architecture(values))
        except UsageError:  # not every combination is an architecture
            continue
    return architectures
