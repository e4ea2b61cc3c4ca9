"""C code against the integer reference, byte for byte, on this machine and in QEMU."""

import shutil
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.deploy import toolchain
from archscout.deploy.c import Code, emit, flash_bytes, flash_constants, sram_bytes
from archscout.deploy.quantise import Quantisation, Quantised, quantise
from archscout.deploy.reading import read
from archscout.networks.pick import build
from archscout.testing.tasks import tiny_task

CHECKED = "-O1 -std=c99 -Wall -Wextra -Werror -fsanitize=undefined,address -fno-sanitize-recover"

needs_host = pytest.mark.skipif(bool(toolchain.missing(toolchain.HOST)), reason="no make and cc")
needs_qemu = pytest.mark.skipif(
    bool(toolchain.missing((*toolchain.CROSS, *toolchain.EMULATOR))), reason="no cross compiler and QEMU"
)


class Everything(nn.Module):
    """Each operator, with odd sides, strides, paddings and groups."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.grouped = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Conv2d(6, 9, 3, padding=1, groups=3)
        self.wide = nn.Conv2d(9, 9, (3, 5), padding=(2, 4), dilation=2, groups=9)
        self.narrow, self.multiplied = nn.Conv2d(9, 6, 1), nn.Conv2d(6, 12, 3, stride=2, groups=6)
        self.largest, self.average = nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.padded = nn.AvgPool2d(2, 1, 1)
        self.last, self.out = nn.Linear(12 * 3 * 3, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        y = nn.functional.relu6(self.wide(self.grouped(x)))
        x = x + self.narrow(y)
        x = self.average(torch.relu(x)) + self.largest(x)
        x = torch.relu(self.multiplied(self.padded(x)))
        x = self.last(x.flatten(1))
        return self.out(torch.relu(x))


class Gated(nn.Module):
    """Tables, products, and channels that are taken, joined and shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.grouped = nn.Conv2d(3, 12, 3, 2, 1), nn.Conv2d(12, 12, 1, groups=3)
        self.reduce, self.excite, self.last = nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1), nn.Linear(13, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.hardswish(self.stem(x))
        y = nn.functional.channel_shuffle(self.grouped(x), 3)
        means = torch.relu(self.reduce(y.mean((2, 3), keepdim=True)))
        y = torch.relu(y * nn.functional.hardsigmoid(self.excite(means)))
        first, second = torch.cat([x[:, ::3], y[:, [7, 2, 2, 0]]], 1).chunk(2, 1)
        y = torch.cat([first * second, 0.7 * torch.sigmoid(x[:, 9:]) - 0.1, nn.functional.glu(x, 1)], 1)
        largest = y.amax((2, 3), keepdim=True) + y.mean((2, 3), keepdim=True)
        return nn.functional.glu(self.last(largest.flatten(1)))


class Beyond(nn.Module):
    """Windows that reach beyond the map, and maps with more zeros at one end than at the other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.even, self.odd = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 5, 1, 2), nn.Conv2d(6, 4, 1, 2)
        self.largest, self.average = nn.MaxPool2d(2, ceil_mode=True), nn.AvgPool2d(3, 2, 1, True, False)
        self.wide, self.point = nn.Conv2d(9, 9, 3, 2, groups=9), nn.Conv2d(9, 4, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        shifted = nn.functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        x = torch.cat([self.even(x), self.odd(shifted)], 1)
        x = self.average(self.largest(x))
        return self.point(nn.functional.pad(self.wide(nn.functional.pad(x, (0, 1, 0, 1))), (0, 1, 0, 1)))


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([x, self.conv(x), nn.functional.relu6(x)], 1)
        return torch.cat([y, torch.relu(y)], 1)


def images(count: int, shape: tuple[int, int, int]) -> Tensor:
    return torch.randint(0, 256, (count, *shape), generator=torch.Generator().manual_seed(0)).float()


def quantised_of(network: nn.Module, shape: tuple[int, int, int], how: Quantisation | None = None) -> Quantised:
    return quantise(read(network.eval(), shape), images(24, shape), how, span=(0.0, 255.0))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def on_host(code: Code, flags: str = CHECKED) -> None:
    toolchain.check_on_host({**code.files, "Makefile": code.files["Makefile"].replace("-O3 -std=c99", flags, 1)})


@needs_host
@pytest.mark.parametrize("pixels", [True, False])
def test_every_operator_gives_the_bytes_of_the_reference(pixels: bool) -> None:
    quantised = quantised_of(tiny_task((3, 13, 11)).deploy(Everything()), (3, 13, 11))
    assert {o.kind for o in quantised.program.operators} >= {
        "conv",
        "linear",
        "add",
        "max_pool",
        "average_pool",
        "clamp",
    }
    on_host(emit(quantised, images(40, (3, 13, 11)), pixels=pixels))


@needs_host
@pytest.mark.parametrize("how", [Quantisation(), Quantisation(weight_bits=4, activation_bits=6)])
def test_tables_products_and_channels_give_the_bytes_of_the_reference(how: Quantisation) -> None:
    quantised = quantised_of(tiny_task((3, 13, 11)).deploy(Gated()), (3, 13, 11), how)
    assert {o.kind for o in quantised.program.operators} >= {"table", "multiply", "channels", "concat", "mean"}
    code = emit(quantised, images(40, (3, 13, 11)))
    assert code.constants == flash_constants(quantised.program)
    on_host(code)


@needs_host
@pytest.mark.parametrize("shape", [(3, 21, 18), (3, 18, 23)])
def test_windows_that_reach_beyond_the_map_and_uneven_zeros(shape: tuple[int, int, int]) -> None:
    quantised = quantised_of(Beyond(), shape)
    assert sum(o.after is not None for o in quantised.program.operators) >= 4
    on_host(emit(quantised, images(20, shape)))


@needs_host
def test_joined_maps_and_maps_as_answers() -> None:
    on_host(emit(quantised_of(Joined(), (3, 5, 4)), images(10, (3, 5, 4))))


@needs_host
@pytest.mark.parametrize("how", [Quantisation("vitis-like"), Quantisation(weight_bits=3, activation_bits=5)])
def test_other_schemes_and_bits(how: Quantisation) -> None:
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))
    on_host(emit(quantised_of(network, (1, 6, 6), how), images(20, (1, 6, 6))))


@needs_host
def test_a_byte_that_differs_is_told() -> None:
    code = emit(quantised_of(Joined(), (3, 5, 4)), images(3, (3, 5, 4)))
    text = code.files["model.c"].replace(".out_zero = ", ".out_zero = 1 + ", 1)
    with pytest.raises(ArchscoutError, match=r"differs from the integer reference in \d+ bytes"):
        toolchain.check_on_host({**code.files, "model.c": text})
    with pytest.raises(ArchscoutError, match="'make test' of the C code failed"):
        toolchain.check_on_host({**code.files, "model.c": "no code"})


def network_of(space_name: str, shape: tuple[int, int, int], number: int) -> nn.Module:
    space, task = create("space", space_name), tiny_task(shape)
    network: nn.Module = task.deploy(build(space, space.sample(stream(number)), task))
    return network


@needs_qemu
def test_a_core_gives_the_same_bytes_and_counts_are_repeatable() -> None:
    shape = (3, 16, 16)
    quantised = quantised_of(network_of("nasbench201:width=8,cells=1", shape, 0), shape)
    code = emit(quantised, images(3, shape))
    counted = toolchain.count(code.files, "cortex-m4", "mps2-an386")
    assert counted == toolchain.count(code.files, "cortex-m4", "mps2-an386")
    assert counted.flash_bytes == pytest.approx(flash_bytes(quantised.program), rel=0.05)
    assert code.arena.size + counted.stack_bytes == pytest.approx(sram_bytes(quantised.program), rel=0.1)
    assert quantised.program.macs < counted.instructions < 20 * quantised.program.macs


@needs_qemu
@pytest.mark.slow
def test_a_count_does_not_hang_on_the_number_of_examples() -> None:
    """A hundred answers are more ticks than 32 bits hold."""
    shape, space = (3, 32, 32), create("space", "classic")
    task = tiny_task(shape)
    quantised = quantised_of(task.deploy(build(space, space.named("resnet8"), task, seed=0)), shape)
    few, many = (
        toolchain.count(emit(quantised, images(number, shape)).files, "cortex-m4", "mps2-an386").instructions
        for number in (2, 100)
    )
    assert few is not None
    assert few == pytest.approx(many, rel=0.02)


@needs_qemu
def test_cores_without_a_board_are_linked_alone() -> None:
    counted = toolchain.count(emit(quantised_of(Joined(), (3, 5, 4)), images(1, (3, 5, 4))).files, "cortex-m0plus", "")
    assert counted.flash_bytes is not None
    assert counted.instructions is None


def test_without_tools_nothing_is_counted_and_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert toolchain.count({}, "cortex-m4", "mps2-an386") == toolchain.Counted()
    assert "apt-get install make gcc-arm-none-eabi" in toolchain.missing(toolchain.CROSS)


def test_constants_are_counted_before_there_are_numbers() -> None:
    shape = (3, 13, 11)
    for network in (Everything(), Joined()):
        quantised = quantised_of(network, shape)
        for pixels in (True, False):
            code = emit(quantised, images(1, shape), pixels=pixels)
            assert code.constants == flash_constants(quantised.program, pixels)


def test_the_text_is_the_same_each_time() -> None:
    texts: list[Mapping[str, str]] = []
    for _ in range(2):
        torch.manual_seed(3)
        texts.append(emit(quantised_of(Everything(), (3, 13, 11)), images(2, (3, 13, 11))).files)
    assert texts[0] == texts[1]
    assert max(len(line) for text in texts[0].values() for line in text.splitlines()) <= 132


def test_what_c_code_cannot_hold_is_refused() -> None:
    x = images(2, (3, 13, 11))
    with pytest.raises(UsageError, match="symmetric weights, and those of scheme 'snpe-like' are not"):
        emit(quantised_of(Everything(), (3, 13, 11), Quantisation("snpe-like")), x)
    quantised = quantised_of(nn.Conv2d(3, 2, 1), (3, 13, 11))
    layer = quantised.layers[1]
    huge = replace(quantised, layers={1: replace(layer, bias=layer.bias + 2**31 - 1)})
    with pytest.raises(UsageError, match="do not fit into 32 bits"):
        emit(huge, x)


@needs_qemu
@pytest.mark.slow
def test_resnet8_takes_less_than_by_other_emitters() -> None:
    """MLPerf Tiny's ResNet-8 in int8, by another emitter with portable kernels: 90 KB, 52 KB, 127 million."""
    space, task = create("space", "classic"), tiny_task((3, 32, 32), classes=10)
    quantised = quantised_of(task.deploy(build(space, space.named("resnet8"), task)), (3, 32, 32))
    code = emit(quantised, images(2, (3, 32, 32)))
    counted = toolchain.count(code.files, "cortex-m4", "mps2-an386")
    sram = code.arena.size + counted.stack_bytes
    assert counted.flash_bytes < 90_000
    assert sram < 52_000
    assert counted.instructions < 60_000_000
    assert counted.flash_bytes == pytest.approx(flash_bytes(quantised.program), rel=0.05)
    assert sram == pytest.approx(sram_bytes(quantised.program), rel=0.1)


@needs_qemu
@pytest.mark.slow
def test_estimates_of_drawn_networks_are_what_is_linked() -> None:
    shape = (3, 16, 16)
    for number in range(4):
        for name in ("nasbench201:width=8,cells=1", "classic:width=64"):
            quantised = quantised_of(network_of(name, shape, number), shape)
            code = emit(quantised, images(1, shape))
            counted = toolchain.count(code.files, "cortex-m4", "mps2-an386")
            assert counted.flash_bytes == pytest.approx(flash_bytes(quantised.program), rel=0.05)
            assert code.arena.size + counted.stack_bytes == pytest.approx(sram_bytes(quantised.program), rel=0.1)
