"""Every network of these spaces has an integer form, on maps with even and with odd sides."""

import pytest

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.deploy.reading import read
from archscout.networks.tracing import blueprint
from archscout.testing.tasks import tiny_task

WHOLLY = (
    "classic", "darts", "enas", "fbnet", "fbnetv2", "mobile", "nago", "nasbench101", "nasbench201", "nasbench_macro",
    "randwire",
)  # fmt: skip
"""Spaces of which every network has one."""

LARGE = ("nago", "randwire")
"""Those whose networks take seconds to read: fewer are drawn."""

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


@pytest.mark.parametrize("name", ["classic", "mobile"])
def test_networks_of_a_space_have_an_integer_form(name: str) -> None:
    assert not refusals(name, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLLY)
def test_every_network_of_a_space_has_an_integer_form(name: str) -> None:
    assert not refusals(name, 4 if name in LARGE else 20)
