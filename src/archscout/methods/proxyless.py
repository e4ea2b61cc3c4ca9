"""Single paths for weights, binary gates or REINFORCE for the architecture, an expected cost from a table."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, adam_rate, check, cost_table
from archscout.supernets.phases import Phase
from archscout.supernets.plans import Samples
from archscout.supernets.supernet import Supernet
from archscout.supernets.updates import BinaryGates, ScoreFunction, Update


@register("method", "proxyless")
class ProxylessNAS(WeightSharing):
    """ProxylessNAS: sampled paths, gradients by binary gates, expected costs (Cai et al. 2019, arXiv 1812.00332).

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        gradient: `gates`, or `reinforce` with ten samples an update.
        reach: how far a logit can go in the whole search.
        strength: of the cost of the first limit, where there is one.
        warm_up: the share of the steps in which weights alone are trained.
        every: steps from one update of the architecture to the next.
    """

    def __init__(
        self,
        steps: int = 2000,
        batch: int = 64,
        finalists: int = 3,
        gradient: str = "gates",
        reach: float = 12.0,
        strength: float = 1.0,
        warm_up: float = 0.25,
        every: int = 2,
    ) -> None:
        super().__init__(steps, batch, finalists)
        check("proxyless", reach=reach, every=every, warm_up=warm_up, strength=strength)
        if gradient not in ("gates", "reinforce"):
            raise UsageError(f"the gradient of proxyless is 'gates' or 'reinforce', not '{gradient}'.")
        self.name = "proxyless" if gradient == "gates" else "proxyless:gradient=reinforce"
        self.learns = "gates" if gradient == "gates" else "samples"
        self.gradient, self.reach, self.strength = gradient, reach, strength
        self.warm_up, self.every = warm_up, every

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        update = self._update(run, adam_rate(self.reach, round(steps * (1 - self.warm_up)), self.every))
        samples = 1 if self.gradient == "gates" else 10
        return [
            Phase(self.warm_up, rate=(0.05, 0.04), name="warm-up"),
            Phase(1 - self.warm_up, Samples(samples), update=update, every=self.every, rate=(0.04, 1e-3)),
        ]

    def _update(self, run: Run, rate: float) -> Update:
        if self.gradient == "gates":
            if not run.constraints:
                return BinaryGates(rate)
            table, constant, target = cost_table(run)
            return BinaryGates(rate, cost=table, target=target, constant=constant, strength=self.strength)

        def reward(losses: Tensor, architectures: Sequence[Architecture]) -> Tensor:
            # The published reward is accuracy times (target / cost)^0.1; a likelihood stands for the accuracy.
            rewards = torch.exp(-losses)
            for limit in run.constraints:
                costs = torch.tensor([row[limit.key] for row in run.screened(architectures)]).to(losses)
                rewards = rewards * (limit.limit / costs.clamp(min=1e-9)) ** 0.1
            return rewards

        return ScoreFunction(rate, (0.0, 0.999), memory=0.99, reward=reward)
