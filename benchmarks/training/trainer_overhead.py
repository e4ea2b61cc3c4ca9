"""What the trainer costs over the loop that one would write by hand: the median of paired, alternating runs.

    python -m benchmarks.training.trainer_overhead

The bare loop does the same arithmetic (same batches, augmentation, optimiser, clipping, memory layout, one evaluation
an epoch) and nothing else: no schedule, no curve, no best weights, no check for divergence, no checkpoint. Processor
time is compared, because it is hardly touched by other programs on the machine; each pair runs back to back. How many
checkpoints a training writes is another thing: one a second at most by the clock on the wall, so that a busy machine
writes more of them in the same processor time. So their number stands beside, and what one of them takes. Pairs that
are in the result file are kept: remove it to measure anew.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from archscout.core.registry import create
from archscout.core.task import Task
from archscout.networks.pick import build
from archscout.tasks.load import load
from archscout.training import checkpoint
from archscout.training.trainer import Recipe, train
from benchmarks.common import RESULTS, Rows, arguments, machine, write_result

CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
FILE = RESULTS / "trainer_overhead.json"
EPOCHS = 5
PAIRS = 40


def bare_loop(network: nn.Module, task: Task, recipe: Recipe) -> float:
    network.to(memory_format=torch.channels_last)
    x, y = task.tensors(task.train)
    valid_x, valid_y = task.tensors(task.valid)
    x, valid_x = (part.contiguous(memory_format=torch.channels_last) for part in (x, valid_x))
    parameters = list(network.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=recipe.momentum, nesterov=True, fused=True)
    generator = torch.Generator().manual_seed(0)
    accuracy = 0.0
    for _ in range(recipe.epochs):
        network.train()
        for rows in torch.randperm(len(x), generator=generator).split(recipe.batch_size):
            batch = task.augment(x[rows], generator) if recipe.augment else x[rows]
            loss = task.loss(network(batch), y[rows], recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, recipe.gradient_clip)
            optimizer.step()
        network.eval()
        with torch.inference_mode():
            outputs = torch.cat([network(part) for part in valid_x.split(512)])
        accuracy = task.measure(outputs, valid_y)
    return accuracy


def tiny_network(task: Task) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(task.input_shape[0], 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), task.head(16),
    )  # fmt: skip


def processor_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def compare(name: str, make: Callable[[], nn.Module], task: Task, recipe: Recipe, rows: Rows) -> None:
    """Add a row for each pair that is not in the file yet."""
    ways: dict[str, Callable[[], object]] = {
        "bare": lambda: bare_loop(make(), task, recipe),
        "trainer": lambda: train(make(), task, recipe, seed=0),
        "trainer with checkpoints": lambda: checkpointed(make(), task, recipe),
    }
    pairs = [pair for pair in range(PAIRS) if not rows.has(network=name, pair=pair)]
    for work in ways.values() if pairs else ():
        work()
    for pair in pairs:
        order = ways if pair % 2 else reversed(ways)
        with written() as checkpoints:
            seconds = {way: processor_seconds(ways[way]) for way in order}
        rows.add(
            {"network": name, "pair": pair}
            | {way: round(seconds[way], 4) for way in ways}
            | {"checkpoints": len(checkpoints), "checkpoint_ms": round(1e3 * statistics.median(checkpoints), 2)}
        )


@contextmanager
def written() -> Iterator[list[float]]:
    """The processor seconds of each checkpoint that is written within the block."""
    write, seconds = checkpoint.write, list[float]()

    def timed(*arguments: Any) -> None:
        seconds.append(processor_seconds(lambda: write(*arguments)))

    with mock.patch.object(checkpoint, "write", timed):
        yield seconds


def medians(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    pairs = [row for row in rows if row["network"] == name]
    return {
        "network": name,
        "bare_seconds": round(statistics.median(row["bare"] for row in pairs), 4),
        **{
            f"{way} / bare": round(statistics.median(row[way] / row["bare"] for row in pairs), 4)
            for way in ("trainer", "trainer with checkpoints")
        },
        "checkpoints": statistics.median(row["checkpoints"] for row in pairs),
        "checkpoint_ms": statistics.median(row["checkpoint_ms"] for row in pairs),
    }


def checkpointed(network: nn.Module, task: Task, recipe: Recipe) -> None:
    with tempfile.TemporaryDirectory() as folder:
        train(network, task, recipe, seed=0, folder=Path(folder))


def main() -> None:
    arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    task = load("digits")
    space = create("space", "nasbench201")
    cell = space.parse(CELL)
    recipe = Recipe.default(task, EPOCHS)
    conditions = {"epochs": EPOCHS, "pairs": PAIRS, "batch_size": recipe.batch_size}
    about = {"unit": "processor seconds of one training", "conditions": conditions | machine()}
    rows = Rows(FILE, ("network", "pair"), about)
    networks: dict[str, Callable[[], nn.Module]] = {
        "nasbench201 on digits": lambda: build(space, cell, task),
        "two convolutions on digits": lambda: tiny_network(task),
    }
    for name, make in networks.items():
        compare(name, make, task, recipe, rows)
    summary = [medians(name, rows.rows) for name in networks]
    write_result(FILE, {**about, "medians": summary, "rows": rows.rows})
    for row in summary:
        print(json.dumps(row))
    worst = max(row["trainer / bare"] for row in summary)
    print(f"the trainer costs at most {100 * (worst - 1):.1f} % more than the bare loop (limit: 5 %).")
    sys.exit(worst >= 1.05)


if __name__ == "__main__":
    main()
