"""A space with some options left."""

from __future__ import annotations

import pytest
import torch

import archscout
from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.subspace import SubSpace
from archscout.networks.pick import build
from archscout.supernets.supernet import Supernet
from archscout.testing import SpaceConformance, tiny_task

CELLS = archscout.space("nasbench201:width=2,cells=1")
ALIVE = {
    "edge 0->1": ("nor_conv_1x1", "skip_connect"),
    "edge 0->2": ("none", "nor_conv_3x3"),
    "edge 2->3": ("none", "avg_pool_3x3", "nor_conv_1x1"),
}


class TestPartOfNASBench201(SpaceConformance):
    networks = 3

    def space(self) -> Space:
        return SubSpace(CELLS, ALIVE)


class TestPartOfMobile(SpaceConformance):
    """With choices that depend on others, of sizes and of depths."""

    networks = 2

    def space(self) -> Space:
        whole = archscout.space("mobile:width=8,stages=2,depth=2")
        return SubSpace(whole, {c.name: c.options[:2] for c in whole.choices})


def test_it_has_exactly_the_architectures_whose_options_are_alive() -> None:
    part = SubSpace(CELLS, ALIVE)
    expected = {a for a in CELLS if all(a[name] in options for name, options in ALIVE.items())}
    assert set(part) == expected
    assert part.size() == len(expected) == 2 * 2 * 3 * 5**3
    for seed in range(20):
        sample = part.sample(stream(seed))
        assert {sample, part.mutate(sample, stream(seed)), *part.neighbours(sample)} <= expected
    outside = next(a for a in CELLS if a not in expected)
    assert outside not in part
    with pytest.raises(UsageError, match="has no option"):
        part.parse(outside.text)


def test_networks_are_the_whole_spaces_and_the_supernet_holds_the_living_alone() -> None:
    part, task = SubSpace(CELLS, ALIVE), tiny_task()
    architecture = part.sample(stream(0))
    ours, theirs = (build(space, architecture, task, seed=1).state_dict() for space in (part, CELLS))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    count = {space.name: sum(p.numel() for p in Supernet(space, task).parameters()) for space in (part, CELLS)}
    assert count[part.name] < count[CELLS.name]


def test_a_part_of_a_part_is_a_part_of_the_whole() -> None:
    part = SubSpace(CELLS, ALIVE)
    smaller = part.without("edge 0->1", "skip_connect")
    assert smaller.whole is CELLS
    assert smaller.alive["edge 0->1"] == ("nor_conv_1x1",)
    assert smaller.digest == SubSpace(CELLS, {**ALIVE, "edge 0->1": ["nor_conv_1x1"]}).digest
    assert len({CELLS.digest, part.digest, smaller.digest, SubSpace(CELLS, {}).digest}) == 4
    with pytest.raises(UsageError, match="left"):
        smaller.without("edge 0->1", "nor_conv_1x1")


def test_choices_that_depend_on_dead_options_are_gone() -> None:
    whole = archscout.space("mobile:width=8,stages=2,depth=2")
    conditional = next(choice for choice in whole.choices if choice.condition is not None)
    assert conditional.condition is not None
    parent = next(choice for choice in whole.choices if choice.name == conditional.condition.choice)
    left = [option for option in parent.options if option not in conditional.condition.values]
    part = SubSpace(whole, {parent.name: left})
    assert conditional.name not in part.alive
    assert set(part) if part.size() < 1000 else part.sample(stream(0)) in whole


@pytest.mark.parametrize(
    ("space", "alive", "words"),
    [
        (CELLS, {"edge 0->4": ["none"]}, "has no choice 'edge 0->4': did you mean"),
        (CELLS, {"edge 0->1": ["conv"]}, "has no option 'conv'"),
        (CELLS, {"edge 0->1": []}, "left"),
        (archscout.space("darts"), {}, "not every combination"),
    ],
)
def test_what_makes_no_part_is_refused(space: Space, alive: dict[str, list[str]], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SubSpace(space, alive)
