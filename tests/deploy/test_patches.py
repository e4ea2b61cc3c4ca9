"""First operators in patches: the bytes of the reference, less memory, and work that is counted by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from archscout.deploy import toolchain
from archscout.deploy.arena import plan
from archscout.deploy.c import emit
from archscout.deploy.patches import Region, best, chain, patch_of, patched
from archscout.deploy.program import Program, read
from archscout.deploy.quantise import Quantised, quantise

SHAPE = (3, 23, 20)
needs_host = pytest.mark.skipif(bool(toolchain.missing(toolchain.HOST)), reason="no make and cc")


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
    read_region = patch.regions[0]
    assert (read_region.top, read_region.bottom) == (int(rows.min()), int(rows.max()) + 1)
    assert (read_region.left, read_region.right) == (int(columns.min()), int(columns.max()) + 1)


def test_patches_need_less_memory_and_more_work(program: Program) -> None:
    schedule = best(program, 3)
    assert schedule is not None
    assert 1 < schedule.operators <= chain(program)
    assert schedule.arena.size < 0.5 * plan(program).size
    one = patched(program, schedule.operators, 1)
    assert one.extra_macs(program) == 0
    assert schedule.extra_macs(program) > 0
    assert best(read(nn.Sequential(nn.Flatten(), nn.Linear(3 * 23 * 20, 4)), SHAPE), 2) is None


@needs_host
@pytest.mark.parametrize(("count", "grid"), [(2, 2), (5, 3), (6, 2)])
def test_the_code_gives_the_bytes_of_the_reference(quantised: Quantised, count: int, grid: int) -> None:
    x = torch.randint(0, 256, (6, *SHAPE), generator=torch.Generator().manual_seed(1)).float()
    schedule = patched(quantised.program, count, grid)
    code = emit(quantised, x, pixels=grid == 3, patches=schedule)
    assert code.arena.size == schedule.arena.size
    flags = "-O1 -std=c99 -Wall -Wextra -Werror -fsanitize=undefined,address -fno-sanitize-recover"
    makefile = code.files["Makefile"].replace("-O3 -std=c99", flags, 1)
    toolchain.check_on_host({**code.files, "Makefile": makefile})
