"""What raises the final training of a search from scratch: one change at a time, on drawings of CIFAR-10.

    python -m benchmarks.front_door.final_training --data-root DATA                          what is not there yet
    python -m benchmarks.front_door.final_training --data-root DATA --changes cutout affine --seeds 2

Each training is of `resnet9_small` (space `classic`) on 3,000 images that its seed draws from the training images of
`cifar10_jpeg.npz`, by the recipe that the command line takes; 4,000 others tell its accuracy: the test split of the
benchmark `value` is not looked at. A row of docs/results/final_training.json says it of the weights of the last epoch,
of the mean of the last five epochs' weights, and of each also with the answers for an image and its mirror image
averaged (in bfloat16, where training is), beside the processor seconds of the training. The page is
docs/results/final_training.md.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import io
import itertools
import math
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor, nn

from archscout.core.files import write_text
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.task import Split
from archscout.networks.pick import build
from archscout.tasks.images import ImageClassification
from archscout.tasks.media.images import COLOUR_JITTER
from archscout.training.trainer import Recipe, train
from benchmarks.common import RESULTS, Rows, arguments

FILE = RESULTS / "final_training.json"
TRAIN, MEASURED, AVERAGED = 3000, 4000, 5
KEYS = ("change", "epochs", "seed")


class Turned(ImageClassification):
    """Images are turned, scaled and moved at once, instead of moved."""

    def augment(self, x: Tensor, generator: Generator) -> Tensor:
        x = affine(x, self.shift, generator)
        return dataclasses.replace(self, shift=0)._augment(x, [generator])


def affine(x: Tensor, pixels: int, generator: Generator) -> Tensor:
    """Each image turned by up to 10 degrees, scaled by .8 to 1.25 and moved by up to so many pixels."""
    draws = 2 * torch.rand(4, len(x), generator=generator) - 1
    angle, scale = draws[0] * math.pi / 18, torch.exp(draws[1] * math.log(1.25))
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    rows = [cos, -sin, draws[2] * 2 * pixels / x.shape[3], sin, cos, draws[3] * 2 * pixels / x.shape[2]]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    "as it is": {},
    "neither cutout nor other light": {"task": {"cutout": 0, "colour_jitter": 0.0}},
    "other light by a quarter": {"task": {"colour_jitter": 0.25}},
    "turned and scaled": {"kind": {}},
    "batches of 128": {"recipe": {"batch_size": 128}},
    "rate .05": {"recipe": {"learning_rate": 0.05}},
    "weight decay .05": {"recipe": {"weight_decay": 0.05}},
    "smaller images for longer": {"recipe": {"smaller_side": 0.5, "smaller_epochs": 0.8}},
}
"""Fields of the task and of the recipe."""


def drawn(root: Path, seed: int) -> tuple[ImageClassification, Split]:
    """A task with so many training images, and others to measure with."""
    with np.load(root / "images" / "cifar10_jpeg.npz", allow_pickle=False) as arrays:
        data, offsets, labels = arrays["jpeg_train"].tobytes(), arrays["offsets_train"], arrays["y_train"]
    rows = stream(seed, "final training").permutation(len(labels))[: TRAIN + MEASURED]
    images = np.stack([np.asarray(Image.open(io.BytesIO(data[offsets[i] : offsets[i + 1]]))) for i in rows])
    labels = labels[rows].astype(np.int64)
    part, other = slice(120, TRAIN), slice(TRAIN, None)
    # Of the training examples, a few stay apart, as in a search.
    task = ImageClassification(
        name="drawn", input_shape=(3, 32, 32), outputs=10, flip=True, shift=4, cutout=8,
        colour_jitter=COLOUR_JITTER,
        train=Split(images[part], labels[part]), valid=Split(images[:120], labels[:120]), test=None,
    )  # fmt: skip
    return task, Split(images[other], labels[other])


def run(root: Path, change: str, epochs: int, seed: int) -> dict[str, Any]:
    """The row of one training."""
    task, others = drawn(root, seed)
    changes = CHANGES[change]
    recipe = dataclasses.replace(Recipe.default(task, epochs), **changes.get("recipe", {}))
    task = dataclasses.replace(task, **changes.get("task", {}))
    if "kind" in changes:
        task = Turned(**{field.name: getattr(task, field.name) for field in dataclasses.fields(task)})
    space = create("space", "classic")
    network = build(space, space.references()["resnet9_small"], task, seed=seed)
    states: collections.deque[dict[str, Tensor]] = collections.deque(maxlen=AVERAGED)
    train_accuracy, marks = 0.0, [0.0]

    def keep(row: dict[str, float]) -> None:
        nonlocal train_accuracy
        train_accuracy = row[f"train_{task.metric}"]
        marks.append(time.process_time() - started)
        states.append({name: tensor.clone() for name, tensor in network.state_dict().items()})

    started = time.process_time()
    outcome = train(network, task, recipe, seed=seed, on_epoch=keep)
    seconds = time.process_time() - started
    assert outcome.mode is not None
    x, y = task.tensors(others)
    row: dict[str, Any] = {
        "change": change, "epochs": epochs, "seed": seed, "train_accuracy": train_accuracy,
        "processor_seconds": round(seconds, 1), **outcome.mode.notes(),
        "epoch_seconds": [round(after - before, 2) for before, after in itertools.pairwise(marks)],
    }  # fmt: skip
    mean = {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(tensor.dtype)
        for name, tensor in states[-1].items()
    }
    for name, state in (("last", states[-1]), ("averaged", mean)):
        network.load_state_dict(state)
        outputs, mirrored = (answers(network, images, outcome.mode) for images in (x, x.flip(3)))
        row[name] = share(outputs, y)
        row[f"{name}, mirrored"] = share(outputs + mirrored, y)
    return row


@torch.inference_mode()
def answers(network: nn.Module, x: Tensor, mode: Any) -> Tensor:
    """Outputs in the form that training ran in."""
    network.eval().to(memory_format=mode.memory_format)  # type: ignore[call-overload]
    batches = x.contiguous(memory_format=mode.memory_format).split(500)
    with mode.autocast("cpu"):
        return torch.cat([network(batch).float().log_softmax(1) for batch in batches])


def share(outputs: Tensor, y: Tensor) -> float:
    return float((outputs.argmax(1) == y).double().mean())


def page(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown: accuracies, and differences to the training as it is with the same seeds."""
    readings = ("last", "last, mirrored", "averaged", "averaged, mirrored")
    lines = [
        "# What raises the final training",
        "",
        "Made by `benchmarks/front_door/final_training.py` from `final_training.json`: `resnet9_small` on 2,880 of "
        "3,000 images of CIFAR-10 (its own drawing for each seed), accuracy in percent on 4,000 others, mean over "
        "seeds. Of one training: with the weights of the last epoch, with the mean of those of the last five, and with "
        "the outputs for an image and its mirror image averaged. In brackets the difference to the training as it is "
        "with the same seeds, and its standard error. Seconds are processor seconds of the training.",
    ]
    for epochs in sorted({row["epochs"] for row in rows}):
        some = [row for row in rows if row["epochs"] == epochs]
        base = {row["seed"]: row for row in some if row["change"] == "as it is"}
        lines += ["", f"## {epochs} epochs", "", f"| change | {' | '.join(readings)} | training | seconds | seeds |"]
        lines += ["| --- |" + " ---: |" * (len(readings) + 3)]
        for change in CHANGES:
            of = [row for row in some if row["change"] == change]
            if not of:
                continue
            cells = [_cell(of, base, reading) for reading in readings]
            trained = 100 * statistics.fmean(row["train_accuracy"] for row in of)
            seconds = statistics.median(row["processor_seconds"] for row in of)
            lines.append(f"| {change} | {' | '.join(cells)} | {trained:.0f} | {seconds:.0f} | {len(of)} |")
    return "\n".join(lines) + "\n"


