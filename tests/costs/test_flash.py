"""Flash and memory of the integer program, against the code that is written."""

import math
from dataclasses import replace

import pytest
from torch import nn

from archscout.core.cost import Cost
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.costs import feasibility, programs
from archscout.deploy.c import emit
from archscout.deploy.quantise import quantise
from archscout.deploy.reading import read
from archscout.finished.examples import calibration, span
from archscout.networks.choices import OneOf
from archscout.networks.pick import build
from archscout.spaces.model import ModelSpace
from archscout.testing import CostConformance
from archscout.testing.tasks import tiny_task


class Normalised(nn.Sequential):
    """By groups, which no integer code does."""

    def __init__(self) -> None:
        choice = OneOf([nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 1)])
        super().__init__(choice, nn.GroupNorm(2, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


class TestFlash(CostConformance):
    def cost(self) -> Cost:
        return create("cost", "flash")  # type: ignore[no-any-return]


class TestSram(CostConformance):
    def cost(self) -> Cost:
        return create("cost", "sram")  # type: ignore[no-any-return]


class TestInstructions(CostConformance):
    def cost(self) -> Cost:
        return create("cost", "instructions")  # type: ignore[no-any-return]


@pytest.mark.parametrize("number", range(2))
def test_what_is_estimated_is_what_the_code_has(number: int) -> None:
    space, task = create("space", "nasbench201:width=4,cells=1"), tiny_task((3, 16, 16))
    architecture = space.sample(stream(number))
    setting = Setting(space, task.sealed())
    program = read(task.deploy(build(space, architecture, task)), task.input_shape)
    x = calibration(task, 8)
    code = emit(quantise(program, x, span=span(task)), x[:1])
    flash, sram = (create("cost", name).measure(architecture, setting) for name in ("flash", "sram"))
    kernels = flash.value - code.constants
    assert 2500 < kernels < 7000
    assert 200 < sram.value - code.arena.size < 400


def test_an_operator_without_integer_form_takes_no_bound() -> None:
    space, task = ModelSpace(Normalised()), tiny_task((3, 8, 8), classes=3)
    setting = Setting(space, task.sealed())
    found = create("cost", "flash").measure(space.sample(stream(2)), setting)
    assert found.value == math.inf
    assert "'native_group_norm'" in found.details["refused"]
    assert feasibility.refused({"flash_bytes": found}) == found.details["refused"]


def test_numbers_that_are_no_pixels_need_no_table() -> None:
    space, task = create("space", "nasbench201:width=4,cells=1"), tiny_task()
    numbers = type(task.train)(task.train.x.astype("float32"), task.train.y)
    architecture = space.sample(stream(1))
    with_table, without = (
        create("cost", "flash").measure(architecture, Setting(space, each.sealed())).value
        for each in (task, replace(task, train=numbers))
    )
    assert with_table - without == 256


def test_a_program_is_read_once_for_flash_memory_and_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    space, task = create("space", "classic"), tiny_task()
    architecture, setting = space.sample(stream(0, "once")), Setting(space, task)
    reads, read_program = [], programs.read
    monkeypatch.setattr(programs, "read", lambda *arguments: reads.append(1) or read_program(*arguments))
    monkeypatch.setattr(programs, "_counted", {})
    for name in ("flash", "sram", "instructions", "flash"):
        assert create("cost", name).measure(architecture, setting).value > 0
    assert len(reads) == 1
    create("cost", "flash").measure(architecture, Setting(space, tiny_task(classes=4)))
    assert len(reads) == 2, "another task is another program"


def test_of_a_network_that_answers_for_two_images_the_code_is_of_one() -> None:
    space, task = create("space", "classic"), tiny_task()
    architecture = space.sample(stream(0, "mirrored"))
    for name in ("flash", "sram", "instructions"):
        cost = create("cost", name)
        mirrored = cost.measure(architecture, Setting(space, replace(task, mirrored=True)))
        assert mirrored.value == cost.measure(architecture, Setting(space, task)).value < math.inf
