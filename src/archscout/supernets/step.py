"""What the parts of a training with shared weights see of the step in which they are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer

from archscout.core.architecture import Architecture
from archscout.core.seeds import stream
from archscout.networks.gate import Gate
from archscout.supernets.crowd import Crowd
from archscout.supernets.distributions import Distribution
from archscout.supernets.supernet import Supernet

Data = tuple[Tensor, Tensor]


@dataclass
class Job:
    """One path through the supernet: an architecture, or gates; `role` is what terms know it by."""

    path: Architecture | Mapping[str, Gate]
    role: str = "path"

    @property
    def architecture(self) -> Architecture:
        """The path where it is an architecture. Raises `TypeError` for gates."""
        if not isinstance(self.path, Architecture):
            raise TypeError("a plan of gates was combined with a part that needs architectures")
        return self.path

    @property
    def gates(self) -> Mapping[str, Gate]:
        """The path where it is gates. Raises `TypeError` for an architecture."""
        if isinstance(self.path, Architecture):
            raise TypeError("a plan of architectures was combined with a part that needs gates")
        return self.path


@dataclass
class Step:
    """One step of a training.

    `number` counts steps from 0 over all phases, `progress` runs from 0 to 1 within the phase, `temperature` is that
    of relaxed samples, `jobs` are the paths of this step, `weights` and `optimizer` those that this phase trains,
    `teacher` the outputs that students learn from.
    """

    number: int
    progress: float
    seed: int
    supernet: Supernet
    distribution: Distribution
    train: Data
    valid: Data
    temperature: float
    weights: list[nn.Parameter]
    optimizer: Optimizer
    jobs: list[Job] = field(default_factory=list)
    teacher: Tensor | None = None

    def rng(self, purpose: str) -> np.random.Generator:
        """A stream of random numbers of this step alone."""
        return stream(self.seed, "supernet step", self.number, purpose)

    def outputs(self, path: Architecture | Mapping[str, Gate], x: Tensor) -> Tensor:
        """What the supernet makes of inputs along a path."""
        if isinstance(path, Crowd):
            return path.run(self.supernet, x)
        if isinstance(path, Architecture):
            return self.supernet.select(path)(x)  # type: ignore[no-any-return]
        return self.supernet.gate(path)(x)  # type: ignore[no-any-return]

    def loss(self, path: Architecture | Mapping[str, Gate], data: Data) -> Tensor:
        """The mean loss of a batch along a path."""
        loss: Tensor = self.supernet.task.loss(self.outputs(path, data[0]), data[1])
        return loss

    @contextmanager
    def weights_at_rest(self) -> Iterator[None]:
        """No weight gets a gradient: for gradients of the architecture alone."""
        for weight in self.weights:
            weight.requires_grad_(False)
        try:
            yield
        finally:
            for weight in self.weights:
                weight.requires_grad_(True)
