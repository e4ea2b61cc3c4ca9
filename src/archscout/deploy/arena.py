"""One block of memory for all values of a program: who lies where, so that nothing that is still needed is overwritten.

Values that are not alive at the same time share memory, sums and activations work in place where their input dies, and
buffers are placed the largest first, each at the lowest free place (Pisarchyk, Lee 2020, arXiv 2001.03288).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from archscout.deploy.program import Operator, Program

ALIGNMENT = 4
"""Bytes: buffers begin at multiples of it."""

IN_PLACE = ("add", "multiply", "clamp", "table")


@dataclass(frozen=True)
class Buffer:
    """Some bytes that are needed from the operator `start` to the operator `end`, both included; -1 is the entry."""

    size: int
    start: int
    end: int

    def meets(self, other: Buffer) -> bool:
        """Whether both are needed at some moment."""
        return self.start <= other.end and other.start <= self.end


@dataclass(frozen=True)
class Arena:
    """Where values lie.

    Args:
        size: bytes of the block.
        places: where each value begins.
        scratch: where the workspace of an operator begins, by the value that it makes.
        least: bytes that are alive at once at most: no plan needs less.
    """

    size: int
    places: Mapping[int, int]
    scratch: Mapping[int, int]
    least: int


def place(buffers: Sequence[Buffer]) -> list[int]:
    """The place of each buffer, the largest first, at the lowest multiple of `ALIGNMENT` where it disturbs none."""
    places = [0] * len(buffers)
    done: list[int] = []
    for number in sorted(range(len(buffers)), key=lambda n: (-buffers[n].size, buffers[n].start, n)):
        lowest = 0
        for other in sorted((n for n in done if buffers[n].meets(buffers[number])), key=lambda n: places[n]):
            if lowest + buffers[number].size <= places[other]:
                break
            lowest = max(lowest, _aligned(places[other] + buffers[other].size))
        places[number] = lowest
        done.append(number)
    return places


def scratch_bytes(operator: Operator, shape: Sequence[int]) -> int:
    """The workspace of a convolution, int8: the numbers that one output pixel of a group reads."""
    if operator.kind != "conv" or operator.depthwise or reads_in_place(operator):
        return 0
    weight, _ = operator.weighted()
    return math.prod(weight.shape[1:])


def reads_in_place(operator: Operator) -> bool:
    """Whether what an output pixel of a convolution reads lies in one piece: kernel 1, one group, no padding."""
    weight, _ = operator.weighted()
    padded = operator.padding != (0, 0) or operator.after is not None
    return tuple(weight.shape[2:]) == (1, 1) and operator.groups == 1 and not padded


def plan(program: Program) -> Arena:
    """Where each value of a program lies, as int8 (one byte a number), for one example."""
    buffers, owner, workspaces = buffers_of(program)
    return laid_out(buffers, owner, workspaces)[0]


def buffers_of(program: Program) -> tuple[dict[int, Buffer], dict[int, int], dict[int, Buffer]]:
    """The buffers of values, of each value the one whose buffer it has, and the workspaces of operators by output."""
    operators = program.operators
    makers = {0: -1} | {o.output: step for step, o in enumerate(operators)}
    last = dict(makers)
    for step, operator in enumerate(operators):
        for value in operator.inputs:
            last[value] = step
    last[program.output] = len(operators)
    owner = {value: value for value in makers}
    buffers: dict[int, Buffer] = {0: Buffer(_size(program, 0), -1, last[0])}
    for step, o in enumerate(operators):
        size = _size(program, o.output)
        heirs = (owner[v] for v in o.inputs if o.kind in IN_PLACE and last[v] == step and _size(program, v) == size)
        heir = next(heirs, None)
        # What another value has taken over lives on under the first one's name.
        if heir is not None and buffers[heir].end == step:
            owner[o.output] = heir
            buffers[heir] = replace(buffers[heir], end=last[o.output])
        else:
            buffers[o.output] = Buffer(size, step, last[o.output])
    workspaces = {
        o.output: Buffer(size, step, step)
        for step, o in enumerate(operators)
        if (size := scratch_bytes(o, program.shapes[o.inputs[0]]))
    }
    return buffers, owner, workspaces


def laid_out(
    buffers: Mapping[int, Buffer],
    owner: Mapping[int, int],
    workspaces: Mapping[int, Buffer],
    others: Sequence[Buffer] = (),
) -> tuple[Arena, tuple[int, ...]]:
    """One block with all buffers, and where the others begin."""
    everything = [*buffers.values(), *workspaces.values(), *others]
    where = place(everything)
    by_name = dict(zip(buffers, where, strict=False))
    scratch = dict(zip(workspaces, where[len(buffers) :], strict=False))
    size = max((_aligned(at + buffer.size) for at, buffer in zip(where, everything, strict=True)), default=0)
    steps = range(-1, max((buffer.end for buffer in everything), default=0) + 1)
    least = max(sum(b.size for b in everything if b.start <= step <= b.end) for step in steps)
    places = {value: by_name[own] for value, own in owner.items()}
    return Arena(size, places, scratch, least), tuple(where[len(buffers) + len(workspaces) :])


def _size(program: Program, value: int) -> int:
    return math.prod(program.shapes[value])


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
