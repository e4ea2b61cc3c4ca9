"""The one loop in which all small networks among the predictors are trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.seeds import derive, stream


@dataclass(frozen=True)
class Schedule:
    """How a small network is trained: Adam, and a learning rate that falls to zero along a cosine.

    Args:
        epochs: passes over the samples.
        batch: samples a step; the batches of an epoch differ by one sample at most.
        rate: the learning rate at the beginning.
        decay: of weights; added to the gradient, or, where `decoupled`, taken off the weights (AdamW).
        betas: of Adam.
        cosine: whether the rate falls; it stays where not.
        clip: the largest norm of the gradient.
        patience: epochs without a lower mean loss after which training ends.
    """

    epochs: int
    batch: int
    rate: float
    decay: float = 0.0
    decoupled: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    cosine: bool = True
    clip: float | None = None
    patience: int | None = None


def train(
    network: nn.Module, loss: Callable[[Tensor], Tensor], samples: int, schedule: Schedule, rng: np.random.Generator
) -> None:
    """Train a network in place.

    Args:
        network: its parameters are what is changed.
        loss: of a batch, from the places of its samples.
        samples: how many there are.
        schedule: for how long, and how.
        rng: draws the order of the samples.
    """
    kind = torch.optim.AdamW if schedule.decoupled else torch.optim.Adam
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = kind(parameters, schedule.rate, schedule.betas, weight_decay=schedule.decay, fused=True)
    batches = -(-samples // schedule.batch)
    steps, step = schedule.epochs * batches, 0
    best, since = math.inf, 0
    network.train()
    for _ in range(schedule.epochs):
        seen = 0.0
        for part in np.array_split(rng.permutation(samples), batches):
            if schedule.cosine:
                optimizer.param_groups[0]["lr"] = schedule.rate * (1 + math.cos(math.pi * step / steps)) / 2
            optimizer.zero_grad()
            value = loss(torch.from_numpy(part))
            torch.autograd.backward(value)
            if schedule.clip is not None:
                nn.utils.clip_grad_norm_(parameters, schedule.clip)
            optimizer.step()
            step += 1
            if schedule.patience is not None:
                seen += float(value.detach()) * len(part)
        if schedule.patience is not None:
            best, since = (seen, 0) if seen < best else (best, since + 1)
            if since >= schedule.patience:
                break
    network.eval()


@contextmanager
def randomness(seed: int, name: str) -> Iterator[np.random.Generator]:
    """A stream of its own, for numpy and, inside, for torch; torch's global state is as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, name, "torch"))
        yield stream(seed, name)
