"""The first operators patch by patch, so that their large maps never lie in memory as a whole (MCUNetV2).

The map after some first operators is made in patches: for each, the part of the input that it depends on runs through
these operators alone. Where parts overlap, numbers are computed more than once, and are the same: the answer does not
change by a bit. Where a value has several readers, as in a residual block, a patch has the part that all of them read,
and one that reads less gets a copy of its part. After Lin et al. 2021, arXiv 2110.15352.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from archscout.deploy.arena import Arena, Buffer, buffers_of, laid_out, plan, scratch_bytes
from archscout.deploy.program import Operator, Program

_KINDS = ("conv", "max_pool", "average_pool", "clamp", "table", "add")
_DEEPEST = 24
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

    def around(self, other: Region) -> Region:
        """The smallest region that holds both."""
        return Region(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )


@dataclass(frozen=True)
class Patch:
    """One patch.

    Args:
        regions: of each value that it makes, and of the input, the part of the map that it has.
        reads: of each operator, the part of each input that it reads: less than the region where another operator
            reads more.
        paddings: of each operator, there.
    """

    regions: Mapping[int, Region]
    reads: tuple[tuple[Region, ...], ...]
    paddings: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Patched:
    """A schedule whose first operators run in patches.

    Args:
        operators: how many of the program's.
        patches: in the order in which they run.
        arena: where whole values lie: those from the output of these operators on, and the network's workspaces.
        inside: where the regions of values within a patch lie.
        crops: where the part of a region lies that an operator (by its place) reads of a value, if it is not all of it.
    """

    operators: int
    patches: tuple[Patch, ...]
    arena: Arena
    inside: Mapping[int, int]
    crops: Mapping[tuple[int, int], int]

    def extra_macs(self, program: Program) -> int:
        """Multiply-adds that are done more than once."""
        total = 0
        for operator in program.operators[: self.operators]:
            if operator.weight is not None:
                regions = [patch.regions[operator.output] for patch in self.patches]
                pixels = sum(region.height * region.width for region in regions)
                total += operator.weight.numel() * pixels - program.macs_of(operator)
        return total


def beginnings(program: Program) -> list[int]:
    """How many first operators can run in patches: those over maps, of which nothing but the last output is read later.

    Residual blocks are among them as wholes.
    """
    counts = []
    for count, operator in enumerate(program.operators[:_DEEPEST], start=1):
        if operator.kind not in _KINDS or operator.output == program.output:
            break
        inner = {0, *(o.output for o in program.operators[: count - 1])}
        if not any(inner & set(o.inputs) for o in program.operators[count:]) and program.output not in inner:
            counts.append(count)
    return counts


def patch_of(program: Program, operators: Sequence[Operator], region: Region) -> Patch:
    """What the operators read and make for a region of the last one's output."""
    regions = {operators[-1].output: region}
    reads: list[tuple[Region, ...]] = []
    paddings: list[tuple[int, int]] = []
    for o in reversed(operators):
        read, padding = _read_for(o, program.shapes[o.inputs[0]], regions[o.output])
        for value in o.inputs:
            regions[value] = regions[value].around(read) if value in regions else read
        reads.insert(0, (read,) * len(o.inputs))
        paddings.insert(0, padding)
    return Patch(regions, tuple(reads), tuple(paddings))


def _read_for(o: Operator, shape: Sequence[int], made: Region) -> tuple[Region, tuple[int, int]]:
    """The region of an input (C x H x W) that a region of an operator's output depends on, and the padding before."""
    kernel = tuple(o.weighted()[0].shape[2:]) if o.weight is not None else o.kernel
    ends: list[int] = []
    padding: list[int] = []
    for side, (first, end) in enumerate(((made.top, made.bottom), (made.left, made.right))):
        start = first * o.stride[side] - o.padding[side]
        stop = (end - 1) * o.stride[side] - o.padding[side] + (kernel[side] - 1) * o.dilation[side] + 1
        padding.append(max(0, -start))
        ends += [max(0, start), min(shape[1 + side], stop)]
    return Region(*ends), (padding[0], padding[1])


def patched(program: Program, count: int, grid: int) -> Patched:
    """The schedule with the first `count` operators (of `beginnings`) in `grid` x `grid` patches."""
    operators = program.operators[:count]
    _, height, width = program.shapes[operators[-1].output]
    patches = tuple(
        patch_of(program, operators, Region(*rows, *columns))
        for rows in _parts(height, grid)
        for columns in _parts(width, grid)
    )
    produced = {0: -1} | {o.output: step for step, o in enumerate(operators)}
    ends = produced | {value: step for step, o in enumerate(operators) for value in o.inputs}
    ends[operators[-1].output] = count  # until it is put in its place
    inside = {
        value: Buffer(_most(program, value, [patch.regions[value] for patch in patches]), start, ends[value])
        for value, start in produced.items()
    }
    crops = {}
    for step, o in enumerate(operators):
        for place, value in enumerate(o.inputs):
            parts = [patch.reads[step][place] for patch in patches
                     if patch.reads[step][place] != patch.regions[value]]  # fmt: skip
            if parts:
                crops[step, value] = Buffer(_most(program, value, parts), step, step)
    workspaces = {
        o.output: Buffer(size, place, place)
        for place, o in enumerate(operators)
        if (size := scratch_bytes(o, program.shapes[o.inputs[0]]))
    }
    arena, places = _planned(program, count, [*inside.values(), *crops.values()], workspaces)
    return Patched(
        count,
        patches,
        arena,
        dict(zip(inside, places, strict=False)),
        dict(zip(crops, places[len(inside) :], strict=True)),
    )


def _most(program: Program, value: int, regions: Sequence[Region]) -> int:
    """Bytes that the largest of some regions of a value takes."""
    return max(region.height * region.width for region in regions) * program.shapes[value][0]


def best(program: Program, grid: int) -> Patched | None:
    """The schedule, of all numbers of first operators, that needs least memory; None where none saves any."""
    schedules = [patched(program, count, grid) for count in beginnings(program)
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
