"""What a long training on many images comes to, with settings of one's own: one network on all of CIFAR-10.

    python -m benchmarks.training.long --data-root DATA --network resnet9_small --epochs 4
    python -m benchmarks.training.long --data-root DATA --network plain_deep --epochs 4 --set batch_size=512 momentum=.8
    python -m benchmarks.training.long --report                                              # the page alone

The network, a reference design of the space `classic` or a text in its notation, learns from the 50,000 images of
`cifar10_jpeg.npz` by the recipe that the command line takes for so many epochs; `--set` changes fields of that recipe
and, where it has none of that name, of the task (`shift`, `cutout`, `colour_jitter`). The 10,000 test images are
answered once, at the end, in the number format of the training: alone, and with the outputs for an image and its mirror
image averaged. Each training is a row of docs/results/long.json, with the processor seconds of one thread;
docs/results/long.md is made from the rows.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import torch

from archscout.core.errors import UsageError
from archscout.core.files import write_text
from archscout.core.registry import create
from archscout.core.task import Split
from archscout.networks.pick import build
from archscout.tasks.images import ImageClassification
from archscout.tasks.media.images import COLOUR_JITTER
from archscout.training.trainer import Recipe, train
from benchmarks.common import RESULTS, Rows, arguments
from benchmarks.front_door.final_training import answers, share
from benchmarks.front_door.value_data import read
from benchmarks.training import jpeg_loss

FILE = RESULTS / "long.json"
KEYS = ("network", "epochs", "changes", "seed")

AVERAGED = 1 / 6
"""Share of the epochs, the last ones, whose weights are averaged, as in the final training of a search."""

UNUSED = 100
"""Of the training examples, what a task cannot do without as validation examples; they are fitted too."""


def number(text: str) -> Any:
    """The value of a setting: a truth, a number or a word."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text, text)


def run(root: Path, name: str, epochs: int, changes: list[str], seed: int) -> dict[str, Any]:
    """The row of one training."""
    (x, y), (test_x, test_y) = read(root, "cifar10_jpeg.npz").values()
    task = ImageClassification(
        name="long", input_shape=(3, 32, 32), outputs=10, flip=True, shift=4, cutout=8, colour_jitter=COLOUR_JITTER,
        train=Split(x[UNUSED:], y[UNUSED:]), valid=Split(x[:UNUSED], y[:UNUSED]), test=Split(test_x, test_y),
    )  # fmt: skip
    values = {key: number(value) for key, _, value in (change.partition("=") for change in changes)}
    known = {field.name for field in dataclasses.fields(Recipe)}
    task = dataclasses.replace(task, **{key: value for key, value in values.items() if key not in known})
    averaged = max(1, round(AVERAGED * epochs))
    recipe = dataclasses.replace(Recipe.default(task, epochs), fit_on="train+valid", averaged_epochs=averaged)
    recipe = dataclasses.replace(recipe, **{key: value for key, value in values.items() if key in known})
    space = create("space", "classic")
    architecture = space.references().get(name) or space.parse(name)
    network = build(space, architecture, task, seed=seed)

    def show(row: dict[str, float]) -> None:
        accuracy = row[f"train_{task.metric}"]
        print(f"epoch {row['epoch']}: {accuracy:.4f} in training, {row['seconds']:.0f} s", flush=True)

    started = time.process_time()
    outcome = train(network, task, recipe, seed=seed, on_epoch=show)
    seconds = time.process_time() - started
    if outcome.mode is None or outcome.diverged:
        raise UsageError(f"the training of '{name}' diverged: {outcome.reason}.")
    x, y = task.tensors(task.test)
    alone, mirrored = (answers(network, images, outcome.mode) for images in (x, x.flip(3)))
    return {
        "network": name, "epochs": epochs, "changes": " ".join(sorted(changes)), "seed": seed,
        "test_accuracy": share(alone, y), "mirrored": share(alone + mirrored, y),
        "train_accuracy": outcome.curve[-1][f"train_{task.metric}"],
        "processor_seconds": round(seconds, 1), **outcome.mode.notes(),
    }  # fmt: skip


def page(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "# Long trainings on many images",
        "",
        "Made by `benchmarks/training/long.py` from `long.json`: networks of the space `classic` on the 50,000 images "
        "of CIFAR-10 as JPEG files, which have lost some of what the originals show; one thread of a processor with "
        "matrix units for bfloat16. Accuracy on the 10,000 test images in percent, of the mean of the weights of the "
        "last epochs: of an image alone, and with its mirror image. `training` is the accuracy of the last epoch on "
        "images as they were trained on. Without changes, a training is by the default recipe.",
        "",
        "| network | epochs | changes | test | mirrored | training | seconds | seed |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        cells = [f"{100 * row[name]:.1f}" for name in ("test_accuracy", "mirrored", "train_accuracy")]
        lines.append(
            f"| `{row['network']}` | {row['epochs']} | {row['changes']} | {' | '.join(cells)} | "
            f"{row['processor_seconds']:.0f} | {row['seed']} |"
        )
    return "\n".join(lines + loss(jpeg_loss.FILE)) + "\n"


def loss(file: Path) -> list[str]:
    """What files cost by `jpeg_loss.py`, where its rows are there."""
    if not file.is_file():
        return []
    notes = json.loads(file.read_text(encoding="utf-8"))
    by_seed: dict[int, dict[str, float]] = {}
    for row in notes["rows"]:
        by_seed.setdefault(row["seed"], {})[row["form"]] = row["test_accuracy"]
    pairs = [forms for _, forms in sorted(by_seed.items()) if len(forms) == 2]
    if len(pairs) < 2:
        return []
    pixels, files = (np.array([100 * forms[form] for forms in pairs]) for form in ("pixels", "files"))
    width = scipy.stats.t.ppf(0.975, len(pairs) - 1) * (pixels - files).std(ddof=1) / math.sqrt(len(pairs))
    return [
        "",
        f"What the files cost (`benchmarks/training/jpeg_loss.py`): `{notes['network']}`, {notes['epochs']} epochs on "
        f"3,000 images whose original pixels are there, mirrored: {pixels.mean():.1f} % on the pixels, "
        f"{files.mean():.1f} % where all images have been JPEG files of quality {notes['quality']}; "
        f"{(pixels - files).mean():+.1f} ± {width:.1f} points over {len(pairs)} seeds, on the same 1,000 test images.",
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--network", default="resnet9_small")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", dest="changes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=FILE)
    parser.add_argument("--report", action="store_true", help="make the page and train nothing")
    options = parser.parse_args()
    rows = Rows(options.results, KEYS, {"torch": str(torch.__version__), "threads": 1}, sort=True)
    torch.set_num_threads(1)
    if not options.report:
        if options.data_root is None:
            parser.error("say where the data are: --data-root")
        rows.add(run(options.data_root, options.network, options.epochs, options.changes, options.seed))
    write_text(options.results.with_suffix(".md"), page(rows.rows))


if __name__ == "__main__":
    main()
