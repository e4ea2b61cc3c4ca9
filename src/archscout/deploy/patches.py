"""The first operators patch by patch, so that their large maps never lie in memory as a whole (MCUNetV2).

The map after some first operators is made in patches: for each, the part of the input that it depends on runs through
these operators alone. Where parts overlap, numbers are computed more than once, and are the same: the answer does not
change by a bit. After Lin et al. 2021, arXiv 2110.15352.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from archscout.deploy.arena import Arena, Buffer, buffers_of, laid_out, plan, scratch_bytes
from archscout.deploy.program import Operator, Program

_KINDS = ("conv", "max_pool", "average_pool", "clamp")
_DEEPEST = 12
"""Operators that run in patches at most."""


@dataclass(frozen=True)
class Region:
    """A part of a map: rows from `top` to before `bottom`, columns from `left` to before `right`."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left


@dataclass(frozen=True)
class Patch:
    """One patch: of the input and of the output of each operator the region, and of each operator its padding there."""

    regions: tuple[Region, ...]
    paddings: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Patched:
    """A schedule whose first operators run in patches.

    Args:
        operators: how many of the program's.
        patches: in the order in which they run.
        arena: where whole values lie: those from the output of these operators on, and the network's workspaces.
        inside: where the regions of the values within a patch lie, the input first.
    """

    operators: int
    patches: tuple[Patch, ...]
    arena: Arena
    inside: tuple[int, ...]

    def extra_macs(self, program: Program) -> int:
        """Multiply-adds that are done more than once."""
        total = 0
        for place, operator in enumerate(program.operators[: self.operators]):
            if operator.weight is not None:
                pixels = sum(patch.regions[place + 1].height * patch.regions[place + 1].width for patch in self.patches)
                total += operator.weight.numel() * pixels - program.macs_of(operator)
        return total


def chain(program: Program) -> int:
    """How many first operators form a row over maps: each is read by the next one alone."""
    count, value = 0, 0
    for operator in program.operators[:_DEEPEST]:
        readers = [o for o in program.operators if value in o.inputs]
        if readers != [operator] or operator.kind not in _KINDS or value == program.output:
            break
        count, value = count + 1, operator.output
    return count if value != program.output else count - 1


def patch_of(program: Program, operators: Sequence[Operator], region: Region) -> Patch:
    """What the operators read and make for a region of the last one's output."""
    regions = [region]
    paddings: list[tuple[int, int]] = []
    for o in reversed(operators):
        read, now = program.shapes[o.inputs[0]], regions[0]
        kernel = tuple(o.weighted()[0].shape[2:]) if o.weight is not None else o.kernel
        ends, padding = [], []
        for side, (first, end) in enumerate(((now.top, now.bottom), (now.left, now.right))):
            start = first * o.stride[side] - o.padding[side]
            stop = (end - 1) * o.stride[side] - o.padding[side] + (kernel[side] - 1) * o.dilation[side] + 1
            padding.append(max(0, -start))
            ends += [max(0, start), min(read[1 + side], stop)]
        regions.insert(0, Region(*ends))
        paddings.insert(0, (padding[0], padding[1]))
    return Patch(tuple(regions), tuple(paddings))


def patched(program: Program, count: int, grid: int) -> Patched:
    """The schedule with the first `count` operators in `grid` x `grid` patches."""
    operators = program.operators[:count]
    _, height, width = program.shapes[operators[-1].output]
    patches = tuple(
        patch_of(program, operators, Region(*rows, *columns))
        for rows in _parts(height, grid)
        for columns in _parts(width, grid)
    )
    channels = [program.shapes[0][0], *(program.shapes[o.output][0] for o in operators)]
    sizes = [
        max(patch.regions[place].height * patch.regions[place].width for patch in patches) * number
        for place, number in enumerate(channels)
    ]
    # Values within a patch live from one operator to the next; its last one until it is put in its place.
    inside = [Buffer(size, place - 1, place) for place, size in enumerate(sizes)]
    workspaces = {
        o.output: Buffer(size, place, place)
        for place, o in enumerate(operators)
        if (size := scratch_bytes(o, program.shapes[o.inputs[0]]))
    }
    return Patched(count, patches, *_planned(program, count, inside, workspaces))


def best(program: Program, grid: int) -> Patched | None:
    """The schedule, of all numbers of first operators, that needs least memory; None where none saves any."""
    schedules = [patched(program, count, grid) for count in range(1, chain(program) + 1)
                 if min(program.shapes[program.operators[count - 1].output][1:], default=0) >= grid]  # fmt: skip
    least = min(schedules, key=lambda schedule: (schedule.arena.size, schedule.operators), default=None)
    return least if least is not None and least.arena.size < plan(program).size else None


def _planned(
    program: Program, count: int, inside: Sequence[Buffer], workspaces: Mapping[int, Buffer]
) -> tuple[Arena, tuple[int, ...]]:
    """All buffers together: whole values as in `plan`, but of the first operators the last one's output alone."""
    buffers, owner, spaces = buffers_of(program)
    last, within = program.operators[count - 1].output, {0, *(o.output for o in program.operators[:count])}
    # What took over the last output's memory goes on doing so.
    heirs = {value: last if own == owner[last] else own for value, own in owner.items()
             if value == last or value not in within}  # fmt: skip
    whole = {value: buffer for value, buffer in buffers.items() if value in heirs.values() and value != last}
    whole[last] = Buffer(math.prod(program.shapes[last]), -1, buffers[owner[last]].end)
    later = {value: buffer for value, buffer in spaces.items() if value not in within}
    return laid_out(whole, heirs, {**later, **workspaces}, inside)


def _parts(size: int, grid: int) -> list[tuple[int, int]]:
    ends = [size * place // grid for place in range(grid + 1)]
    return list(pairwise(ends))
