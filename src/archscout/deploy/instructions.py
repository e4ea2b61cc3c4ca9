"""How many instructions a program takes on a Cortex-M4, estimated from what its kernels do.

Each kernel is a few loops, and how often each loop runs follows from shapes. What one turn takes was fitted, by least
squares on relative errors, to programs that were counted in QEMU (`benchmarks/deploy/estimates.py` counts and fits).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from archscout.deploy.arena import reads_in_place
from archscout.deploy.program import Operator, Program

PER_TURN: Mapping[str, float] = {
    "add": 28.16,
    "average_pool outputs": 43.28,
    "average_pool reads": 6.99,
    "channels": 8.29,
    "copied": 2.33,
    "depthwise outputs": 104.19,
    "depthwise products": 11.21,
    "depthwise rows": 0.0,
    "entry": 11.06,
    "finished": 54.75,
    "gathered": 53.34,
    "lone": 11.11,
    "max_pool outputs": 33.96,
    "max_pool reads": 8.85,
    "mean outputs": 0.0,
    "mean reads": 5.98,
    "multiply": 44.0,
    "network": 0.0,
    "operators": 0.0,
    "quads": 38.6,
    "rescale": 40.35,
    "table": 6.79,
    "tails": 9.28,
}
"""Instructions of one turn of each loop: see `turns`."""


def instructions(program: Program) -> int:
    """Instructions of one answer, as gcc 12 compiles the C code with -O3 for a Cortex-M4: an ESTIMATE."""
    return round(sum(PER_TURN[loop] * count for loop, count in turns(program).items()))


def turns(program: Program) -> Counter[str]:
    """How often each loop runs for one answer.

    `quads`: four products of four outputs at once, `tails`: one product of four outputs where inputs are no multiple of
    four, `lone`: products of outputs that are left over from fours; `finished`: outputs brought to their grid;
    `gathered`: pieces of the input that are copied together, and `copied`: words of them. Others by kernel.
    """
    total = Counter({"network": 1, "operators": len(program.operators), "entry": math.prod(program.shapes[0])})
    for operator in program.operators:
        total.update(_of(operator, program))
    return Counter({loop: count for loop, count in total.items() if count})


def _of(o: Operator, program: Program) -> Counter[str]:
    read, made = program.shapes[o.inputs[0]], program.shapes[o.output]
    pixels, numbers = math.prod(made[1:]), math.prod(made)
    on_map = math.prod(_on_map(o, read, made, side) for side in (0, 1)) if o.depthwise or o.after else 0
    if o.depthwise:
        return Counter({"depthwise products": on_map * made[0], "depthwise rows": numbers * o.kernel[0],
                        "depthwise outputs": numbers})  # fmt: skip
    if o.weight is not None:
        return _products(o, pixels)
    if o.kind in ("max_pool", "average_pool"):
        reads = on_map * made[0] if o.after else numbers * math.prod(o.kernel)
        return Counter({f"{o.kind} reads": reads, f"{o.kind} outputs": numbers})
    if o.kind == "mean":
        return Counter({"mean reads": math.prod(read), "mean outputs": read[0]})
    if o.kind == "concat":
        return Counter({"rescale": numbers})
    return Counter({o.kind if o.kind in ("add", "multiply", "table", "channels") else "rescale": numbers})


def _products(o: Operator, pixels: int) -> Counter[str]:
    weight, _ = o.weighted()
    each, outputs = math.prod(weight.shape[1:]), weight.shape[0] // o.groups
    fours, left = divmod(outputs, 4)
    patches = pixels * o.groups
    pieces = 0 if o.kind == "linear" or reads_in_place(o) else math.prod(weight.shape[2:])
    return Counter({
        "quads": patches * fours * (each // 4),
        "tails": patches * fours * (each % 4),
        "lone": patches * left * (each // 4 + each % 4),
        "finished": patches * outputs,
        "gathered": patches * pieces,
        "copied": patches * (each // 4 if pieces else 0),
    })  # fmt: skip


def _on_map(o: Operator, read: tuple[int, ...], made: tuple[int, ...], side: int) -> int:
    """Along one side, how many places of kernels lie on the map, over all outputs."""
    starts = (place * o.stride[side] - o.padding[side] for place in range(made[1 + side]))
    return sum(0 <= start + k * o.dilation[side] < read[1 + side] for start in starts for k in range(o.kernel[side]))
