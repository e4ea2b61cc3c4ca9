"""A quantised network as C99 for a microcontroller: weights, calls of kernels, one static block of memory, a self-test.

The kernels (`deploy/sources/kernels.c`) do the arithmetic of `archscout.deploy.quantise` byte for byte. They need no
library but `memcpy` and `memset`, allocate nothing, and use the instructions for two products at once where a processor
has them. What is written is deterministic: one network, one text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from archscout.core.errors import UsageError
from archscout.deploy.arena import Arena, plan
from archscout.deploy.c_text import MAKEFILE, constant, sizes_of, vectors, wrapped
from archscout.deploy.patches import Patched, Region
from archscout.deploy.program import Operator, Program
from archscout.deploy.quantise import Factor, Quantised

SOURCES = ("kernels.c", "kernels.h", "selftest.c", "board.c", "board.h", "board.ld")
"""Files that are the same for every network."""

LAYER_BYTES = 60
"""Of one entry of the table of layers on a 32-bit processor."""

STACK_BYTES = 272
"""The deepest stack of a run, its caller's frame included, as counted in QEMU (256 to 264 bytes)."""

_KERNEL_BYTES = {
    "conv": 1722, "depthwise": 788, "max_pool": 400, "average_pool": 378, "mean": 182, "add": 146, "rescale": 204,
    "multiply": 256, "look_up": 53, "take": 61,
}  # fmt: skip
_CALL_BYTES, _CODE_BYTES = 15, 600
"""Of the code that gcc 12 makes with -O3 for a Cortex-M4; the last is what every network has."""

_SMALL = 2**15
_WORD = 2**31


@dataclass(frozen=True)
class Code:
    """The text of a network.

    Args:
        files: by name.
        arena: where values lie.
        constants: bytes of weights, biases, factors, tables and descriptions of layers.
    """

    files: Mapping[str, str]
    arena: Arena
    constants: int


def emit(quantised: Quantised, examples: Tensor, *, pixels: bool = True, patches: Patched | None = None) -> Code:
    """The C code of a quantised network, with examples (N x C x H x W, stored) for its self-test.

    Args:
        quantised: with symmetric weights.
        examples: whose answers by the integer reference the self-test must give.
        pixels: whether inputs are bytes from 0 to 255, which a table brings to the grid; else the integers themselves
            are the input.
        patches: which first operators run patch by patch; none where None.

    Raises:
        UsageError: weights are not symmetric, or the network is too large for the descriptions of its layers.
    """
    writer = _Writer(quantised, pixels, patches)
    first = 0 if patches is None else patches.operators
    calls = [writer.start()] if patches is None else list(writer.patch_by_patch(patches))
    calls += [writer.call(operator) for operator in quantised.program.operators[first:]]
    sources = files("archscout.deploy") / "sources"
    texts = {name: (sources / name).read_text(encoding="utf-8") for name in SOURCES}
    texts["weights.h"] = writer.weights()
    texts["model.h"] = writer.header()
    texts["model.c"] = writer.model(calls)
    texts["vectors.h"] = vectors(quantised, examples, pixels)
    texts["Makefile"] = MAKEFILE
    return Code(texts, writer.arena, writer.bytes)


def flash_bytes(program: Program, pixels: bool = True) -> int:
    """What a program takes of a Cortex-M4's flash, estimated: constants as they are, kernels as they were linked."""
    used = {_kernel(o) for o in program.operators}
    code = _CODE_BYTES + _CALL_BYTES * len(program.operators) + sum(_KERNEL_BYTES[kernel] for kernel in used)
    return flash_constants(program, pixels) + code


def sram_bytes(program: Program) -> int:
    """What a program takes of the memory: the block of its values, and the stack."""
    return plan(program).size + STACK_BYTES


def _kernel(o: Operator) -> str:
    if o.kind == "conv" and o.depthwise:
        return "depthwise"
    others = {"linear": "conv", "clamp": "rescale", "concat": "rescale", "table": "look_up", "channels": "take"}
    return others.get(o.kind, o.kind)


def flash_constants(program: Program, pixels: bool = True) -> int:
    """`Code.constants` of a program before there are integers, with scales by channel: weights may be without numbers.

    >>> from archscout.deploy.reading import read
    >>> flash_constants(read(torch.nn.Conv2d(3, 8, 3), (3, 8, 8)))
    1116
    """
    total = 256 * program.shapes[0][0] if pixels else 0
    for o in program.operators:
        if o.kind in ("max_pool", "average_pool"):
            total += LAYER_BYTES
        elif o.weight is not None:
            total += LAYER_BYTES + o.weight.numel() + 9 * o.weight.shape[0]
        elif o.kind == "concat":
            total += (LAYER_BYTES + 5) * len(o.inputs)
        elif o.kind == "table":
            total += LAYER_BYTES + 256
        elif o.kind == "channels":
            total += LAYER_BYTES + 4 * len(o.channels)
        else:
            total += LAYER_BYTES + (9 if o.kind == "add" else 5)
    return total


