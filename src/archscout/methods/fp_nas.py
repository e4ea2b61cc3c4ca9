"""Fast probabilistic search: as many samples as the distribution is undecided, options first alone and then jointly."""

from __future__ import annotations

from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, adam_rate, excess, relative
from archscout.supernets.distributions import Distribution, layers
from archscout.supernets.phases import Phase
from archscout.supernets.plans import SamplesByEntropy
from archscout.supernets.supernet import Supernet
from archscout.supernets.terms import PosteriorMean
from archscout.supernets.updates import Importance, PricedImportance


@register("method", "fp_nas")
class FPNAS(WeightSharing):
    """FP-NAS: probabilistic search with entropy-adaptive samples, coarse to fine (Yan et al. 2021, arXiv 2011.10949).

    Published constants are not known; these are this package's own. A limit is kept by a price that follows what the
    samples cost (`archscout.supernets.updates.PricedImportance`), or by the published hinge: how far above it the
    samples are on average.

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        samples: architectures a step at the start; then in proportion to the entropy, two at least.
        reach: how far a logit can go in the whole search.
        temperature: of the likelihood (see PARSEC).
        hinge: whether a limit is kept by the published hinge cost.
        strength: of the hinge cost.
        warm_up: the share of the steps in which weights alone are trained, by uniform single paths.
        joint: the share of the steps at the end in which the choices of a layer are decided together.
        balanced: whether the samples of a step together take every option as often as its probability says, which is
            not published and needs fewer of them; else they are independent.
    """

    learns = "samples"

    def __init__(
        self,
        steps: int = 1500,
        batch: int = 64,
        finalists: int = 3,
        samples: int = 16,
        reach: float = 12.0,
        temperature: float = 4.0,
        hinge: bool = False,
        strength: float = 0.3,
        warm_up: float = 0.2,
        joint: float = 0.4,
        balanced: bool = True,
    ) -> None:
        super().__init__(steps, batch, finalists)
        self.name = "fp_nas"
        self.samples, self.reach, self.temperature = samples, reach, temperature
        self.hinge, self.strength = hinge, strength
        self.warm_up, self.joint, self.balanced = warm_up, joint, balanced

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
        phases = [
            Phase(self.warm_up, rate=(0.05, 0.04), name="warm-up"),
            Phase(coarse, plan, objective, update=update, rate=(0.04, 0.015), name="factorised"),
            Phase(
                self.joint,
                plan,
                objective,
                update=update,
                rate=(0.015, 1e-3),
                convert=lambda distribution: distribution.joint(layers(run.space)),
                name="joint",
            ),
        ]
        return [phase for phase in phases if phase.share > 1e-9]
