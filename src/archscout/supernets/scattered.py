"""Scattered and grouped paths: each example, or each group of examples, of a batch takes a path of its own, so that a
step trains every option.

A single path a step gives an option one gradient in as many steps as there are options, in one context each time;
here every option sees its share of every batch, in as many contexts as that has examples, for about the same
arithmetic. Batch normalisation takes its statistics over the examples that come by where paths are scattered, and over
a group's own where they are grouped, as in scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from archscout.core.errors import UsageError
from archscout.networks.gate import Gate
from archscout.supernets.crowd import Crowd
from archscout.supernets.evaluate import batchable
from archscout.supernets.step import Job, Step


class Scattered(Gate):
    """A gate through which each example takes its own option.

    Args:
        options: the position of the option of each example (N,).
        count: how many options there are.
    """

    def __init__(self, options: np.ndarray, count: int) -> None:
        super().__init__(run=tuple(range(count)))
        order = np.argsort(options, kind="stable")
        object.__setattr__(self, "order", torch.from_numpy(order))
        object.__setattr__(self, "back", torch.from_numpy(np.argsort(order)))
        object.__setattr__(self, "counts", np.bincount(options, minlength=count).tolist())

    def mix(self, options: Sequence[nn.Module], *inputs: Any, **named: Any) -> Any:
        if len(inputs) != 1 or named:
            raise UsageError("paths can be scattered over choices between modules of one input alone.")
        order, back, counts = self.order, self.back, self.counts  # type: ignore[attr-defined]
        groups = torch.split(inputs[0][order.to(inputs[0].device)], counts)
        parts = [option(group) if len(group) else None for option, group in zip(options, groups, strict=True)]
        like = next((part for part in parts if part is not None), None)
        if like is None:
            return None
        filled = [
            like.new_zeros(count, *like.shape[1:]) if part is None else part
            for part, count in zip(parts, counts, strict=True)
        ]
        return torch.cat(filled)[back.to(like.device)]


GROUP = 16
"""Examples of a group."""


def scattered(step: Step) -> list[Job]:
    """As many uniform paths as there are examples, in one job. Raises `UsageError` for a space of widths or wiring."""
    _check(step)
    count = len(step.train[1])
    return [Job({name: Scattered(drawn, size) for name, drawn, size in _evenly(step, count)})]


def grouped(step: Step) -> list[Job]:
    """A uniform path for every sixteen examples or so, in one job. Raises `UsageError` as `scattered` does."""
    _check(step)
    space, count = step.supernet.space, _groups(step)
    drawn = [codes for _, codes, _ in _evenly(step, count)]
    architectures = [
        space.architecture(
            {c.name: c.options[int(codes[place])] for c, codes in zip(space.choices, drawn, strict=True)}
        )
        for place in range(count)
    ]
    return [Job(Crowd(space, architectures))]


def grouped_samples(step: Step) -> list[Job]:
    """The same with paths of the distribution, which together take every option as often as its probability says."""
    _check(step)
    architectures = step.distribution.sample(_groups(step), step.rng("paths"), balanced=True)
    return [Job(Crowd(step.supernet.space, architectures))]


def _groups(step: Step) -> int:
    """How many groups of equal size, of sixteen examples or so, a batch has."""
    examples = len(step.train[1])
    return max(n for n in range(1, max(1, examples // GROUP) + 1) if examples % n == 0)


def _evenly(step: Step, count: int) -> list[tuple[str, np.ndarray, int]]:
    """For each choice as many positions of options, each equally often, give or take one, in an order of its own."""
    rng = step.rng("paths")
    sizes = {choice.name: len(choice.options) for choice in step.supernet.space.choices}
    return [(name, rng.permutation(np.arange(count) % size), size) for name, size in sizes.items()]


def _check(step: Step) -> None:
    if not batchable(step.supernet):
        raise UsageError(
            f"paths cannot be scattered over the examples of a batch in space '{step.supernet.space.name}', whose "
            "choices are not all between modules on one feature map: take uniform or fair paths."
        )
