"""The architecture update by natural gradient: random logits, and the optimizer that holds their mean (BaLeNAS)."""

from __future__ import annotations

import numpy as np
import torch
from torch.optim import Optimizer

from archscout.supernets.distributions import Distribution
from archscout.supernets.plans import Plan
from archscout.supernets.step import Step
from archscout.supernets.updates import Pathwise, Update


class NaturalGaussian(Update):
    """Random logits: a normal distribution around each, moved by its natural gradient (BaLeNAS: Zhang et al. 2022,
    arXiv 2111.13204).

    With eps standard normal, logits = mean + eps / sqrt(count * (s + prior)); with g the gradient of the validation
    loss there, m = b1 m + (1 - b1)(g + prior * mean), s = b2 s + (1 - b2) g^2 and
    mean -= rate * m' / (sqrt(s') + prior), where ' corrects for the start. Constants are this package's choice.

    Args:
        plan: whose gates the gradient flows through.
        rate, betas: as above.
        prior: the precision of the prior, divided by `count`.
        count: of examples: the larger, the smaller the noise.
    """

    def __init__(
        self,
        plan: Plan,
        rate: float = 1e-2,
        betas: tuple[float, float] = (0.9, 0.999),
        *,
        prior: float = 1e-3,
        count: float = 1e4,
    ) -> None:
        super().__init__(rate, betas, 0.0)
        self.pathwise, self.prior, self.count = Pathwise(plan), prior, count

    def optimizer(self, distribution: Distribution) -> Optimizer:
        return GaussianMean(distribution.parameters(), self.rate, self.betas, self.prior, self.count)

    def begin(self, step: Step, optimizer: Optimizer) -> None:
        assert isinstance(optimizer, GaussianMean)
        optimizer.perturb(step.rng("logits"))

    def gradients(self, step: Step) -> dict[str, float]:
        return self.pathwise.gradients(step)


class GaussianMean(Optimizer):
    """The optimizer of `NaturalGaussian`: between `perturb` and `step`, parameters hold a draw and not their mean."""

    def __init__(self, parameters: object, rate: float, betas: tuple[float, float], prior: float, count: float) -> None:
        defaults = {"lr": rate, "betas": betas, "prior": prior, "count": count}
        super().__init__(parameters, defaults)  # type: ignore[arg-type]
        for group in self.param_groups:
            for p in group["params"]:
                zeros = torch.zeros_like(p)
                self.state[p] = {
                    "step": torch.zeros(()), "m": zeros.clone(), "s": zeros.clone(), "mean": p.detach().clone(),
                }  # fmt: skip

    @torch.no_grad()
    def perturb(self, rng: np.random.Generator) -> None:
        """Put a draw in the place of the mean."""
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["mean"].copy_(p)
                noise = torch.as_tensor(rng.standard_normal(p.shape), dtype=p.dtype, device=p.device)
                p.add_(noise / torch.sqrt(group["count"] * (state["s"] + group["prior"])))

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Take the draw back and move the mean."""
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                p.copy_(state["mean"])
                if p.grad is None:
                    continue
                state["step"] += 1
                t = float(state["step"])
                state["m"].mul_(first).add_(p.grad + group["prior"] * p, alpha=1 - first)
                state["s"].mul_(second).addcmul_(p.grad, p.grad, value=1 - second)
                m, s = state["m"] / (1 - first**t), state["s"] / (1 - second**t)
                p.sub_(group["lr"] * m / (torch.sqrt(s) + group["prior"]))
