"""Novelty as the only guide of which paths are trained (EN2AS: Zhang et al. 2019, arXiv 1907.09109)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from archscout.core.architecture import Architecture
from archscout.core.space import Space
from archscout.supernets.distributions import Distribution
from archscout.supernets.step import Job, Step
from archscout.supernets.updates import Update


class Archive(Distribution):
    """A set of architectures instead of probabilities, which stay uniform.

    Each member is a point (one number a choice) that is rounded to positions of options; `current` is the member whose
    turn it is.
    """

    members: Tensor
    current: Tensor

    def __init__(self, space: Space, size: int, rng: np.random.Generator) -> None:
        super().__init__(space)
        self.most = np.asarray([len(choice.options) - 1 for choice in space.choices])
        start = rng.integers(0, self.most + 1, (size, len(self.most))).astype(float)
        self.register_buffer("members", torch.from_numpy(start))
        self.register_buffer("current", torch.zeros((), dtype=torch.int64))

    def rounded(self, points: np.ndarray) -> np.ndarray:
        """The nearest positions of options."""
        places: np.ndarray = np.clip(np.rint(points), 0, self.most).astype(int)
        return places

    def architecture(self) -> Architecture:
        """The current member."""
        places = self.rounded(self.members[int(self.current)].cpu().numpy())
        space = self.space
        return space.architecture({c.name: c.options[i] for c, i in zip(space.choices, places, strict=True)})


class Novelty(Update):
    """Moves one random member of the archive towards where the archive is empty, by an evolution strategy.

    x += rate / (count * sigma) * sum of (f_i - mean f) eps_i, with f_i the mean distance of x + eps_i, rounded, from
    its nearest members; the distance is the share of choices that differ. The rate is this package's own: with the
    published 0.01 hardly any member ever leaves the option that it was drawn with, which `new` in the history shows.

    Args:
        rate, count, sigma: of the evolution strategy.
        nearest: how many members novelty is measured against.
    """

    def __init__(self, rate: float = 10.0, count: int = 10, sigma: float = 1.0, nearest: int = 10) -> None:
        super().__init__(0.0)
        self.step_size, self.count, self.sigma, self.nearest = rate, count, sigma, nearest
        self._new = 0.0

    def begin(self, step: Step, optimizer: Optimizer) -> None:
        archive, rng = step.distribution, step.rng("novelty")
        assert isinstance(archive, Archive)
        members = archive.members.cpu().numpy().copy()
        place = int(rng.integers(len(members)))
        noise = self.sigma * rng.standard_normal((self.count, members.shape[1]))
        tried = archive.rounded(members[place] + noise)
        others = archive.rounded(np.delete(members, place, 0))
        distance = np.sort((tried[:, None] != others[None]).mean(2), axis=1)[:, : self.nearest].mean(1)
        push = ((distance - distance.mean())[:, None] * noise).sum(0)
        moved = np.clip(members[place] + self.step_size / (self.count * self.sigma) * push, 0, archive.most)
        archive.members[place] = torch.from_numpy(moved).to(archive.members)
        archive.current.fill_(place)
        self._new = float((archive.rounded(moved) != archive.rounded(members[place])).any())

    def gradients(self, step: Step) -> dict[str, float]:
        return {"new": self._new}


def novel(step: Step) -> list[Job]:
    """The member of the archive that has just moved."""
    assert isinstance(step.distribution, Archive)
    return [Job(step.distribution.architecture())]
