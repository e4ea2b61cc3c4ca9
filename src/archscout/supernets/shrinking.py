"""A distribution that loses options while it is trained on: the space shrinks choice by choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from scipy.stats import rankdata

from archscout.core.architecture import Architecture
from archscout.core.choice import Option
from archscout.core.subspace import SubSpace
from archscout.supernets.distributions import DEAD, Distribution


def alive(distribution: Distribution) -> dict[str, tuple[Option, ...]]:
    """By choice, the options that have a probability."""
    marginals = distribution.marginals()
    return {
        choice.name: tuple(o for o, p in zip(choice.options, marginals[choice.name].tolist(), strict=True) if p > 0)
        for choice in distribution.space.choices
    }


def part(distribution: Distribution) -> SubSpace:
    """The space as far as it is alive."""
    return SubSpace(distribution.space, alive(distribution))


def drop(distribution: Distribution, gone: Iterable[tuple[str, Option]]) -> None:
    """Take options away, in place; the others of a choice keep their proportions."""
    choices = {variable.choices[0].name: place for place, variable in enumerate(distribution.variables)}
    with torch.no_grad():
        for name, option in gone:
            place = choices[name]
            distribution.logits[place][distribution.variables[place].choices[0].index(option)] = DEAD


def option_ranks(
    left: Mapping[str, Sequence[Option]], architectures: Sequence[Architecture], scores: Sequence[float]
) -> dict[str, list[float]]:
    """By choice, for each option the mean rank (0 worst, 1 best) of the architectures that have it; NaN where none has.

    Args:
        left: the options of each choice.
        architectures: that were scored.
        scores: of each, higher is better; undefined ones rank last.
    """
    values = np.nan_to_num(np.asarray(scores, dtype=float), nan=-np.inf)
    ranks = (rankdata(values) - 1) / max(1, len(values) - 1)
    return {
        name: [
            float(np.mean(rows)) if (rows := [r for a, r in zip(architectures, ranks, strict=True) if a.get(name) == o])
            else float("nan")
            for o in options
        ]
        for name, options in left.items()
    }  # fmt: skip


def worst(ranks: Mapping[str, Sequence[float]], left: Mapping[str, Sequence[Option]], keep: int) -> list[
    tuple[str, Option]
]:  # fmt: skip
    """Of each choice that has more than `keep` options, the one of the lowest mean rank; one that nobody had goes
    first, for it is in no architecture that may be built."""
    gone = []
    for name, options in left.items():
        if len(options) > keep:
            values = [-1.0 if np.isnan(rank) else rank for rank in ranks[name]]
            gone.append((name, options[int(np.argmin(values))]))
    return gone