class _Writer:
    def __init__(self, quantised: Quantised, pixels: bool, patches: Patched | None) -> None:
        self.quantised, self.pixels = quantised, pixels
        self.program = quantised.program
        self.arena = plan(self.program) if patches is None else patches.arena
        self.known: dict[str, str] = {}
        """Names of descriptions of layers by what they say: patches inside of a map have the same."""
        self.arrays: list[tuple[str, str, list[int], str]] = []
        self.layers: list[str] = []
        self.bytes = 0
        if pixels:
            self.array("entry_table", "int8_t", self._entry_table(), "the integer of each pixel, channel by channel")

    def array(self, name: str, kind: str, numbers: Sequence[int], comment: str) -> str:
        self.arrays.append((name, kind, list(numbers), comment))
        self.bytes += len(numbers) * (4 if kind == "int32_t" else 1)
        return name

    def _entry_table(self) -> list[int]:
        channels = self.program.shapes[0][0]
        levels = torch.arange(256.0).view(256, 1, 1, 1).expand(256, channels, 1, 1)
        table: list[int] = self.quantised.entry(levels).view(256, channels).t().flatten().tolist()
        return table

    def at(self, value: int) -> str:
        return _arena(self.arena.places[value])

    def start(self) -> str:
        """The statement that brings the input to its grid."""
        channels, height, width = self.program.shapes[0]
        if self.pixels:
            return f"entry(input, entry_table, {height * width}, {channels}, {self.at(0)});"
        return f"memcpy({self.at(0)}, input, MODEL_INPUT_SIZE);"

    def patch_by_patch(self, patches: Patched) -> Iterator[str]:
        """The statements of the first operators: a region of the input, what it becomes, and that put in its place."""
        operators = self.program.operators[: patches.operators]
        arrays = [self.arrays_of(o, f"v{o.output}") for o in operators]
        channels, _, width = self.program.shapes[0]
        last = operators[-1].output
        whole = Region(0, self.program.shapes[last][1], 0, self.program.shapes[last][2])
        for patch in patches.patches:
            read = patch.regions[0]
            row = f"{_arena(patches.inside[0])} + r * {read.width * channels}"
            yield f"for (int32_t r = 0; r < {read.height}; r++)"
            source = f"input + ({read.top} + r) * {width * channels} + {read.left * channels}"
            if self.pixels:
                yield f"    entry({source}, entry_table, {read.width}, {channels}, {row});"
            else:
                yield f"    memcpy({row}, {source}, {read.width * channels});"
            for step, (o, own) in enumerate(zip(operators, arrays, strict=True)):
                places = []
                for value, part in zip(o.inputs, patch.reads[step], strict=True):
                    place, region = patches.inside[value], patch.regions[value]
                    if part != region:
                        place = patches.crops[step, value]
                        yield from self.copied(value, part, (patches.inside[value], region), (place, part))
                    places.append(_arena(place))
                sizes = [
                    (self.program.shapes[value][0], region.height, region.width)
                    for value, region in ((o.inputs[0], patch.reads[step][0]), (o.output, patch.regions[o.output]))
                ]
                layer = self.layer(replace(o, padding=patch.paddings[step]), "", o.inputs[0], sizes=sizes, **own)
                yield self.called(o, layer, [*places, _arena(patches.inside[o.output])])
            made = patch.regions[last]
            yield from self.copied(last, made, (patches.inside[last], made), (self.arena.places[last], whole))

    def copied(self, value: int, part: Region, source: tuple[int, Region], target: tuple[int, Region]) -> Iterator[str]:
        """The statements that copy a part of a value from one place, where a region of it lies, to another."""
        channels = self.program.shapes[value][0]
        to, read = (
            f"{_arena(place)} + ({part.top - region.top} + r) * {region.width * channels} + "
            f"{(part.left - region.left) * channels}"
            for place, region in (target, source)
        )
        yield f"for (int32_t r = 0; r < {part.height}; r++)"
        yield f"    memcpy({to}, {read}, {part.width * channels});"

    def call(self, o: Operator) -> str:
        """The statement that runs an operator; its constants and description are written down."""
        if o.kind == "concat":
            return "\n    ".join(self.joined(o))
        name = f"v{o.output}"
        layer = self.layer(o, name, o.inputs[0], **self.arrays_of(o, name))
        return self.called(o, layer, [self.at(value) for value in (*o.inputs, o.output)])

    def called(self, o: Operator, layer: str, places: Sequence[str]) -> str:
        """The statement that runs an operator from the places of its inputs to that of its output."""
        if o.weight is not None and not o.depthwise:
            scratch = self.arena.scratch.get(o.output)
            return f"conv({layer}, {places[0]}, {'0' if scratch is None else f'arena + {scratch}'}, {places[1]});"
        return f"{_kernel(o)}({layer}, {', '.join(places)});"

    def arrays_of(self, o: Operator, name: str) -> dict[str, Any]:
        """What the description of an operator has besides sizes."""
        if o.weight is not None:
            return self.weighted(o, name)
        if o.kind in ("max_pool", "average_pool"):
            return {"other_zero": int(o.kind == "average_pool" and o.count_padding)}
        if o.kind == "add":
            factors, shift = self.quantised.sum_factors(o)
            return {
                "other_zero": int(self.quantised.grids[o.inputs[1]].zero),
                "factor": self.array(f"{name}_factor", "int32_t", factors, "of the two terms"),
                "shift": self.array(f"{name}_shift", "uint8_t", [shift], "of both"),
            }
        if o.kind == "table":
            table: list[int] = self.quantised.table(o).tolist()
            return {"weight": self.array(f"{name}_table", "int8_t", table, "of each integer from -128 on")}
        if o.kind == "channels":
            return {"factor": self.array(f"{name}_channels", "int32_t", o.channels, "of the input")}
        numbers = self.factors(name, self.quantised.factor(o, o.inputs[0]))
        if o.kind == "multiply":
            numbers |= {
                "other_zero": int(self.quantised.grids[o.inputs[1]].zero),
                "groups": int(self.program.shapes[o.inputs[1]] == self.program.shapes[o.inputs[0]]),
            }
        return numbers

    def joined(self, o: Operator) -> Iterator[str]:
        first = 0
        for number, source in enumerate(o.inputs):
            name = f"v{o.output}_{number}"
            parts = self.factors(name, self.quantised.factor(o, source))
            layer = self.layer(o, name, source, 0, **parts)
            yield f"rescale({layer}, {self.at(source)}, {self.at(o.output)} + {first});"
            first += self.program.shapes[source][0]

    def factors(self, name: str, factor: Factor) -> dict[str, Any]:
        return {
            "factor": self.array(
                f"{name}_factor", "int32_t", factor.factor.tolist(), "times 2^-shift: to the output's scale"
            ),
            "shift": self.array(f"{name}_shift", "uint8_t", factor.shift.tolist(), "bits"),
        }

    def weighted(self, o: Operator, name: str) -> dict[str, Any]:
        """The numbers of an operator with weights."""
        layer, source = self.quantised.layers[o.output], o.inputs[0]
        if bool(layer.grid.zero.any()):
            raise UsageError(
                f"C code has symmetric weights, and those of scheme '{self.quantised.how.scheme}' are not: use scheme "
                "'microcontroller'."
            )
        weight, bias = layer.weight, layer.bias
        if o.kind == "linear":
            shape = self.program.shapes[source]
            weight = weight.view(len(weight), *shape).movedim(1, -1) if len(shape) == 3 else weight
        elif o.depthwise:
            weight = weight[:, 0].movedim(0, -1)
        else:
            weight = weight.movedim(1, -1)
        if not o.depthwise:
            bias = bias - int(self.quantised.grids[source].zero) * layer.weight.flatten(1).sum(1)
        largest = bias.abs() + 255 * layer.weight.abs().flatten(1).sum(1)
        if int(largest.max()) >= _WORD:
            raise UsageError("the sums of a layer do not fit into 32 bits: use fewer channels.")
        factor = self.quantised.factor(o, source)
        many = (len(bias),)
        spread = Factor(factor.factor.expand(many), factor.shift.expand(many))
        return {
            "weight": self.array(f"{name}_weight", "int8_t", weight.flatten().tolist(), sizes_of(weight)),
            "bias": self.array(f"{name}_bias", "int32_t", bias.tolist(), "in units of the sums"),
            **self.factors(name, spread),
        }

    def layer(
        self,
        o: Operator,
        name: str,
        source: int,
        other_zero: int = 0,
        sizes: Sequence[Sequence[int]] | None = None,
        **arrays: Any,
    ) -> str:
        """Write the description of a layer; gives its address. `sizes` are of input and output, where in a patch."""
        grids = self.quantised.grids
        inputs, outputs = (
            _map(shape) for shape in sizes or (self.program.shapes[source], self.program.shapes[o.output])
        )
        kernel: Sequence[int] = o.kernel
        if o.kind == "linear":
            inputs = (math.prod(inputs), 1, 1)
        elif o.kind == "conv":
            kernel = o.weighted()[0].shape[2:]
        low, high = (grids[o.output].bound(end) for end in o.clamp)
        small = {
            "in_height": inputs[1], "in_width": inputs[2], "in_zero": int(grids[source].zero),
            "out_height": outputs[1], "out_width": outputs[2], "out_zero": int(grids[o.output].zero),
            "kernel_height": kernel[0], "kernel_width": kernel[1],
            "stride_height": o.stride[0], "stride_width": o.stride[1],
            "padding_height": o.padding[0], "padding_width": o.padding[1],
            "dilation_height": o.dilation[0], "dilation_width": o.dilation[1],
            "groups": arrays.pop("groups", o.groups), "low": low, "high": high, "other_zero": other_zero,
        }  # fmt: skip
        too_large = [field for field, number in small.items() if abs(number) >= _SMALL]
        if too_large:
            raise UsageError(f"the {too_large[0]} of a layer, {small[too_large[0]]}, is too large for C code.")
        fields = {"in_channels": inputs[0], "out_channels": outputs[0], **small, **arrays}
        arguments = ", ".join(f".{field} = {number}" for field, number in fields.items() if number != 0)
        if not name:
            name = f"v{o.output}_{len(self.layers)}"
            if arguments in self.known:
                return f"&{self.known[arguments]}"
            self.known[arguments] = name
        self.layers.append(wrapped(f"static const layer_t {name} = {{{arguments}}};"))
        self.bytes += LAYER_BYTES
        return f"&{name}"

    def weights(self) -> str:
        parts = [
            "/* The numbers of the network. */",
            "#ifndef WEIGHTS_H",
            "#define WEIGHTS_H",
            "",
            "#include <stdint.h>",
        ]
        for name, kind, numbers, comment in self.arrays:
            parts += ["", f"/* {comment} */", constant(f"static const {kind} {name}[{len(numbers)}]", numbers)]
        return "\n".join([*parts, "", "#endif", ""])

    def header(self) -> str:
        program, grids = self.program, self.quantised.grids
        channels, height, width = program.shapes[0]
        outputs = _map(program.shapes[program.output])
        stored = "uint8_t" if self.pixels else "int8_t"
        meaning = "as stored, 0 to 255" if self.pixels else "on the grid MODEL_INPUT_SCALE * (q - MODEL_INPUT_ZERO)"
        layout = "row by row, the channels of a pixel together"
        return f"""/* A network in integers of 8 bits.

   Input: {height} x {width} pixels of {channels} channels, {layout}, {meaning}.
   Output: {outputs[0]} numbers{f" for each of {outputs[1]} x {outputs[2]} pixels" if outputs[1:] != (1, 1) else ""},
   each MODEL_OUTPUT_SCALE * (q - MODEL_OUTPUT_ZERO). */
#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

#define MODEL_INPUT_HEIGHT {height}
#define MODEL_INPUT_WIDTH {width}
#define MODEL_INPUT_CHANNELS {channels}
#define MODEL_INPUT_SIZE {channels * height * width}
#define MODEL_INPUT_SCALE {float(grids[0].scale):.9g}f
#define MODEL_INPUT_ZERO ({int(grids[0].zero)})
#define MODEL_OUTPUT_SIZE {math.prod(outputs)}
#define MODEL_OUTPUT_SCALE {float(grids[program.output].scale):.9g}f
#define MODEL_OUTPUT_ZERO ({int(grids[program.output].zero)})
#define MODEL_ARENA_BYTES {self.arena.size}

typedef {stored} model_input_t;

/* Runs the network; the answer stays where it is until the next run. */
const int8_t *model_run(const model_input_t *input);

/* The place of the largest of the outputs. */
int32_t model_largest(const int8_t *output);

#endif
"""

    def model(self, calls: Sequence[str]) -> str:
        program = self.program
        layers, body = "\n".join(self.layers), "\n    ".join(calls)
        return f"""/* The network: its layers, and the order in which they run. */
#include "model.h"

#include <string.h>

#include "kernels.h"
#include "weights.h"

{layers}

static int8_t arena[MODEL_ARENA_BYTES] __attribute__((aligned(4)));

const int8_t *model_run(const model_input_t *input) {{
    {body}
    return {self.at(program.output)};
}}

int32_t model_largest(const int8_t *output) {{
    int32_t largest = 0;
    for (int32_t i = 1; i < MODEL_OUTPUT_SIZE; i++)
        if (output[i] > output[largest]) largest = i;
    return largest;
}}
"""


def _arena(place: int) -> str:
    return f"arena + {place}" if place else "arena"


def _map(shape: Sequence[int]) -> tuple[int, int, int]:
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (shape[0], 1, 1)
