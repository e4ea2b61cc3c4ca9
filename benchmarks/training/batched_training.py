"""How much faster networks are trained at once than one by one: the ratio of processor times, by how many at once.

    python -m benchmarks.training.batched_training

Random networks of `nasbench201` on `digits` (width 8, a cell a stage), one thread, evaluation and making of the stack
included. Each number of networks is measured back to back with the same networks one by one, several times over, with
different networks. Processor time is compared, because it is less touched by other programs on the machine. Beside it
stands how far the training losses of the two lie apart after the first epoch, in single and in double precision:
in single precision, rounding now and then pushes an activation over the corner of a ReLU, from where two trainings part
(they do so too when the initial weights of one alone are changed in the seventh digit). Rows that are in the result
file are kept: remove it to measure anew.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.task import Split
from archscout.networks.pick import build
from archscout.tasks.images import ImageClassification
from archscout.tasks.load import load
from archscout.training.batched import train_many
from archscout.training.trainer import Outcome, Recipe, train
from benchmarks.common import RESULTS, Rows, arguments, machine, write_result

FILE = RESULTS / "batched_training.json"
EPOCHS = 2
LIMIT = 2.0


@dataclasses.dataclass(frozen=True)
class Double(ImageClassification):
    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Tensor, Tensor]:
        x, y = super().tensors(split, device)
        return x.double(), y


def seconds(work: Callable[[], list[Outcome]]) -> tuple[float, list[Outcome]]:
    started = time.process_time()
    outcomes = work()
    return time.process_time() - started, outcomes


def compare(networks: Callable[[], list[nn.Module]], task: ImageClassification, recipe: Recipe) -> dict[str, float]:
    ours, theirs = networks(), networks()
    seeds = list(range(len(ours)))
    together, many = seconds(lambda: train_many(ours, task, recipe, seeds=seeds))
    alone, single = seconds(
        lambda: [train(n, task, recipe, seed=s) for n, s in zip(theirs, seeds, strict=True)]
    )  # fmt: skip
    apart = max(
        abs(a.curve[0]["train_loss"] - b.curve[0]["train_loss"]) for a, b in zip(many, single, strict=True)
    )  # fmt: skip
    steps = len(ours) * recipe.epochs * -(-len(task.train) // recipe.batch_size)
    return {"ratio": alone / together, "ms_a_step": 1e3 * together / steps, "ms_a_step_alone": 1e3 * alone / steps,
            "apart": apart}  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", default="4,8,16,32")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = load("digits")
    space = create("space", "nasbench201")
    recipe = dataclasses.replace(Recipe.default(task, EPOCHS), augment=True)
    double = Double(**{f.name: getattr(task, f.name) for f in dataclasses.fields(task)})

    def networks(count: int, repeat: int) -> list[nn.Module]:
        rng = stream(repeat, "benchmark", count)
        return [build(space, space.sample(rng), task, seed=i) for i in range(count)]

    compare(lambda: networks(2, 0), task, dataclasses.replace(recipe, epochs=1))
    conditions = {"epochs": EPOCHS, "examples": len(task.train), "batch_size": recipe.batch_size,
                  "repeats": options.repeats, **machine()}  # fmt: skip
    about = {"unit": "processor seconds", "conditions": conditions}
    rows = Rows(FILE, ("at_once",), about, sort=True)
    for count in map(int, options.sizes.split(",")):
        if rows.has(at_once=count):
            continue
        repeats = [compare(lambda c=count, r=r: networks(c, r), task, recipe) for r in range(options.repeats)]
        row = {"at_once": count} | {key: statistics.median(each[key] for each in repeats) for key in repeats[0]}
        row |= {"ratios": [round(each["ratio"], 2) for each in repeats]}
        rows.add(row)
    exact = compare(lambda: [n.double() for n in networks(8, 0)], double, recipe)["apart"]
    write_result(FILE, {**about, "apart_in_double_precision": exact, "rows": rows.rows})
    best = max(row["ratio"] for row in rows.rows)
    print(f"{best:.2f} times the throughput at best (limit: {LIMIT}); apart in double precision: {exact:.1g}")
    sys.exit(best < LIMIT or exact > 1e-4)


if __name__ == "__main__":
    main()
