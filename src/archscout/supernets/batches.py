"""Batches by number: batch k of a seed is the same whenever it is asked for, so that no generator needs to be kept."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from archscout.core.errors import UsageError
from archscout.core.seeds import derive
from archscout.core.task import Split, Task


class Batches:
    """An endless sequence of batches of a split, in a new order each time through.

    Args:
        task: whose examples.
        split: which of them.
        size: of a batch, in examples; the whole split where that has fewer.
        seed: of the order and of augmentation.
        name: of the stream of random numbers.
        augment: whether batches are changed at random by `task.transform`.

    Raises:
        UsageError: for a split of fewer than two examples, which batch normalisation cannot do with.
    """

    def __init__(
        self, task: Task, split: Split, size: int, *, seed: int, name: str, device: str = "cpu", augment: bool = False
    ) -> None:
        if len(split) < 2:
            raise UsageError(
                f"task '{task.name}' has {len(split)} examples for {name}: shared weights need at least two."
            )
        self.task, self.seed, self.name, self.augment = task, seed, name, augment
        self.x, self.y = task.tensors(split, device)
        self.size = min(size, len(self.x))
        self.each = len(self.x) // self.size
        self._order: tuple[int, Tensor] | None = None

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        epoch, place = divmod(number, self.each)
        if self._order is None or self._order[0] != epoch:
            generator = Generator().manual_seed(derive(self.seed, self.name, "order", epoch))
            self._order = epoch, torch.randperm(len(self.x), generator=generator).to(self.x.device)
        rows = self._order[1][place * self.size : (place + 1) * self.size]
        x, y = self.x[rows], self.y[rows]
        if self.augment:
            generator = Generator(x.device).manual_seed(derive(self.seed, self.name, "augment", number))
            x, y = self.task.transform(x, y, generator)
        return x, y
