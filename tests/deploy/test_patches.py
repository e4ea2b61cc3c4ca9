"""First operators in patches: the bytes of the reference, less memory, and work that is counted by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from archscout.deploy import toolchain
from archscout.deploy.arena import plan
from archscout.deploy.c import Code, emit
from archscout.deploy.patches import Region, beginnings, best, patch_of, patched
from archscout.deploy.program import Program
from archscout.deploy.quantise import Quantised, quantise
from archscout.deploy.reading import read

SHAPE = (3, 23, 20)
CHECKED = "-O1 -std=c99 -Wall -Wextra -Werror -fsanitize=undefined,address -fno-sanitize-recover"
needs_host = pytest.mark.skipif(bool(toolchain.missing(toolchain.HOST)), reason="no make and cc")
needs_qemu = pytest.mark.skipif(
    bool(toolchain.missing((*toolchain.CROSS, *toolchain.EMULATOR))), reason="no cross compiler and QEMU"
)


class Residual(nn.Module):
    """Two residual blocks, the second one with a convolution beside it, and what follows on small maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second = (nn.Conv2d(n, 8, 3, padding=1) for n in (3, 8, 8))
        self.third, self.fourth = nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.Conv2d(12, 12, 5, padding=2, groups=12)
        self.beside, self.last = nn.Conv2d(8, 12, 1, stride=2), nn.Conv2d(12, 6, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.second(torch.relu(self.first(x))))
        x = torch.relu(self.beside(x) + self.fourth(torch.relu(self.third(x))))
        return self.last(x)


def network() -> nn.Module:
    torch.manual_seed(0)
    first = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=1, padding=1), nn.ReLU6(), nn.Conv2d(8, 8, 5, padding=2, groups=8), nn.ReLU(),
        nn.Conv2d(8, 16, 1), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2, 1, 1), nn.Conv2d(16, 12, 3, stride=2, padding=1),
    )  # fmt: skip
    return nn.Sequential(first, nn.Conv2d(12, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()


@pytest.fixture(scope="module")
def quantised() -> Quantised:
    x = torch.randint(0, 256, (16, *SHAPE), generator=torch.Generator().manual_seed(0)).float()
    program = read(network(), SHAPE)
    program = replace(program, mean=torch.full((3, 1, 1), 100.0), std=torch.full((3, 1, 1), 60.0))
    return quantise(program, x, span=(0.0, 255.0))


@pytest.fixture(scope="module")
def residual() -> Quantised:
    torch.manual_seed(1)
    return quantise(read(Residual().eval(), SHAPE), images(16), span=(0.0, 255.0))


def images(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, *SHAPE), generator=torch.Generator().manual_seed(1)).float()


@pytest.fixture(scope="module")
def program(quantised: Quantised) -> Program:
    return quantised.program


def test_a_region_reads_what_its_outputs_depend_on(program: Program) -> None:
    """Numbers of the input that a region of the map depends on, by gradients."""
    operators = program.operators[:3]
    patch = patch_of(program, operators, Region(4, 9, 0, 6))
    x = torch.randn(1, *SHAPE, requires_grad=True)
    seen: dict[int, torch.Tensor] = {}
    program.run(x, seen.__setitem__)
    (gradient,) = torch.autograd.grad(seen[operators[-1].output][:, :, 4:9, 0:6].sum(), x)
    rows, columns = gradient[0].abs().sum(0).nonzero().unbind(1)
    (read_region,) = patch.reads[0]
    assert patch.regions[0] == read_region
    assert (read_region.top, read_region.bottom) == (int(rows.min()), int(rows.max()) + 1)
    assert (read_region.left, read_region.right) == (int(columns.min()), int(columns.max()) + 1)


def test_patches_need_less_memory_and_more_work(program: Program) -> None:
    schedule = best(program, 3)
    assert schedule is not None
    assert 1 < schedule.operators <= beginnings(program)[-1]
    assert schedule.arena.size < 0.5 * plan(program).size
    one = patched(program, schedule.operators, 1)
    assert one.extra_macs(program) == 0
    assert schedule.extra_macs(program) > 0
    assert best(read(nn.Sequential(nn.Flatten(), nn.Linear(3 * 23 * 20, 4)), SHAPE), 2) is None


def test_residual_blocks_run_in_patches_as_wholes(residual: Quantised) -> None:
    program = residual.program
    kinds = [[o.kind for o in program.operators[:count]] for count in beginnings(program)]
    assert [row.count("add") for row in kinds] == [0, 1, 2]
    assert kinds[1][-1] == "add"
    schedule = best(program, 3)
    assert schedule is not None
    assert schedule.arena.size < 0.6 * plan(program).size
    patch = schedule.patches[4]
    step = next(step for step, o in enumerate(program.operators) if o.kind == "add")
    a, b = program.operators[step].inputs
    # The block's input is read for the sum alone where its first convolutions read two pixels more on each side.
    assert patch.reads[step][0] == patch.regions[program.operators[step].output]
    larger = {value for value in (a, b) if patch.regions[value] != patch.reads[step][0]}
    assert {(step, value) for value in larger} <= set(schedule.crops)
    assert len(larger) == 1


def checked(code: Code) -> None:
    toolchain.check_on_host({**code.files, "Makefile": code.files["Makefile"].replace("-O3 -std=c99", CHECKED, 1)})


@needs_host
@pytest.mark.parametrize(("count", "grid"), [(2, 2), (5, 3), (6, 2)])
def test_the_code_gives_the_bytes_of_the_reference(quantised: Quantised, count: int, grid: int) -> None:
    schedule = patched(quantised.program, count, grid)
    code = emit(quantised, images(6), pixels=grid == 3, patches=schedule)
    assert code.arena.size == schedule.arena.size
    checked(code)


@needs_host
@pytest.mark.parametrize(("place", "grid"), [(1, 3), (2, 2)])
def test_residual_code_gives_the_bytes_of_the_reference(residual: Quantised, place: int, grid: int) -> None:
    count = beginnings(residual.program)[place]
    checked(emit(residual, images(4), patches=patched(residual.program, count, grid)))


@needs_qemu
def test_a_core_gives_the_same_bytes_with_less_memory(residual: Quantised) -> None:
    schedule = best(residual.program, 2)
    assert schedule is not None
    code = emit(residual, images(2), patches=schedule)
    with_patches = toolchain.count(code.files, "cortex-m4", "mps2-an386")
    without = toolchain.count(emit(residual, images(2)).files, "cortex-m4", "mps2-an386")
    assert code.arena.size < plan(residual.program).size
    assert with_patches.instructions is not None
    assert without.instructions is not None
    assert with_patches.instructions > without.instructions
