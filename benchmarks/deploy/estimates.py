"""Flash, memory and instructions on a Cortex-M4: what is estimated before training against what QEMU counts.

    python -m benchmarks.deploy.estimates

`probe`: small programs of few operators; what a turn of each loop takes is fitted to them and to every second of the
first 30 drawn networks (`fitted` in the result; the constants of `archscout.deploy.instructions` are copied from
there). `drawn`: networks drawn from two spaces, with drawn weights: what is counted hangs on shapes, not on what was
learned. The C code of each is compiled, linked and run; it must give the bytes of the integer reference. Needs the
cross compiler and QEMU. Rows go to docs/results/microcontroller.json, and a run that was stopped goes on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from scipy.stats import spearmanr
from torch import nn

import archscout
from archscout.core.errors import ArchscoutError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.deploy import toolchain
from archscout.deploy.c import emit, flash_bytes, sram_bytes
from archscout.deploy.instructions import turns
from archscout.deploy.quantise import quantise
from archscout.deploy.reading import read
from archscout.networks.pick import build
from archscout.testing.tasks import tiny_task
from benchmarks.common import RESULTS, Rows, arguments, machine

FILE = RESULTS / "microcontroller.json"
SPACES = ("nasbench201:width=8,cells=1", "classic:width=64", "nasbench201:width=16,cells=2")
SHAPE = (3, 16, 16)
DRAWN = 45
_FITTED = range(1, 30, 2)
"""The drawn networks that constants are fitted to; the estimate is held against all others."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--drawn", type=int, default=DRAWN)
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if absent := toolchain.missing((*toolchain.CROSS, *toolchain.EMULATOR)):
        raise ArchscoutError(absent)
    rows = Rows(options.results, ("kind", "name"), {"version": archscout.__version__, **machine()}, sort=True)
    for kind, name, network in itertools.chain(probes(), drawn(options.drawn)):
        if not rows.has(kind=kind, name=name):
            rows.add({"kind": kind, "name": name, **counted(network)})
        rows.about["fitted"] = fitted(rows.rows)
    rows.add(rows.rows[-1])  # with what is fitted to all


def probes() -> Iterator[tuple[str, str, nn.Module]]:
    """Programs in which one kernel does most of the work."""
    torch.manual_seed(0)
    relu = nn.ReLU()
    networks = {
        "1x1": nn.Conv2d(3, 16, 1), "3x3": nn.Conv2d(3, 16, 3, padding=1), "3x3 of 2": nn.Conv2d(3, 2, 3, padding=1),
        "fours": nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 3, padding=1)),
        "grouped": nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 3, padding=1, groups=4)),
        "depthwise": nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 3, padding=1, groups=16)),
        "depthwise of 5": nn.Sequential(nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 5, 2, padding=2, groups=16)),
        "largest": nn.Sequential(nn.Conv2d(3, 16, 1), nn.MaxPool2d(3, 1, 1)),
        "largest of 2": nn.Sequential(nn.Conv2d(3, 16, 1), nn.MaxPool2d(2)),
        "average": nn.Sequential(nn.Conv2d(3, 16, 1), nn.AvgPool2d(3, 1, 1)),
        "average of 2": nn.Sequential(nn.Conv2d(3, 16, 1), nn.AvgPool2d(2)),
        "mean": nn.Sequential(nn.Conv2d(3, 16, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)),
        "linear": nn.Sequential(nn.Flatten(), nn.Linear(768, 16), relu, nn.Linear(16, 7)),
        "table": nn.Sequential(nn.Conv2d(3, 16, 1), nn.Hardswish()),
        "taken": nn.Sequential(nn.Conv2d(3, 16, 1), nn.ChannelShuffle(4)),
        "sum": Branches(), "joined": Branches("joined"), "product": Branches("product"),
    }  # fmt: skip
    for name, network in networks.items():
        yield "probe", name, tiny_task(SHAPE).deploy(network).eval()


