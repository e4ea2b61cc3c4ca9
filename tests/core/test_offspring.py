"""Offspring of parents: who is a parent, and how far away they are."""

from __future__ import annotations

import numpy as np

from archscout.core.offspring import child, mutant
from archscout.core.registry import create


def test_a_mutant_is_so_many_changes_away_from_a_parent_that_is_as_likely_as_the_others() -> None:
    space, rng = create("space", "nasbench201:width=4,cells=1"), np.random.default_rng(0)
    parents = [space.sample(rng) for _ in range(3)]
    asked = []

    def changes(parent):
        asked.append(parents.index(parent))
        return 2

    mutants = [mutant(space, parents, rng, changes) for _ in range(300)]
    assert np.bincount(asked).min() > 70
    away = [sum(one[name] != parents[which][name] for name in one) for one, which in zip(mutants, asked, strict=True)]
    assert set(away) == {0, 1, 2}, "the second change may meet the first, or take it back"
    assert all(one in space for one in mutants)
    assert mutant(space, parents, rng, lambda _: 0) in parents


def test_a_child_has_each_option_from_one_of_two_parents() -> None:
    space, rng = create("space", "nasbench201:width=4,cells=1"), np.random.default_rng(1)
    names = [choice.name for choice in space.choices]
    one, other = (space.parse(f"|{a}~0|+|{a}~0|{a}~1|+|{a}~0|{a}~1|{a}~2|") for a in ("none", "nor_conv_3x3"))
    children = [child(space, [one, other], rng) for _ in range(200)]
    assert all(each[name] in (one[name], other[name]) for each in children for name in names)
    shares = [sum(each[name] == one[name] for each in children) / len(children) for name in names]
    assert all(0.35 < share < 0.65 for share in shares)
    assert any(each == one for each in children), "both parents may be one"
