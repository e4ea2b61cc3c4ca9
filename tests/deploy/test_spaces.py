"""What share of the networks of a space has an integer form, on maps with even and with odd sides."""

import pytest

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.deploy.reading import read
from archscout.networks.tracing import blueprint
from archscout.testing.tasks import tiny_task

WHOLLY = ("classic", "darts", "enas", "nasbench201", "nasbench_macro")
"""Spaces of which every network has one."""

PARTLY = {"nasbench101": 0.5}
"""Spaces of which this share has one at least: parts of channels are read."""

SHAPES = ((3, 20, 20), (1, 21, 17))


def refusals(name: str, count: int) -> list[str]:
    """Of so many random networks, half on each shape, what those say that are refused."""
    space, rng = create("space", name), stream(0, "integer forms", name)
    said = []
    for number in range(count):
        task = tiny_task(SHAPES[number % 2])
        try:
            read(task.answering(blueprint(space, space.sample(rng), task)), task.input_shape)
        except UsageError as error:
            said.append(str(error))
    return said


@pytest.mark.parametrize("name", ["classic", "enas"])
def test_networks_of_a_space_have_an_integer_form(name: str) -> None:
    assert not refusals(name, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLLY)
def test_every_network_of_a_space_has_an_integer_form(name: str) -> None:
    assert not refusals(name, 20)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTLY)
def test_what_share_of_a_space_has_an_integer_form(name: str) -> None:
    said = refusals(name, 20)
    assert len(said) <= (1 - PARTLY[name]) * 20, said


@pytest.mark.parametrize(("name", "operator"), [("mobile", "hardswish"), ("fbnetv2", "hardswish")])
def test_what_networks_without_one_have_is_named(name: str, operator: str) -> None:
    assert any(f"'{operator}': use ReLU" in said for said in refusals(name, 3))