class Branches(nn.Module):
    def __init__(self, how: str = "sum") -> None:
        super().__init__()
        self.first, self.second, self.how = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 1), how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        y = self.second(x)
        if self.how == "product":
            return x * y
        return torch.cat([x, y], 1) if self.how == "joined" else x + y


def drawn(count: int) -> Iterator[tuple[str, str, nn.Module]]:
    task = tiny_task(SHAPE)
    for number in range(count):
        space = create("space", SPACES[number % len(SPACES)])
        architecture = space.sample(stream(number, "estimates"))
        network = task.deploy(build(space, architecture, task, seed=number).eval()).eval()
        try:
            read(network, SHAPE)
        except ArchscoutError:  # an operator that has no integer form
            continue
        yield "drawn", f"{number:02d} {SPACES[number % len(SPACES)].partition(':')[0]}", network


def counted(network: nn.Module) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    examples = torch.randint(0, 256, (24, *SHAPE), generator=generator).float()
    program = read(network, SHAPE)
    code = emit(quantise(program, examples, span=(0.0, 255.0)), examples[:1])
    there = toolchain.count(code.files, "cortex-m4", "mps2-an386")
    assert there.stack_bytes is not None
    return {
        "macs": program.macs, "turns": dict(turns(program)),
        "flash": there.flash_bytes, "sram": code.arena.size + there.stack_bytes, "instructions": there.instructions,
        "flash_estimated": flash_bytes(program), "sram_estimated": sram_bytes(program),
    }  # fmt: skip


def fitted(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Instructions of a turn of each loop: least squares of relative errors, none below zero."""
    own = [row for row in rows if row["kind"] == "probe" or int(row["name"][:2]) in _FITTED]
    loops = sorted({loop for row in own for loop in row["turns"]})
    table = np.array([[row["turns"].get(loop, 0) / row["instructions"] for loop in loops] for row in own])
    values, _ = nnls(table, np.ones(len(own)))
    return {loop: round(float(value), 2) for loop, value in zip(loops, values, strict=True)}


def section(result: Mapping[str, Any]) -> list[str]:
    """What the page says of it."""
    rows = [row for row in result["rows"] if row["kind"] == "drawn"]
    # The networks that nothing was fitted to.
    apart = [row for row in rows if int(row["name"][:2]) not in _FITTED]
    guesses = [sum(result["fitted"].get(loop, 0) * n for loop, n in row["turns"].items()) for row in apart]
    truth = [row["instructions"] for row in apart]
    off = {key: max(abs(row[f"{key}_estimated"] / row[key] - 1) for row in rows) for key in ("flash", "sram")}
    errors = [abs(guess / count - 1) for guess, count in zip(guesses, truth, strict=True)]
    rank, by_macs = (float(spearmanr(truth, values).statistic) for values in (guesses, [r["macs"] for r in apart]))
    judge = {True: "holds", False: "does not hold"}
    spaces = " and ".join(dict.fromkeys(name.partition(":")[0] for name in SPACES))
    return [
        "## What a Cortex-M4 takes",
        f"{len(rows)} networks drawn from {spaces}, compiled and counted "
        "in QEMU, by `benchmarks.deploy.estimates`; each gave the bytes of the integer reference.",
        f"- Flash is estimated within 5 %: {judge[off['flash'] <= 0.05]}; at most {off['flash']:.1%} off.\n"
        f"- Memory is estimated within 10 %: {judge[off['sram'] <= 0.1]}; at most {off['sram']:.1%} off.\n"
        f"- The rank correlation of instructions is .95 or more: {judge[rank >= 0.95]}; {rank:.3f} on the {len(apart)} "
        f"networks that nothing was fitted to ({by_macs:.3f} by multiply-adds); at most {max(errors):.1%} off, "
        f"{np.median(errors):.1%} in the median.",
    ]


if __name__ == "__main__":
    main()
