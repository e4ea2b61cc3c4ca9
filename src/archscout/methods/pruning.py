"""Parts of methods that take options away from a supernet, until one a choice is left.

What is live is a set of options for each choice; a measure looks at a supernet in which the live ones are mixed with
equal weights. Options that nobody would miss go first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from scipy.stats import rankdata

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.evolution import evolve
from archscout.core.method import Run
from archscout.core.subspace import SubSpace
from archscout.networks.gate import Gate
from archscout.supernets.derive import likeliest
from archscout.supernets.distributions import Distribution, is_product

Live = Mapping[str, Sequence[Option]]
"""By choice, the options that are left."""

Pair = tuple[str, Option]
"""A choice and one of its options."""

Measure = Callable[[Live], Sequence[Sequence[float]]]
"""Indicators x repeats; less of an indicator is better. A repeat has the same draws whatever is live."""

DIGITS = 3
"""Significant digits to which changes are compared."""

ALTERNATIVES = 8
"""Architectures that stand by, where the first breaks a limit or cannot be trained."""

_TRIES = 500


def prune(live: Live, measure: Measure, *, number: int = 1) -> tuple[dict[str, list[Option]], dict[Pair, int]]:
    """Take `number` options of every choice away at a time, until one is left.

    Returns:
        What is left, and the round in which each other option went, from 1.
    """
    left = {choice: list(options) for choice, options in live.items()}
    went: dict[Pair, int] = {}
    while any(len(options) > 1 for options in left.values()):
        candidates = [(c, option) for c, options in left.items() if len(options) > 1 for option in options]
        leaving: dict[str, list[Option]] = {}
        for choice, option in by_loss(left, candidates, measure):
            some = leaving.setdefault(choice, [])
            if len(some) < min(number, len(left[choice]) - 1):
                some.append(option)
        this = 1 + max(went.values(), default=0)
        for choice, options in leaving.items():
            left[choice] = [option for option in left[choice] if option not in options]
            went |= {(choice, option): this for option in options}
    return left, went


def by_loss(live: Live, candidates: Sequence[Pair], measure: Measure) -> list[Pair]:
    """Candidates by what is lost without each alone, the least missed first.

    For each indicator the change relative to what it is with all of them, the mean over repeats, is ranked (equal ones
    share a rank); the ranks are added up.
    """
    whole = np.asarray(measure(live), dtype=float)
    changes = []
    for choice, option in candidates:
        rest = {**live, choice: [other for other in live[choice] if other != option]}
        change = (np.asarray(measure(rest), dtype=float) - whole) / np.where(whole == 0, 1.0, np.abs(whole))
        changes.append([_significant(value) for value in change.mean(axis=1)])
    ranks = rankdata(np.asarray(changes), method="dense", axis=0).sum(axis=1)
    return [candidates[place] for place in np.argsort(ranks, kind="stable")]


def gates(choices: Sequence[Choice], live: Live) -> dict[str, Gate]:
    """The live options of every choice, mixed with equal weights; nothing where none is left."""
    built = {}
    for choice in choices:
        places = tuple(choice.index(option) for option in live[choice.name])
        weights = torch.zeros(len(choice.options))
        weights[list(places)] = 1 / max(1, len(places))
        built[choice.name] = Gate(places, weights)
    return built


def preferred(run: Run, preference: Mapping[Pair, float], pick: Architecture) -> list[Architecture]:
    """Architectures that keep every limit, by the sum of the preferences of their options; `pick` is the first of all.

    Options without a preference are never taken where choices are free.
    """
    if is_product(run.space):
        alive: dict[str, list[Option]] = {}
        for name, option in preference:
            alive.setdefault(name, []).append(option)
        distribution = Distribution(SubSpace(run.space, alive))
        for variable, logits in zip(distribution.variables, distribution.logits, strict=True):
            (choice,) = variable.choices
            logits.data = torch.tensor([preference.get((choice.name, option), 0.0) for option in choice.options])
        return likeliest(distribution, run.admit, ALTERNATIVES, run.rng("preferred"))

    def score(architectures: Sequence[Architecture]) -> list[float]:
        return [math.fsum(preference.get(pair, 0.0) for pair in a.items()) for a in architectures]

    kept = run.admit([pick], 1)
    candidates = evolve(run.space, score, run.admit, run.rng("preferred"), first=kept, most=_TRIES) if not kept else []
    return kept or [architecture for architecture, _ in candidates[:ALTERNATIVES]]


def _significant(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
