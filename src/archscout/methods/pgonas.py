"""PGONAS: a supernet whose networks are also ranked by a prior while they train."""

from __future__ import annotations

import math

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError, nearest
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, check, evolved, inherited
from archscout.supernets.pairs import Form, Prior, Ranked, SandwichAndPairs
from archscout.supernets.phases import Phase, Trained
from archscout.supernets.plans import CostBins
from archscout.supernets.supernet import Supernet
from archscout.supernets.terms import Labels, distillation

PRIORS = {"macs": (2, 2.0, 0.0), "zen": (2, 1.0, 0.5)}
"""By prior: pairs a step, strength, and the share of choices in which partners differ. The published distance is 33 of
the decisions of their supernet."""

FORMS: dict[str, Form] = {"symmetric": "symmetric", "literal": "literal"}

POOL, BINS = 256, 8
"""Architectures that are drawn once and whose prior is known, and groups of equal range of multiply-adds."""


@register("method", "pgonas")
class PGONAS(WeightSharing):
    """PGONAS: sandwich, balanced sampling, and pairs ranked by a prior (Dong et al. 2022, arXiv 2206.13329).

    Besides the sandwich with in-place distillation each step has pairs of random networks, which learn from labels and
    from the order that a prior gives them: multiply-adds, or the Zen-score. Random networks come from groups of equal
    range of multiply-adds, each step from as many groups as it can. The published exchange of the activation function
    is left to the space.

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`; a step runs 7 paths.
        prior: `macs` or `zen`.
        form: `symmetric` or `literal` (`archscout.supernets.pairs.Ranked`).
        rank: whether pairs are ranked; without, they learn from labels alone.
        balanced: whether random networks come from groups of multiply-adds.
        between: random students a step.
        evaluations: architectures that get an inherited score.
    """

    def __init__(
        self,
        steps: int = 600,
        batch: int = 64,
        finalists: int = 3,
        prior: str = "macs",
        form: str = "symmetric",
        rank: bool = True,
        balanced: bool = True,
        between: int = 1,
        evaluations: int = 500,
    ) -> None:
        super().__init__(steps, batch, finalists)
        check("pgonas", evaluations=evaluations)
        if prior not in PRIORS:
            raise UsageError(f"the prior of pgonas cannot be '{prior}': {nearest(prior, PRIORS)}")
        if form not in FORMS:
            raise UsageError(f"the form of pgonas cannot be '{form}': {nearest(form, FORMS)}")
        if type(between) is not int or between < 0:
            raise UsageError(f"the random students of a step of pgonas must be a whole number, not {between!r}.")
        self.name = "pgonas"
        self.prior, self.form, self.rank, self.balanced = prior, FORMS[form], rank, balanced
        self.between, self.evaluations = between, evaluations

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        rng = run.rng("pool")
        pool = list({run.space.canonical(a): a for a in (run.space.sample(rng) for _ in range(POOL))}.values())
        names = list(dict.fromkeys(["macs", self.prior]))
        columns = dict(zip(names, run.score(pool, names), strict=True))
        values = {name: [trial.value for trial in trials] for name, trials in columns.items()}
        known = {a.text: value for a, value in zip(pool, values[self.prior], strict=True)}
        # The estimator of multiply-adds has them as they are: more is better.
        groups = CostBins(pool, [v if math.isfinite(v) else 0.0 for v in values["macs"]], BINS if self.balanced else 1)
        pairs, strength, distance = PRIORS[self.prior]
        prior: Prior = lambda architecture: known[architecture.text]  # noqa: E731
        objective = Ranked(
            [Labels(teacher_only=True), distillation], prior, self.form, strength if self.rank else 0.0, summed=True
        )
        return [Phase(plan=SandwichAndPairs(self.between, pairs, groups.draw, distance), objective=objective)]

    def derive(self, run: Run, supernet: Supernet, trained: Trained) -> list[Architecture]:
        return evolved(run, inherited(run, supernet), self.finalists, self.evaluations)
