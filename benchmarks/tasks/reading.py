"""What reading pictures costs, in CPU seconds of one core, against Pillow alone; and an epoch from disk or memory.

    python -m benchmarks.tasks.reading                       # a minute; writes docs/results/reading.json

Photographs are made by this script (noise, enlarged, JPEG quality 90), for what is measured is decoding; the many small
pictures are CIFAR-10's where `--cifar cifar10_jpeg.npz` names them, else made too.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import archscout
from archscout.tasks import cache, mapped, pictures
from archscout.tasks.contents import Source
from archscout.tasks.decode import Reading, file_source
from benchmarks.common import RESULTS, arguments, machine, write_result

REPEATS = 3


def cpu(action) -> float:
    """The least CPU seconds that an action took."""
    least = float("inf")
    for _ in range(REPEATS):
        started = time.process_time()
        action()
        least = min(least, time.process_time() - started)
    return least


def photographs(folder: Path, count: int = 20) -> list[Path]:
    rng = np.random.default_rng(0)
    files = []
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 256, (150, 200, 3), dtype=np.uint8))
        file = folder / f"{number:02d}.jpg"
        small.resize((4000, 3000), Image.Resampling.BICUBIC).save(file, quality=90)
        files.append(file)
    return files


def photos(folder: Path) -> dict[str, float]:
    """Twenty photographs of 12 megapixels at 64 x 64."""
    files = photographs(folder)

    def whole() -> None:
        for file in files:
            np.asarray(Image.open(file).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR))

    def ours() -> None:
        pictures.decode_all({"train": [file_source(file) for file in files]}, Reading((64, 64)), cached=False)

    return {"photographs": len(files), "decoded_whole_seconds": cpu(whole), "drafted_seconds": cpu(ours)}


def small(archive: Path | None, count: int = 10_000) -> dict[str, float]:
    """Many small JPEGs, as Pillow alone decodes them and by the whole road."""
    if archive is not None:
        with np.load(archive) as arrays:
            data, offsets = arrays["jpeg_train"].tobytes(), arrays["offsets_train"][: count + 1]
        encoded = [data[start:end] for start, end in itertools.pairwise(offsets)]
    else:
        rng = np.random.default_rng(0)
        encoded = []
        for _ in range(count):
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(buffer, format="JPEG")
            encoded.append(buffer.getvalue())

    def pillow() -> None:
        for content in encoded:
            np.asarray(Image.open(io.BytesIO(content)))

    sources = [Source(str(n), lambda content=content: io.BytesIO(content), str(n)) for n, content in enumerate(encoded)]

    def to_memory() -> None:
        pictures.decode_all({"train": sources}, Reading(), cached=False)

    def to_disk() -> None:
        cache.clear()
        pictures.decode_all({"train": sources}, Reading(), cached=True)

    return {
        "small_jpegs": len(encoded),
        "pillow_seconds": cpu(pillow),
        "memory_seconds": cpu(to_memory),
        "cache_seconds": cpu(to_disk),
    }


def epochs(folder: Path, count: int = 20_000) -> dict[str, float]:
    """An epoch of a small convolutional network, from memory and from the disk."""
    rng = np.random.default_rng(0)
    for split, some in (("train", count), ("valid", 500), ("test", 500)):
        np.save(folder / f"x_{split}.npy", rng.integers(0, 256, (some, 32, 32, 3), dtype=np.uint8))
        np.save(folder / f"y_{split}.npy", np.arange(some) % 10)
    from archscout.networks.pick import build
    from archscout.training.recipe import Recipe
    from archscout.training.trainer import train

    task = archscout.task(folder)
    space = archscout.space("nasbench201:width=8,cells=1")
    cell = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
    recipe = Recipe(epochs=1, batch_size=128, precision="float32", layout="channels_last")
    seconds = {}
    weights = []
    for name, threshold in (("memory", 2**60), ("cache", 0)):
        mapped.IN_MEMORY = threshold
        started = time.process_time()
        torch.manual_seed(0)
        network = build(space, space.parse(cell), task)
        train(network, task, recipe, seed=0)
        seconds[f"epoch_from_{name}_seconds"] = time.process_time() - started
        weights.append(network.state_dict())
    same = all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    return {"epoch_images": count, **seconds, "same_bits": same}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--cifar", type=Path, help="cifar10_jpeg.npz")
    parser.add_argument("--out", type=Path, default=RESULTS / "reading.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}) if hasattr(os, "sched_setaffinity") else None
    results: dict[str, object] = {
        "conditions": {**machine(), "pillow": Image.__version__},
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ARCHSCOUT_CACHE"] = f"{folder}/cache"
        for name, part in (("photos", photos), ("epochs", epochs)):
            (Path(folder) / name).mkdir()
            results |= part(Path(folder) / name)
            print(results, flush=True)
        results |= small(options.cifar)
    print(json.dumps(results, indent=2))
    write_result(options.out, results)


if __name__ == "__main__":
    main()
