"""From a distribution to gates: the ways in which systems let a choice act on the forward pass."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from archscout.core.errors import UsageError
from archscout.networks.gate import Gate
from archscout.supernets.distributions import Distribution

Gates = dict[str, Gate]


def soft(distribution: Distribution) -> Gates:
    """Every option runs, weighted by its probability (DARTS: Liu et al. 2019, arXiv 1806.09055)."""
    return {name: Gate(tuple(range(len(p))), p) for name, p in distribution.weights().items()}


def straight_through(
    distribution: Distribution, rng: np.random.Generator, temperature: float, *, idle: bool = True
) -> Gates:
    """One option runs, drawn by the Gumbel trick; gradients flow as if the relaxed draw had (GDAS: Dong, Yang 2019,
    arXiv 1910.04465).

    With `idle`, options that are not drawn get a gradient too, as in the authors' code.
    """
    gates = {}
    for name, p in distribution.marginals().items():
        noise = torch.as_tensor(rng.gumbel(size=len(p)), dtype=p.dtype, device=p.device)
        relaxed = torch.softmax((_log(p) + noise) / temperature, 0)
        drawn = int(relaxed.argmax())
        one_hot = torch.zeros_like(p)
        one_hot[drawn] = 1.0
        gates[name] = Gate((drawn,), one_hot - relaxed.detach() + relaxed, idle=idle)
    return gates


def _log(p: Tensor) -> Tensor:
    """The logarithm; of options that are held out (probability 0), minus infinity without a gradient."""
    return torch.where(p > 0, torch.log(p.clamp(min=torch.finfo(p.dtype).tiny)), -torch.inf)


def binary(distribution: Distribution, rng: np.random.Generator) -> tuple[Gates, dict[str, Tensor]]:
    """One option is drawn and has multiplier 1, the others run with multiplier 0 and frozen weights (ProxylessNAS: Cai
    et al. 2019, arXiv 1812.00332).

    Returns:
        The gates, and by choice the multipliers, whose gradients `through_softmax` turns into those of the logits.
    """
    if not distribution.factorised:
        raise UsageError("binary gates need a factorised distribution: do not make it joint.")
    gates, multipliers = {}, {}
    for name, p in distribution.marginals().items():
        chances = p.detach().double().cpu().numpy()
        drawn = int(rng.choice(len(chances), p=chances / chances.sum()))
        multiplier = torch.zeros_like(p).detach()
        multiplier[drawn] = 1.0
        multiplier.requires_grad_()
        others = tuple(position for position in range(len(p)) if position != drawn)
        gates[name] = Gate((drawn, *others), multiplier, frozen=frozenset(others))
        multipliers[name] = multiplier
    return gates, multipliers


def through_softmax(gradient: Tensor, probabilities: Tensor) -> Tensor:
    """The gradient of logits from that of binary gates: da_i = sum_j dg_j p_j (delta_ij - p_i)."""
    return probabilities * (gradient - (gradient * probabilities).sum())
