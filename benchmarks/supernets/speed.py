"""What a step with shared weights costs, against what it must cost at least; and how fast a whole space is ranked.

    python -m benchmarks.supernets.speed

On a quiet machine. Space: NAS-Bench-201 of width 8 with one cell a stage, images of 16 x 16 x 3 drawn at random, batch
64, one thread; medians of CPU seconds over interleaved rounds.

- a single-path step of a supernet (forward, backward, clipping, SGD) against the same step of the stand-alone network:
  over the same architectures;
- a dense step (all options, weighted) against the sum of its operators, each timed alone on feature maps of the same
  shape, plus the step of the network with `none` on all edges, which is all that is not a choice;
- all 5,260 different networks ranked from a supernet of width 4, batches of 32 and 64.

Writes docs/results/supernets_speed.json.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.task import Split
from archscout.networks.pick import MixedOp, build
from archscout.supernets.distributions import Distribution
from archscout.supernets.evaluate import losses
from archscout.supernets.gates import soft
from archscout.supernets.supernet import Supernet
from archscout.tasks.images import ImageClassification
from benchmarks.common import RESULTS, arguments, write_result


def seconds(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def stepper(network: nn.Module, task: ImageClassification, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    weights = list(network.parameters())
    optimizer = torch.optim.SGD(weights, 0.05, momentum=0.9, weight_decay=3e-4, nesterov=True)

    def step() -> None:
        optimizer.zero_grad()
        task.loss(network(x), y).backward()
        nn.utils.clip_grad_norm_(weights, 5.0)
        optimizer.step()

    return step


def single_path(task: ImageClassification, x: torch.Tensor, y: torch.Tensor, rounds: int) -> dict:
    space = create("space", "nasbench201:width=8,cells=1")
    supernet = Supernet(space, task)
    shared = stepper(supernet, task, x, y)
    pairs = []
    for number in range(rounds):
        architecture = space.sample(stream(number, "speed"))
        alone = stepper(build(space, architecture, task).train(), task, x, y)
        supernet.select(architecture)
        for work in (alone, shared):
            work()
        times = [[seconds(work) for work in (alone, shared)] for _ in range(5)]
        pairs.append(np.median(times, 0))
    alone_ms, shared_ms = (1000 * np.asarray(pairs)).T
    return {
        "networks": rounds,
        "alone_ms": float(alone_ms.mean()),
        "shared_ms": float(shared_ms.mean()),
        "ratio": float(shared_ms.sum() / alone_ms.sum()),
    }


def dense(task: ImageClassification, x: torch.Tensor, y: torch.Tensor, rounds: int) -> dict:
    space = create("space", "nasbench201:width=8,cells=1")
    supernet = Supernet(space, task)
    distribution = Distribution(space)
    inputs: dict[MixedOp, torch.Tensor] = {}
    hooks = [
        place.register_forward_pre_hook(lambda module, args: inputs.__setitem__(module, args[0].detach()))
        for places in supernet.mixed().values()
        for place in places
    ]
    supernet.gate(soft(distribution))(x)
    for hook in hooks:
        hook.remove()
    empty = stepper(build(space, space.architecture({c.name: "none" for c in space.choices}), task), task, x, y)
    whole = stepper(supernet, task, x, y)

    def operators() -> None:
        for place, features in inputs.items():
            for option in place.options.values():
                out = option(features.clone().requires_grad_())
                if out is not None:
                    out.sum().backward()

    def mixture() -> None:
        supernet.gate(soft(distribution))
        whole()

    times = [[seconds(work) for work in (mixture, operators, empty)] for _ in range(rounds + 1)][1:]
    mixed, apart, rest = (1000 * statistics.median(column) for column in zip(*times, strict=True))
    return {"dense_ms": mixed, "operators_ms": apart, "rest_ms": rest, "ratio": mixed / (apart + rest)}


def ranking(task: ImageClassification, most: int) -> list[dict]:
    space = create("space", "nasbench201:width=4,cells=1")
    supernet = Supernet(space, task)
    different = list({space.canonical(architecture): architecture for architecture in space}.values())[:most]
    found = []
    for batch in (32, 64):
        data = task.tensors(task.valid.head(batch))
        took = seconds(lambda data=data: losses(supernet, different, data))  # type: ignore[misc]
        found.append({"networks": len(different), "batch": batch, "seconds": took})
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--networks", type=int, default=5260)
    parser.add_argument("--parts", default="single_path,dense,ranking", help="which are measured; the rest is kept")
    parser.add_argument("--out", type=Path, default=RESULTS / "supernets_speed.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (64, 16, 16, 3), dtype=np.uint8), rng.integers(0, 10, 64))
    task = ImageClassification("random images", (3, 16, 16), 10, split, split, None)
    x, y = task.tensors(split)
    measured: dict[str, Callable[[], object]] = {
        "single_path": lambda: single_path(task, x, y, options.rounds),
        "dense": lambda: dense(task, x, y, options.rounds),
        "ranking": lambda: ranking(task, options.networks),
    }
    results = json.loads(options.out.read_text()) if options.out.is_file() else {}
    for part in options.parts.split(","):
        results[part] = measured[part]()
        print(part, results[part], flush=True)
    write_result(options.out, results)


if __name__ == "__main__":
    main()
