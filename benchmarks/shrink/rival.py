"""ResNet-20 cut to shares of its measured latency: the engine against Torch-Pruning, in equal processor time.

    pip install --no-deps torch-pruning
    python -m benchmarks.shrink.rival cifar10_jpeg.npz --examples 10000 --work runs/rival

ResNet-20 is trained on some of the images by the recipe of fine-tuning (`--train` seconds, from nothing). Torch-Pruning
cuts by a ratio, so its user cuts, measures and tries another one: here by bisection until the limit is kept, with the
importance of groups (`GroupMagnitudeImportance`) or that of Taylor, globally. Each has `--seconds` of the processor for
all of choosing and fine-tuning, and the same fine-tuning, with the original as teacher. Rows go to
docs/results/shrink_rival.json; `page.py` writes the page.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.task import Split, Task
from archscout.costs.latency import QUICK, Latency
from archscout.shrink.limits import latency
from archscout.shrink.tuning import fine_tune
from archscout.spaces.trained import TrainedSpace
from archscout.tasks.load import load
from archscout.training import checkpoint
from archscout.training.contexts import evaluation
from benchmarks.common import RESULTS, Rows, arguments, machine
from benchmarks.front_door.value_rivals import NETWORKS
from benchmarks.shrink.common import accuracy, cut_to

FILE = RESULTS / "shrink_rival.json"
WAYS = ("engine", "magnitude", "taylor")
STEPS = 7
"""Of the bisection for a ratio."""


def trained(file: Path, task: Task, seconds: float, seed: int) -> nn.Module:
    """ResNet-20 on the task, from the file where it was trained before."""
    torch.manual_seed(seed)
    network = NETWORKS["resnet20"](3, task.outputs, 32)
    kept = checkpoint.read(file, "cpu")
    if kept is None:
        fine_tune(network, task, seconds, seed=seed, clock=time.process_time, learning_rate=5e-3)
        checkpoint.write(file, network.state_dict(), {})
    else:
        network.load_state_dict(kept[0])
    return network.eval()


def pruned(network: nn.Module, task: Task, way: str, ratio: float) -> nn.Module:
    """What Torch-Pruning leaves at a ratio of channels."""
    pruning: Any = importlib.import_module("torch_pruning")
    smaller = copy.deepcopy(network)
    x, y = task.tensors(task.train.head(256))
    taylor = way == "taylor"
    importance = pruning.importance.GroupTaylorImportance() if taylor else pruning.importance.GroupMagnitudeImportance()
    head = next(module for module in smaller.modules() if isinstance(module, nn.Linear))
    pruner = pruning.pruner.BasePruner(
        smaller, x[:1], importance=importance, pruning_ratio=ratio, global_pruning=True, ignored_layers=[head],
        max_pruning_ratio=0.9, round_to=2,
    )  # fmt: skip
    if taylor:
        task.loss(smaller(x), y).backward()
    pruner.step()
    smaller.zero_grad(set_to_none=True)
    return smaller


def rival(
    network: nn.Module, task: Task, cost: Latency, way: str, limit: float, seconds: float, seed: int
) -> nn.Module:
    """Torch-Pruning's network that keeps a limit in milliseconds, fine-tuned, in so many seconds."""
    end = time.process_time() + seconds
    low, high = 0.0, 0.95
    best: nn.Module | None = None
    for _ in range(STEPS):
        ratio = (low + high) / 2
        smaller = pruned(network, task, way, ratio)
        if latency(cost, smaller, task, "cpu", QUICK).at_most <= limit:
            best, high = smaller, ratio
        else:
            low = ratio
    assert best is not None, "no ratio keeps the limit"
    left = end - time.process_time()
    fine_tune(best, task, left, seed=seed, clock=time.process_time, teacher=copy.deepcopy(network).eval())
    return best.eval()


def macs(network: nn.Module, task: Task) -> float:
    """Multiply-adds of its convolutions and linear layers."""
    counted: list[float] = []

    def count(module: Any, _: Any, output: torch.Tensor) -> None:
        places = output.numel() / output.shape[1]
        counted.append(places * module.weight.numel())

    layers = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    handles = [layer.register_forward_hook(count) for layer in layers]
    with evaluation(network):
        network(torch.zeros(1, *task.input_shape))
    for handle in handles:
        handle.remove()
    return sum(counted)


def some(task: Task, examples: int, tested: int, seed: int) -> Task:
    """So many of its images, drawn."""
    assert task.test is not None
    rows = np.sort(stream(seed, "rival").permutation(len(task.train))[:examples])
    train = Split(task.train.x[rows], task.train.y[rows])
    return dataclasses.replace(task, train=train, valid=task.valid.head(500), test=task.test.head(tested))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--tested", type=int, default=5_000)
    parser.add_argument("--train", type=float, default=150)
    parser.add_argument("--seconds", type=float, default=25)
    parser.add_argument("--shares", type=float, nargs="+", default=(0.75, 0.5, 0.35))
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=WAYS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/rival"))
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    seed, task = options.seed, some(load(options.data, flip=True), options.examples, options.tested, options.seed)
    options.work.mkdir(parents=True, exist_ok=True)
    network = trained(options.work / f"resnet20-{seed}.safetensors", task, options.train, seed)
    cost = create("cost", "latency")
    assert isinstance(cost, Latency)
    whole, original = latency(cost, network, task, "cpu").value, accuracy(network, task)
    print(f"ResNet-20: {original:.3f}, {whole:.3f} ms", flush=True)
    space = TrainedSpace(network, "trained:resnet20", input_shape=(3, 32, 32))
    rows = Rows(options.results, ("examples", "share", "way", "seed", "seconds"), sort=True)
    for share in options.shares:
        for way in options.ways:
            key = {"examples": options.examples, "share": share, "way": way, "seed": seed, "seconds": options.seconds}
            if rows.has(**key):
                continue
            began, limit = time.process_time(), share * whole
            if way == "engine":
                folder = options.work / f"engine-{share:g}-{seed}"
                result = cut_to(folder, network, space, task, limit, options.seconds, seed).network
            else:
                result = rival(network, task, cost, way, limit, options.seconds, seed)
            took, measured = time.process_time() - began, latency(cost, result, task, "cpu").value
            rows.add({
                **key, "train_seconds": options.train, "original": original, "original_ms": whole, "limit_ms": limit,
                "test": accuracy(result, task), "measured_ms": measured, "macs": macs(result, task),
                "original_macs": macs(network, task), "cpu_seconds": took, "conditions": machine(),
            })  # fmt: skip


if __name__ == "__main__":
    main()