def _cell(rows: list[dict[str, Any]], base: dict[int, dict[str, Any]], reading: str) -> str:
    mean = f"{100 * statistics.fmean(row[reading] for row in rows):.1f}"
    paired = [100 * (row[reading] - base[row["seed"]][reading]) for row in rows if row["seed"] in base]
    if not paired or rows[0]["change"] == "as it is":
        return mean
    error = f" ± {np.std(paired, ddof=1) / len(paired) ** 0.5:.1f}" if len(paired) > 1 else ""
    return f"{mean} ({statistics.fmean(paired):+.1f}{error})"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--changes", nargs="+", default=list(CHANGES), choices=CHANGES)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--results", type=Path, default=FILE)
    parser.add_argument("--report", action="store_true", help="make the page and train nothing")
    options: argparse.Namespace = parser.parse_args()
    rows = Rows(options.results, KEYS, {"torch": str(torch.__version__), "threads": 1}, sort=True)
    torch.set_num_threads(1)
    for seed in [] if options.report else options.seeds:
        for change in options.changes:
            if not rows.has(change=change, epochs=options.epochs, seed=seed):
                rows.add(run(options.data_root, change, options.epochs, seed))
    write_text(options.results.with_suffix(".md"), page(rows.rows))


if __name__ == "__main__":
    main()
