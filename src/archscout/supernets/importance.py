"""Architecture updates by importance weights (PARSEC, FP-NAS): samples of the distribution, weighted by their
likelihood, with a hinge or a price on what they cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.supernets.distributions import Distribution
from archscout.supernets.evaluate import losses
from archscout.supernets.step import Step
from archscout.supernets.terms import posterior
from archscout.supernets.updates import Update

ArchitectureCost = Callable[[Sequence[Architecture]], Sequence[float]]
"""By how much each architecture misses its target; 0 where it keeps it."""


class Importance(Update):
    """Maximises the marginal likelihood of the validation batch under the distribution (PARSEC, FP-NAS).

    The gradient is that of - sum of m_k log P(A_k) + strength * log E[C(A)], with m_k the posterior weight of sample k
    and C its cost: FP-NAS's loss, differentiated.

    Args:
        rate, betas: of Adam.
        temperature: of the likelihood; see `archscout.supernets.terms.posterior`.
        cost: by how much architectures miss their target; None for none.
        strength: of the cost.
    """

    def __init__(
        self,
        rate: float = 1e-2,
        betas: tuple[float, float] = (0.5, 0.999),
        *,
        temperature: float = 1.0,
        cost: ArchitectureCost | None = None,
        strength: float = 0.3,
    ) -> None:
        super().__init__(rate, betas, 0.0)
        self.temperature, self.cost, self.strength = temperature, cost, strength

    def losses(self, step: Step, architectures: Sequence[Architecture]) -> Tensor:
        """The mean validation loss of each (A,), by inherited weights."""
        return losses(step.supernet, architectures, step.valid)

    def gradients(self, step: Step) -> dict[str, float]:
        architectures = [job.architecture for job in step.jobs]
        sample_losses = self.losses(step, architectures)
        weights = posterior(-sample_losses * len(step.valid[1]), self.temperature)
        row = {"valid_loss": float((weights * sample_losses).sum()), "effective_samples": float(1 / (weights**2).sum())}
        weights = self.charged(step.distribution, architectures, weights, row)
        logs = step.distribution.log_probabilities(architectures)
        (-(weights * logs).sum()).backward()  # type: ignore[no-untyped-call]
        return row

    def charged(
        self,
        distribution: Distribution,
        architectures: Sequence[Architecture],
        weights: Tensor,
        row: dict[str, float],
    ) -> Tensor:
        """The weights of the samples (A,) with their costs taken off; what is worth recording goes into `row`."""
        if self.cost is None:
            return weights
        costs = weights.new_tensor(list(self.cost(architectures)))
        row["excess_cost"] = float(costs.mean())
        return weights - self.strength * costs / costs.sum() if bool(costs.sum() > 0) else weights


class PricedImportance(Importance):
    """As `Importance`, with a price on cost that rises while samples cost more than the target on average and falls
    while they cost less, never below zero: the Lagrangian of the limit, climbed and descended at once.

    A fixed strength either misses the target or stays far below it, for it does not know how much accuracy is at stake.

    Args:
        rate, betas, temperature: as above.
        cost: of each, 1 at the limit.
        aim: the mean cost of samples that is held, a little below the limit, for some are above the mean.
        gain: how fast the price follows.
    """

    def __init__(
        self,
        rate: float = 1e-2,
        betas: tuple[float, float] = (0.5, 0.999),
        *,
        temperature: float = 1.0,
        cost: ArchitectureCost,
        aim: float = 0.97,
        gain: float = 1.0,
    ) -> None:
        super().__init__(rate, betas, temperature=temperature, cost=cost)
        self.aim, self.gain = aim, gain

    def charged(
        self,
        distribution: Distribution,
        architectures: Sequence[Architecture],
        weights: Tensor,
        row: dict[str, float],
    ) -> Tensor:
        assert self.cost is not None
        costs = weights.new_tensor(list(self.cost(architectures)))
        charged = weights - distribution.price * (costs - costs.mean()) / len(costs)
        distribution.price.add_(self.gain * float(costs.mean() - self.aim)).clamp_(min=0)
        row |= {"cost": float(costs.mean()), "price": float(distribution.price)}
        return charged


def hinge(costs: Sequence[float], target: float) -> list[float]:
    """By what share of the target each cost is above it; 0 for those that keep it.

    >>> hinge([50.0, 150.0], 100.0)
    [0.0, 0.5]
    """
    return [max(0.0, cost / target - 1) for cost in costs]
