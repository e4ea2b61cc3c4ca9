"""Evolution on a cheap score: it climbs, pays for each network once, keeps limits and breeds as published."""

from __future__ import annotations

import itertools
import math

import pytest

from archscout.core import evolution
from archscout.core.evolution import evolve
from archscout.core.registry import create
from archscout.core.seeds import stream

SPACE = create("space", "nasbench201:width=4,cells=1")


def everyone(architectures, count):
    return list(itertools.islice(architectures, count))


def convolutions(architecture):
    return architecture.text.count("nor_conv_3x3")


def test_evolution_finds_the_best_of_a_smooth_landscape_and_pays_once():
    paid = []

    def score(architectures):
        paid.extend(SPACE.canonical(a) for a in architectures)
        return [convolutions(a) - 0.1 * a.text.count("avg_pool") for a in architectures]

    result = evolve(SPACE, score, everyone, stream(0), most=400)
    assert len(paid) == len(set(paid)) == len(result) == 400
    assert convolutions(result[0][0]) == 6
    values = [value for _, value in result]
    assert values == sorted(values, reverse=True)
    again = evolve(SPACE, score, everyone, stream(0), most=400)
    assert [a.text for a, _ in again] == [a.text for a, _ in result]


def test_evolution_keeps_limits_and_ends_where_nothing_is_left():
    def admit(architectures, count):
        return everyone((a for a in architectures if convolutions(a) <= 2), count)

    result = evolve(SPACE, lambda batch: [float(convolutions(a)) for a in batch], admit, stream(1), most=200)
    assert max(value for _, value in result) == 2
    few = create("space", "nasbench201:width=4,cells=1")
    allowed = {few.canonical(a) for a in itertools.islice(few, 3)}

    def narrow(architectures, count):
        return everyone((a for a in architectures if few.canonical(a) in allowed), count)

    start = list(itertools.islice(few, 3))
    assert len(evolve(few, lambda b: [math.nan] * len(b), narrow, stream(2), first=start)) == len(allowed)


def test_half_of_a_generation_are_mutants_and_half_children_of_the_best_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    bred: dict[str, list[list[str]]] = {"mutant": [], "child": []}
    for name, breed in (("mutant", evolution.mutant), ("child", evolution.child)):

        def noted(space, parents, *more, name=name, breed=breed):
            one = breed(space, parents, *more)
            bred[name].append([parent.text for parent in parents])
            origin[one.text] = name
            return one

        monkeypatch.setattr(evolution, name, noted)
    origin: dict[str, str] = {}
    generations: list[list[str]] = []
    values: list[list[float]] = []

    def score(architectures):
        generations.append([origin.get(a.text, "random") for a in architectures])
        values.append([float(convolutions(a)) for a in architectures])
        return values[-1]

    evolve(SPACE, score, everyone, stream(3), most=80, population=40)
    assert [len(generation) for generation in generations] == [40, 40]
    assert set(generations[0]) == {"random"}
    assert generations[1] == ["mutant"] * 20 + ["child"] * 20
    (parents,) = {tuple(parents) for parents in (*bred["mutant"], *bred["child"])}
    assert len(parents) == 10
    assert [convolutions(SPACE.parse(text)) for text in parents] == sorted(values[0], reverse=True)[:10]
