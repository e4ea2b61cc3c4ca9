"""Text of C code: tables of numbers, the vectors of the self-test, the Makefile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from archscout.deploy.quantise import Quantised

WIDTH = 118


def vectors(quantised: Quantised, examples: Tensor, pixels: bool) -> str:
    """The header with inputs and the answers of the integer reference."""
    answers = pixels_last(quantised.integers(examples))
    inputs = pixels_last(examples if pixels else quantised.entry(examples)).long()
    kind = "uint8_t" if pixels else "int8_t"
    return "\n".join(
        [
            "/* Inputs, and the outputs of the integer reference. */",
            "#ifndef VECTORS_H",
            "#define VECTORS_H",
            "",
            "#include <stdint.h>",
            "",
            f"#define VECTORS {len(examples)}",
            "",
            table(f"static const {kind} inputs[VECTORS][{inputs.shape[1]}]", inputs.numpy()),
            "",
            table(f"static const int8_t outputs[VECTORS][{answers.shape[1]}]", answers.numpy()),
            "",
            "#endif",
            "",
        ]
    )


def pixels_last(x: Tensor) -> Tensor:
    """N x C x H x W (or N x C) as rows in the order of C code: the channels of a pixel together."""
    return (x.movedim(1, -1) if x.dim() == 4 else x).reshape(len(x), -1)


def sizes_of(weight: Tensor) -> str:
    """The shape of a weight, for a comment."""
    return " x ".join(str(size) for size in weight.shape)


def constant(declaration: str, numbers: Sequence[int]) -> str:
    """A declaration with its numbers."""
    return f"{declaration} = {{\n{lines(numbers)}\n}};"


def table(declaration: str, rows: np.ndarray) -> str:
    """A declaration with rows of numbers."""
    body = ",\n".join(f"{{\n{lines(row)}\n}}" for row in rows.tolist())
    return f"{declaration} = {{\n{body}\n}};"


def lines(numbers: Sequence[int]) -> str:
    """Numbers with commas, in lines that are not too long."""
    done, line = [], ""
    for number in numbers:
        text = f"{number},"
        if len(line) + len(text) > WIDTH:
            done.append(line)
            line = ""
        line += text
    return "\n".join([*done, line])


def wrapped(text: str) -> str:
    """A statement in lines that are not too long."""
    lines, line = [], ""
    for word in text.split(" "):
        if len(line) + len(word) + 1 > WIDTH:
            lines.append(line)
            line = "   "
        line = f"{line} {word}" if line else word
    return "\n".join([*lines, line])


MAKEFILE = """\
# make            builds and runs the self-test on this machine
# make size       bytes of the network on the core CORE
# make count      runs it there, in QEMU: instructions for one answer, and the depth of the stack

CORE ?= cortex-m4
BOARD ?= mps2-an386
CC ?= cc
CROSS ?= arm-none-eabi-
CFLAGS ?= -O3 -std=c99 -Wall -Wextra -Werror
CORE_FLAGS = -mcpu=$(CORE) -mthumb -O3 -std=gnu99 -Wall -ffunction-sections -fdata-sections

test: selftest
\t./selftest

selftest: selftest.c model.c kernels.c model.h kernels.h weights.h vectors.h
\t$(CC) $(CFLAGS) -o $@ selftest.c model.c kernels.c

size: model.elf
\t$(CROSS)size $<

model.elf: model.c kernels.c model.h kernels.h weights.h board.ld
\t$(CROSS)gcc $(CORE_FLAGS) -nostartfiles -Wl,--gc-sections -Wl,-e,model_run -T board.ld -o $@ model.c kernels.c

board.elf: selftest.c board.c model.c kernels.c model.h kernels.h weights.h vectors.h board.h board.ld
\t$(CROSS)gcc $(CORE_FLAGS) -DBARE_METAL -nostartfiles -Wl,--gc-sections -T board.ld -o $@ \\
\t\tselftest.c board.c model.c kernels.c

count: board.elf
\tqemu-system-arm -M $(BOARD) -nographic -icount shift=6 -semihosting-config enable=on,target=native -kernel $<

clean:
\trm -f selftest model.elf board.elf

.PHONY: test size count clean
"""
