"""One training for several limits, or one for each: cuts of a trained network at equal passes.

    python -m benchmarks.supernets.many_limits --seeds 3

A small residual network is trained on handwritten digits (8 x 8). The engine of `archscout shrink` chooses what is cut
for 60, 30 and 15 % of its multiply-adds. The cut networks then learn from labels and from the original, by as many
passes in all, on slices of the network's own weights (`archscout.networks.sliced`):

- `each alone`: each of the three for a third of the passes, from the weights it was cut out with;
- `the three together`: all three in every step, on shared weights;
- `sandwich`: original, smallest and two random cuts in every step, students of the original as it becomes (BigNAS).

`none` is what was cut, with batch normalisation estimated anew, as everywhere here. Then what evolution on inherited
scores finds under each limit in the supernets of the last two. Accuracy is that of the test images. Results are kept as
they come. Writes docs/results/supernets_many_limits.json.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.estimator import Setting
from archscout.core.evolution import evolve
from archscout.core.fresh import fresh
from archscout.core.registry import create
from archscout.core.seeds import derive, stream
from archscout.core.space import take
from archscout.core.task import Task
from archscout.shrink import rating
from archscout.shrink.accounts import accounts
from archscout.shrink.engine import plan
from archscout.spaces.trained import TrainedSpace
from archscout.supernets.distributions import Distribution
from archscout.supernets.evaluate import losses
from archscout.supernets.phases import Phase, Settings, fit
from archscout.supernets.plans import Plan, Sandwich
from archscout.supernets.step import Job
from archscout.supernets.taught import Taught, TaughtSupernet
from archscout.supernets.terms import Labels, Mean, Objective, distillation
from archscout.training.recipe import Recipe
from archscout.training.trainer import train
from benchmarks.common import RESULTS, Rows, arguments
from benchmarks.supernets.elastic import inherited

SHARES, BATCH, RATE = (0.6, 0.3, 0.15), 64, (0.02, 0.001)


class Residual(nn.Module):
    """Two 3 x 3 convolutions added to their input, or to a 1 x 1 convolution of it where the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        same = stride == 1 and inputs == outputs
        self.past = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.past(x) + self.body(x))


class Small(nn.Module):
    """Five residual blocks, 16 to 64 channels."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        sizes = [(16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
        self.blocks = nn.Sequential(*(Residual(*size) for size in sizes))
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))  # type: ignore[no-any-return]


def original(task: Task, seed: int) -> nn.Module:
    """The trained network."""
    torch.manual_seed(derive(seed, "original") % 2**31)
    network = Small(task.outputs)
    train(network, task, Recipe(epochs=20, batch_size=BATCH), seed=seed)
    return network.eval()


def chosen(network: nn.Module, space: TrainedSpace, task: Task, seed: int) -> list[Architecture]:
    """What the engine cuts for each limit."""
    x, y = task.tensors(task.train.head(256))
    rating.order_by_importance(network, space, task, x, y, 16)
    harms, known = rating.harms(network, space, x[:64]), accounts(network, space, x[:1])
    macs, setting = create("cost", "macs"), Setting(space, task)
    whole = macs.measure(space.widest, setting).value

    def measure(architecture: Architecture) -> dict[str, float]:
        return {"macs": macs.measure(architecture, setting).value}

    return [
        plan(network, space, known, harms, {"macs": share * whole}, measure, x[:64], seed=seed).architecture
        for share in SHARES
    ]


def learn(space: TrainedSpace, task: Task, steps: int, seed: int, paths: Plan, objective: Objective) -> TaughtSupernet:
    """The cuts that a plan names, trained on slices of the original."""
    supernet = TaughtSupernet(space, task, seed=seed)
    phase = Phase(plan=paths, objective=objective, rate=RATE)
    fit(supernet, Distribution(space), [phase], Settings(steps, BATCH), seed=seed)
    return supernet


def fixed(*architectures: Architecture) -> Plan:
    """These, in every step."""
    return lambda step: [Job(each, "student") for each in architectures]


def best_under(supernet: TaughtSupernet, task: Task, limit: float, seed: int) -> Architecture:
    """What evolution on inherited scores finds under a limit of multiply-adds."""
    space, macs = supernet.space, create("cost", "macs")
    setting, validation = Setting(space, task), task.tensors(task.valid.head(256))

    def keeps(architecture: Architecture) -> bool:
        return bool(macs.measure(architecture, setting).value <= limit)

    found = evolve(
        space,
        lambda architectures: (-losses(supernet, architectures, validation)).tolist(),
        lambda candidates, count: take(filter(keeps, fresh(space, iter(candidates), set())), count),
        stream(seed, "evolution"),
        most=60,
        population=30,
    )
    return found[0][0]


def compare(task: Task, seed: int, passes: int) -> dict[str, Any]:
    """One seed: the accuracies of every way under each limit, and CPU seconds."""
    network = original(task, seed)
    space = TrainedSpace(network, "trained:small", input_shape=task.input_shape)
    cuts = chosen(network, space, task, seed)
    limits = [share * create("cost", "macs").measure(space.widest, Setting(space, task)).value for share in SHARES]
    plain = TaughtSupernet(space, task, seed=seed)
    accuracies = {"none": inherited(plain, task, cuts)}
    seconds = {"none": 0.0}
    each = passes // len(cuts)
    students = Mean([Labels(teacher_only=True), distillation], summed=True)

    began = time.process_time()
    alone = [learn(space, task, each, seed, fixed(one), Taught()) for one in cuts]
    seconds["each alone"] = time.process_time() - began
    accuracies["each alone"] = [inherited(s, task, [one])[0] for s, one in zip(alone, cuts, strict=True)]

    for name, steps, paths, objective in (
        ("the three together", each, fixed(*cuts), Taught()),
        ("sandwich", passes // 4, Sandwich(2), students),
    ):
        began = time.process_time()
        supernet = learn(space, task, steps, seed, paths, objective)
        seconds[name] = time.process_time() - began
        accuracies[name] = inherited(supernet, task, cuts)
        picks = [best_under(supernet, task, limit, seed) for limit in limits]
        seconds[f"{name}, searched"] = time.process_time() - began
        accuracies[f"{name}, searched"] = inherited(supernet, task, picks)
    return {
        "seed": seed, "passes": passes, "original": inherited(plain, task, [space.widest])[0],
        "accuracies": accuracies, "seconds": seconds, "cuts": [cut.text for cut in cuts],
    }  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=600)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of CPU, after which nothing new is begun")
    parser.add_argument("--out", type=Path, default=RESULTS / "supernets_many_limits.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    task, rows = create("task", "digits"), Rows(options.out)
    for seed in range(options.seeds):
        if rows.has(seed=seed) or time.process_time() > options.seconds:
            continue
        rows.add(compare(task, seed, options.passes))


if __name__ == "__main__":
    main()
