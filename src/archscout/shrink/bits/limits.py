"""What bits cost: bytes of the weights, bit operations, and latency by a table of layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from archscout.core.errors import DataError, UsageError
from archscout.core.sheet import read_sheet
from archscout.deploy.program import Program
from archscout.shrink.bits.hessian import layer_bytes, weighted


@dataclass(frozen=True)
class Limit:
    """What all layers together may cost.

    Args:
        what: is limited, in words: "the weights take 900 bytes".
        unit: of the numbers.
        most: the limit.
        cost: of a layer (its place among those with weights) with so many bits of weights and of its input.
        of_activations: whether the bits of activations matter to it.
    """

    what: str
    unit: str
    most: float
    cost: Callable[[int, int, int], float]
    of_activations: bool = True


def weight_bytes(program: Program, most: float) -> Limit:
    """Bytes of weights, biases and factors, as `Quantised.weight_bytes` counts them."""
    layers = weighted(program)
    return Limit("the weights take", "bytes", most, lambda place, w, a: layer_bytes(layers[place], w), False)


def bit_operations(program: Program, most: float) -> Limit:
    """Multiply-adds times bits of the weight times bits of the activation (BOPs)."""
    macs = [program.macs_of(operator) for operator in weighted(program)]
    return Limit("the layers take", "bit operations", most, lambda place, w, a: macs[place] * w * a)


def table_latency(program: Program, table: Mapping[tuple[int, int, int], float], most: float) -> Limit:
    """Milliseconds of each layer by (place, bits of weights, bits of activations), added up; what is not in the table
    cannot be chosen. Raises `UsageError` for a layer of which nothing is known."""
    count = len(weighted(program))
    for place in range(count):
        if not any(key[0] == place for key in table):
            raise UsageError(f"the table of latencies has nothing of layer {place + 1} of {count}: add its rows.")
    return Limit("the layers take", "ms", most, lambda place, w, a: table.get((place, w, a), float("inf")))


COLUMNS = ("layer", "weight_bits", "activation_bits", "ms")


def read_table(file: Path) -> dict[tuple[int, int, int], float]:
    """A CSV file with the columns `layer` (1 is the first with weights), `weight_bits`, `activation_bits`, `ms`.

    Raises:
        UsageError: there is no such file.
        DataError: a column is missing, or a cell is no such number; the line is named.
    """
    sheet = read_sheet(file)
    table: dict[tuple[int, int, int], float] = {}
    for line, *cells in zip(sheet.lines, *(sheet.column(name) for name in COLUMNS), strict=True):
        try:
            layer, w, a = (int(cell) for cell in cells[:3])
            ms = sheet.number(cells[3])
        except ValueError:
            layer, w, a, ms = 0, 0, 0, -1.0
        if layer < 1 or not 0 <= ms < float("inf"):
            raise DataError(
                f"line {line} of '{file}' is no latency of a layer: write {', '.join(COLUMNS)} as whole numbers and "
                "milliseconds."
            )
        table[layer - 1, w, a] = ms
    return table
