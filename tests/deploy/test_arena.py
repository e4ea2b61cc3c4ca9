"""Places in memory against brute force over moments and bytes."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.deploy.arena import ALIGNMENT, Buffer, place, plan
from archscout.deploy.program import Program
from archscout.deploy.reading import read
from archscout.networks.pick import build
from archscout.testing.tasks import tiny_task


def test_buffers_that_live_at_once_never_overlap() -> None:
    rng = stream(0, "buffers")
    for _ in range(50):
        rows = zip(rng.integers(1, 60, 12).tolist(), rng.integers(0, 10, (12, 2)).tolist(), strict=True)
        buffers = [Buffer(size, start, start + length // 2) for size, (start, length) in rows]
        places = place(buffers)
        assert all(at % ALIGNMENT == 0 for at in places)
        for moment in range(16):
            alive = [(at, b) for at, b in zip(places, buffers, strict=True) if b.start <= moment <= b.end]
            taken = [byte for at, b in alive for byte in range(at, at + b.size)]
            assert len(taken) == len(set(taken))


def test_small_plans_are_as_small_as_any_order_of_placing_makes_them() -> None:
    buffers = [Buffer(8, 0, 1), Buffer(4, 1, 2), Buffer(12, 2, 3), Buffer(4, 0, 3)]

    def top(order: tuple[int, ...]) -> int:
        at = place([buffers[n] for n in order])
        return max(a + buffers[n].size for a, n in zip(at, order, strict=True))

    assert top((0, 1, 2, 3)) == min(top(order) for order in itertools.permutations(range(4))) == 20


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        return torch.relu(x + self.other(torch.relu(self.conv(x))))


def test_a_sum_is_worked_out_in_the_place_of_a_term_that_dies() -> None:
    program = read(Block(), (2, 8, 8))
    arena = plan(program)
    add = next(o for o in program.operators if o.kind == "add")
    assert arena.places[add.output] in {arena.places[v] for v in add.inputs}
    # Three maps at once, and the 18 numbers that an output pixel reads.
    assert arena.least == 3 * 128 + 18
    assert arena.size == 3 * 128 + 20


def alive_at(program: Program, value: int) -> range:
    made = next((step for step, o in enumerate(program.operators) if o.output == value), -1)
    reads = [step for step, o in enumerate(program.operators) if value in o.inputs]
    return range(made, (len(program.operators) if value == program.output else max(reads)) + 1)


@pytest.mark.parametrize("number", range(4))
def test_no_value_of_a_network_is_overwritten_before_its_last_use(number: int) -> None:
    space, task = create("space", "nasbench201:width=4,cells=1"), tiny_task((3, 16, 16))
    program = read(build(space, space.sample(stream(number)), task, device="meta"), task.input_shape)
    arena = plan(program)
    assert arena.least <= arena.size <= 1.2 * arena.least + 8
    values = [0, *(o.output for o in program.operators)]
    spans = {v: alive_at(program, v) for v in values}
    sizes = {v: torch.Size(program.shapes[v]).numel() for v in values}
    for first, second in itertools.combinations(values, 2):
        a, b = arena.places[first], arena.places[second]
        if a + sizes[first] > b and b + sizes[second] > a:
            together = set(spans[first]) & set(spans[second])
            made = next(o for o in program.operators if o.output == second)
            # In the same place only where the one is read for the last time as the other is made, number by number.
            assert not together or (together == {spans[second][0]} and made.kind in ("add", "clamp") and a == b)
