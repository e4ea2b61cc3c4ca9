"""What JPEG files of small images cost in accuracy: the same images as they are, and as files of quality 75.

    python -m benchmarks.training.jpeg_loss --data-root DATA

The 3,000 training and 1,000 test images of `images/cifar10.npz` are original pixels; the 50,000 of `cifar10_jpeg.npz`
are files of about quality 75 whose colours have half the resolution. Here the originals are written as such files and
read again, and one network of the space `classic` learns from each form by the recipe of the command line and answers
test images of the same form: in pairs, one for each seed. Rows go to docs/results/jpeg_loss.json, and a run that was
stopped goes on; the page of long trainings (`long.py --report`) has their means.
"""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from archscout.core.registry import create
from archscout.core.task import Split
from archscout.networks.pick import build
from archscout.tasks.images import ImageClassification
from archscout.tasks.media.images import COLOUR_JITTER
from archscout.training.trainer import Recipe, train
from benchmarks.common import RESULTS, Rows, arguments
from benchmarks.front_door.final_training import answers, share
from benchmarks.front_door.value_data import read

FILE = RESULTS / "jpeg_loss.json"
QUALITY, HALF_COLOUR = 75, 2
NETWORK, EPOCHS = "plain_deep", 20


def as_files(images: np.ndarray) -> np.ndarray:
    """Images N x H x W x 3 as they are after having been a JPEG file."""
    read_again = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "jpeg", quality=QUALITY, subsampling=HALF_COLOUR)
        read_again.append(np.asarray(Image.open(file)))
    return np.stack(read_again)


def run(root: Path, form: str, seed: int) -> dict[str, Any]:
    """The row of one training."""
    (x, y), (test_x, test_y) = read(root, "cifar10.npz").values()
    if form == "files":
        x, test_x = as_files(x), as_files(test_x)
    unused = 100  # What a task cannot do without as validation examples; they are fitted too.
    task = ImageClassification(
        name="jpeg", input_shape=(3, 32, 32), outputs=10, flip=True, shift=4, cutout=8, colour_jitter=COLOUR_JITTER,
        train=Split(x[unused:], y[unused:]), valid=Split(x[:unused], y[:unused]), test=Split(test_x, test_y),
    )  # fmt: skip
    recipe = dataclasses.replace(Recipe.default(task, EPOCHS), fit_on="train+valid", averaged_epochs=EPOCHS // 6)
    space = create("space", "classic")
    network = build(space, space.references()[NETWORK], task, seed=seed)
    outcome = train(network, task, recipe, seed=seed)
    assert outcome.mode is not None and not outcome.diverged
    images, labels = task.tensors(task.test)
    both = answers(network, images, outcome.mode) + answers(network, images.flip(3), outcome.mode)
    return {"form": form, "seed": seed, "test_accuracy": share(both, labels), "test_images": len(labels)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    about = {"torch": str(torch.__version__), "network": NETWORK, "epochs": EPOCHS, "quality": QUALITY}
    rows = Rows(options.results, ("form", "seed"), about, sort=True)
    for seed in range(options.seeds):
        for form in ("pixels", "files"):
            if not rows.has(form=form, seed=seed):
                rows.add(run(options.data_root, form, seed))
                print(rows.rows[-1], flush=True)


if __name__ == "__main__":
    main()
