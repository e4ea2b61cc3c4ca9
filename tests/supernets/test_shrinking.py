"""Spaces that shrink choice by choice, against a score whose best options are known."""

import importlib.util
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from archscout.core.seeds import stream
from archscout.supernets.distributions import Distribution
from archscout.supernets.shrinking import alive, drop, option_ranks, part, worst

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)


def test_options_that_are_gone_are_never_drawn():
    distribution = toy.random_logits(Distribution(toy.Toy()))
    before = distribution.marginals()["first"].detach()
    drop(distribution, [("first", "tanh")])
    assert alive(distribution) == {"first": ("skip", "linear"), "second": ("tanh", "linear")}
    left = distribution.marginals()["first"].detach()
    assert float(left[1]) == 0.0
    assert float(left[0] / left[2]) == pytest.approx(float(before[0] / before[2]), rel=1e-5)
    drawn = distribution.sample(200, stream(0), balanced=True) + distribution.sample(200, stream(1))
    assert {a["first"] for a in drawn} == {"skip", "linear"}
    distribution.check()
    assert math.isfinite(float(distribution.entropy().detach()))
    assert part(distribution).size() == 4


def test_mean_ranks_are_those_of_enumeration():
    space = toy.Toy()
    every = list(space)
    values = {"skip": 0.0, "tanh": 3.0, "linear": 1.0}
    scores = [values[a["first"]] + 0.1 * (a["second"] == "linear") for a in every]
    order = np.argsort(np.argsort(scores)) / (len(scores) - 1)
    ranks = option_ranks({c.name: c.options for c in space.choices}, every, scores)
    for choice in space.choices:
        for option, rank in zip(choice.options, ranks[choice.name], strict=True):
            own = [r for a, r in zip(every, order, strict=True) if a[choice.name] == option]
            assert rank == pytest.approx(sum(own) / len(own))


def test_the_worst_goes_and_what_no_limit_allows_before_it():
    left = {"first": ("skip", "tanh", "linear"), "second": ("tanh", "linear")}
    assert worst({"first": [0.4, 0.2, 0.9], "second": [0.1, 0.9]}, left, keep=2) == [("first", "tanh")]
    assert worst({"first": [0.4, 0.2, float("nan")], "second": [0.1, 0.9]}, left, keep=1) == [
        ("first", "linear"), ("second", "tanh"),
    ]  # fmt: skip


def test_rounds_keep_the_best_of_an_additive_score():
    """Whatever is left after two rounds on NAS-Bench-201, the best architecture of the score is there."""
    space = toy.nasbench()
    rng = stream(3)
    worth = {
        (c.name, o): float(rng.normal())
        for c, o in itertools.chain(*([(c, o) for o in c.options] for c in space.choices))
    }

    def score(architectures):
        return [sum(worth[pair] for pair in a.items()) for a in architectures]

    distribution = Distribution(space)
    for number in range(2):
        drawn = distribution.sample(400, stream(number, "draws"), balanced=True)
        left = alive(distribution)
        drop(distribution, worst(option_ranks(left, drawn, score(drawn)), left, keep=3))
    best = {c.name: max(c.options, key=lambda o, c=c: worth[c.name, o]) for c in space.choices}
    assert space.architecture(best) in part(distribution)
    assert all(len(options) == 3 for options in alive(distribution).values())
    assert torch.isfinite(torch.cat([logits.detach() for logits in distribution.logits])).all()
