"""PAD-NAS: a space that shrinks layer by layer while its supernet is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.evolution import evolve
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, affordable_scores, check, inherited
from archscout.supernets.distributions import Distribution
from archscout.supernets.phases import Phase, Trained
from archscout.supernets.plans import Plan, Samples
from archscout.supernets.scattered import grouped_samples
from archscout.supernets.shrinking import alive, drop, option_ranks, part, worst
from archscout.supernets.supernet import Supernet
from archscout.supernets.weights import everything, fixed_backbone


@register("method", "pad_nas")
class PADNAS(WeightSharing):
    """PAD-NAS: options of least inherited accuracy go, choice by choice, while it trains (Xia et al. 2020, 2005.07564).

    Reconstructed from the abstract, for no code is public: all layers begin with the same options; single uniform paths
    are trained; architectures that keep the limits are drawn, and an option's score is the mean rank of their inherited
    scores over those that have it; the worst option of each choice goes, and the training goes on with the weights as
    they are. How much goes in a round is not told: one option a choice, until `keep` are left. Evolution in what is
    left ends it.

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        rounds: of dropping options, evenly spread over the steps.
        keep: options of a choice that stay, at least.
        samples: architectures that are scored in a round.
        grouped: whether sixteen examples share a path and what every architecture has keeps its first weights
            (`archscout.supernets.weights.fixed_backbone`), which ranks better than single uniform paths.
        evaluations: architectures that evolution scores.
    """

    learns = "samples"

    def __init__(
        self,
        steps: int = 4000,
        batch: int = 64,
        finalists: int = 3,
        rounds: int = 2,
        keep: int = 2,
        samples: int = 100,
        grouped: bool = False,
        evaluations: int = 500,
    ) -> None:
        super().__init__(steps, batch, finalists)
        check("pad_nas", evaluations=evaluations)
        for name, value in (("rounds", rounds), ("keep", keep), ("samples", samples)):
            if type(value) is not int or value < 1:
                raise UsageError(f"the {name} of pad_nas must be a whole number above zero, not {value!r}.")
        self.name = "pad_nas:grouped=true" if grouped else "pad_nas"
        self.grouped = grouped
        self.rounds, self.keep, self.samples, self.evaluations = rounds, keep, samples, evaluations

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        plan: Plan = grouped_samples if self.grouped else Samples()
        first = Phase(plan=plan, weights=fixed_backbone if self.grouped else everything, name="whole space")
        later = [
            replace(first, convert=self._shrink(run, supernet, number), name=f"shrunk {number} times")
            for number in range(1, self.rounds + 1)
        ]
        return [first, *later]

    def _shrink(self, run: Run, supernet: Supernet, number: int) -> Callable[[Distribution], Distribution]:
        def convert(distribution: Distribution) -> Distribution:
            rng = run.rng("shrinking", number)
            # Balanced, so that each option is in as many as every other of its choice.
            drawn = [a for _ in range(20) for a in distribution.sample(self.samples, rng, balanced=True)]
            admitted = run.admit(drawn, self.samples)
            if admitted:
                left = alive(distribution)
                ranks = option_ranks(left, admitted, inherited(run, supernet)(admitted))
                drop(distribution, worst(ranks, left, self.keep))
            return distribution

        return convert

    def derive(self, run: Run, supernet: Supernet, trained: Trained) -> list[Architecture]:
        space, score = part(trained.distribution), inherited(run, supernet)
        run.note("options left", {name: [str(o) for o in options] for name, options in space.alive.items()})
        most = affordable_scores(run, score, self.evaluations)
        return [a for a, _ in evolve(space, score, run.admit, run.rng("evolution"), most=most)[: self.finalists]]
