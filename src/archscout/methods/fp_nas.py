"""Fast probabilistic search: as many samples as the distribution is undecided, options first alone and then jointly."""

from __future__ import annotations

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, adam_rate, best_of, check, excess, inherited, relative
from archscout.supernets.derive import likeliest, near_limit
from archscout.supernets.distributions import Distribution, layers
from archscout.supernets.evaluate import batchable
from archscout.supernets.importance import Importance, PricedImportance
from archscout.supernets.phases import Phase, Trained
from archscout.supernets.plans import SamplesByEntropy, uniform
from archscout.supernets.scattered import grouped
from archscout.supernets.supernet import Supernet
from archscout.supernets.terms import PosteriorMean
from archscout.supernets.weights import everything, fixed_backbone

CANDIDATES = 32
"""Under limits, how many of the most probable architectures get an inherited score: the nearest to the mode may be far
from the limit, or none of the best below it."""


@register("method", "fp_nas")
class FPNAS(WeightSharing):
    """FP-NAS: probabilistic search with entropy-adaptive samples, coarse to fine (Yan et al. 2021, arXiv 2011.10949).

    Published constants are not known; these are this package's own. A limit is kept by a price that follows what the
    samples cost (`archscout.supernets.importance.PricedImportance`), or by the published hinge: how far above it the
    samples are on average.

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        samples: architectures a step at the start; then in proportion to the entropy, two at least.
        reach: how far a logit can go in the whole search.
        temperature: of the likelihood (see PARSEC).
        hinge: whether a limit is kept by the published hinge cost.
        strength: of the hinge cost.
        warm_up: the share of the steps in which weights alone are trained, by uniform paths, grouped where the space
            allows it (`archscout.supernets.scattered`); such a step is far cheaper than one of samples.
        joint: the share of the steps at the end in which the choices of a layer are decided together.
        use: the share of a limit (of the tightest, where there are several) that what is derived takes up at least,
            where such architectures can be had; 0 for whatever keeps the limits.
        balanced: whether the samples of a step together take every option as often as its probability says, which is
            not published and needs fewer of them; else they are independent.
        fixed: whether what every architecture has, such as the stem, keeps its first weights (see
            `archscout.methods.spos.SPOS`).
    """

    learns = "samples"

    def __init__(
        self,
        steps: int = 2000,
        batch: int = 64,
        finalists: int = 3,
        samples: int = 16,
        reach: float = 12.0,
        temperature: float = 4.0,
        hinge: bool = False,
        strength: float = 0.3,
        warm_up: float = 0.8,
        joint: float = 0.08,
        use: float = 0.95,
        balanced: bool = True,
        fixed: bool = False,
    ) -> None:
        super().__init__(steps, batch, finalists)
        check("fp_nas", samples=samples, reach=reach, temperature=temperature, warm_up=warm_up, strength=strength)
        if not 0 <= use <= 1:
            raise UsageError(f"the share of a limit that fp_nas is to use lies between 0 and 1, not at {use!r}.")
        if not 0 <= joint <= 1 - warm_up + 1e-9:
            raise UsageError(
                f"the joint of method 'fp_nas' must be a share of the steps, from 0 to the {1 - warm_up:g} that its "
                f"warm_up leaves, not {joint:g}."
            )
        self.name = "fp_nas"
        self.samples, self.reach, self.temperature = samples, reach, temperature
        self.hinge, self.strength, self.use = hinge, strength, use
        self.warm_up, self.joint, self.balanced, self.fixed = warm_up, joint, balanced, fixed

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        learning = 1 - self.warm_up
        rate, cost = adam_rate(self.reach, round(steps * learning)), relative(run)
        update = Importance(rate, temperature=self.temperature, cost=excess(run), strength=self.strength)
        if cost is not None and not self.hinge:
            update = PricedImportance(rate, temperature=self.temperature, cost=cost)
        entropy = float(Distribution(run.space).entropy().detach())
        plan = SamplesByEntropy(self.samples / entropy, balanced=self.balanced)
        objective = PosteriorMean(self.temperature)
        coarse = learning - self.joint
        weights = fixed_backbone if self.fixed else everything
        even = grouped if batchable(supernet) else uniform
        phases = [
            Phase(self.warm_up, even, weights=weights, rate=(0.05, 0.04), name="warm-up"),
            Phase(coarse, plan, objective, update=update, weights=weights, rate=(0.04, 0.015), name="factorised"),
            Phase(
                self.joint,
                plan,
                objective,
                update=update,
                weights=weights,
                rate=(0.015, 1e-3),
                convert=lambda distribution: distribution.joint(layers(run.space)),
                name="joint",
            ),
        ]
        return [phase for phase in phases if phase.share > 1e-9]

    def derive(self, run: Run, supernet: Supernet, trained: Trained) -> list[Architecture]:
        """Under limits, the best by inherited score of the most probable that come near a limit and keep all."""
        cost = relative(run)
        if cost is None:
            return super().derive(run, supernet, trained)
        near = near_limit(run.admit, cost, self.use)
        likely = likeliest(trained.distribution, near, CANDIDATES, run.rng("derive"))
        if not likely:  # none comes near it
            return super().derive(run, supernet, trained)
        return best_of(run, inherited(run, supernet), iter(likely), self.finalists, len(likely))
