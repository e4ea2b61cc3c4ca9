"""What reading pictures costs against Pillow alone, an epoch from the disk against one from memory, and what memory.

    python -m benchmarks.tasks.reading --cifar cifar10_jpeg.npz        # two minutes of one core

Processor seconds on one core, the least of `REPEATS` turns in which all ways take their turn, so that what goes on
beside them falls on all alike. Rows are added to docs/results/reading.json as they come:

- `small`: 50,000 JPEGs of 32 x 32 (CIFAR-10's where `--cifar` names the archive, else made) decoded by Pillow alone, by
  the whole road into memory, and by the whole road into the cache;
- `photographs`: twenty of 12 megapixels, brought to 64 x 64: decoded whole by Pillow, and by the whole road;
- `epoch`: one of a small network, from memory and from the cache, which must end in the same weights;
- `memory`: what a process takes of its own (anonymous pages, at most) beyond what it begins with, while it reads a
  folder of so many pictures of 64 x 64 into the cache and trains on a fifth of them from there, each in a process.

`kinds_page.py` writes the page.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import archscout
from archscout.tasks import cache, mapped, pictures
from archscout.tasks.contents import Source
from archscout.tasks.decode import Reading, file_source
from benchmarks.common import RESULTS, Rows, arguments, machine

FILE = RESULTS / "reading.json"
REPEATS = 3
SMALL, EPOCH = 50_000, 5_000
SIZES = (8_000, 24_000)
"""Pictures of which memory is measured: with a tenth of either, a batch of validation is a full one."""

CELL = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"


def least(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The least processor seconds of each of several ways, by turns."""
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(REPEATS):
        for name, way in ways.items():
            started = time.process_time()
            way()
            seconds[name] = min(seconds[name], time.process_time() - started)
    return {f"{name}_seconds": round(value, 3) for name, value in seconds.items()}


def encoded(pixels: np.ndarray, quality: int = 75) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def small(archive: Path | None) -> dict[str, Any]:
    """Many small JPEGs, as Pillow alone decodes them and by the whole road."""
    if archive is not None:
        with np.load(archive) as arrays:
            data, offsets = arrays["jpeg_train"].tobytes(), arrays["offsets_train"][: SMALL + 1]
        contents = [data[start:end] for start, end in itertools.pairwise(offsets)]
    else:
        rng = np.random.default_rng(0)
        contents = [encoded(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(SMALL)]
    sources = [
        Source(str(n), lambda content=content: io.BytesIO(content), str(n)) for n, content in enumerate(contents)
    ]

    def pillow() -> None:
        for content in contents:
            np.asarray(Image.open(io.BytesIO(content)))

    def into_cache() -> None:
        cache.clear()
        pictures.decode_all({"train": sources}, Reading(), cached=True)

    seconds = least(
        {
            "pillow": pillow,
            "memory": lambda: pictures.decode_all({"train": sources}, Reading(), cached=False),
            "cache": into_cache,
        }
    )
    shares = {f"{name}_share": round(seconds["pillow_seconds"] / seconds[f"{name}_seconds"], 3)
              for name in ("memory", "cache")}  # fmt: skip
    return {"images": len(contents), "of": "CIFAR-10" if archive else "noise", **seconds, **shares}


def photographs(folder: Path, count: int = 20) -> dict[str, Any]:
    """Photographs are noise, enlarged: what is measured is decoding."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(count):
        noise = Image.fromarray(rng.integers(0, 256, (150, 200, 3), dtype=np.uint8))
        file = folder / f"{number:02d}.jpg"
        noise.resize((4000, 3000), Image.Resampling.BICUBIC).save(file, quality=90)
        files.append(file)

    def whole() -> None:
        for file in files:
            np.asarray(Image.open(file).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR))

    def drafted() -> None:
        pictures.decode_all({"train": [file_source(file) for file in files]}, Reading((64, 64)), cached=False)

    seconds = least({"pillow": whole, "memory": drafted})
    return {"images": count, **seconds, "memory_share": round(seconds["pillow_seconds"] / seconds["memory_seconds"], 3)}


def trained(task: Any, from_disk: bool, share: float = 1.0) -> dict[str, torch.Tensor]:
    """The weights after an epoch (or of a share of the examples, drawn from all), with arrays that lie on the disk
    given batch by batch or as a tensor."""
    from archscout.networks.pick import build
    from archscout.training.recipe import Recipe
    from archscout.training.trainer import train

    mapped.IN_MEMORY = 0 if from_disk else 2**60
    space = archscout.space("nasbench201:width=8,cells=1")
    network = build(space, space.parse(CELL), task, seed=0)
    recipe = Recipe(epochs=1, batch_size=128, epoch_share=share, precision="float32", layout="channels_last")
    train(network, task, recipe, seed=0)
    return network.state_dict()


def epoch(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    for split, some in (("train", EPOCH), ("valid", 500), ("test", 500)):
        np.save(folder / f"x_{split}.npy", rng.integers(0, 256, (some, 32, 32, 3), dtype=np.uint8))
        np.save(folder / f"y_{split}.npy", np.arange(some) % 10)
    task = archscout.task(folder)
    weights = {}

    def way(name: str, from_disk: bool) -> None:
        weights[name] = trained(task, from_disk)

    seconds = least({"memory": lambda: way("memory", False), "cache": lambda: way("cache", True)})
    same = all(torch.equal(tensor, weights["cache"][name]) for name, tensor in weights["memory"].items())
    ratio = round(seconds["cache_seconds"] / seconds["memory_seconds"], 3)
    return {"images": EPOCH, **seconds, "cache_ratio": ratio, "same_bits": same}


def own_pages() -> int:
    """Bytes of memory that are this process's own, and no view of a file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return 1024 * int(line.split()[1])
    raise SystemExit("this system does not tell what memory is a process's own.")


def memory(folder: Path, count: int) -> dict[str, Any]:
    """In a process of its own: a folder of pictures is read into the cache and trained on for an epoch."""
    rng = np.random.default_rng(0)
    for number in range(count):
        file = folder / str(number % 10) / f"{number}.jpg"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(encoded(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    few = folder.parent / "few"  # what a process needs whatever it reads
    for number in range(100):
        file = few / str(number % 10) / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((folder / str(number % 10) / f"{number}.jpg").read_bytes())
    trained(archscout.task(few, cache=True), True)
    before, most, going = own_pages(), 0, True

    def look() -> None:
        nonlocal most
        while going:
            most = max(most, own_pages())
            time.sleep(0.02)

    looking = threading.Thread(target=look)
    looking.start()
    trained(archscout.task(folder, cache=True), True, share=0.2)
    going = False
    looking.join()
    return {"images": count, "pixel_bytes": count * 64 * 64 * 3, "own_bytes": max(0, most - before)}


def apart(count: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.tasks.reading", "--memory", str(count)]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(found.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--cifar", type=Path, help="cifar10_jpeg.npz")
    parser.add_argument("--results", type=Path, default=FILE)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ARCHSCOUT_CACHE"] = f"{folder}/cache"

        def place(name: str) -> Path:
            path = Path(folder) / name
            path.mkdir()
            return path

        if options.memory:
            print(json.dumps(memory(place("many"), options.memory)))
            return
        rows = Rows(options.results, ("what", "images"), {"machine": {**machine(), "pillow": Image.__version__}})
        parts: list[tuple[str, int, Callable[[], dict[str, Any]]]] = [
            ("small", SMALL, lambda: small(options.cifar)),
            ("photographs", 20, lambda: photographs(place("photographs"))),
            ("epoch", EPOCH, lambda: epoch(place("epoch"))),
            *(("memory", count, lambda count=count: apart(count)) for count in SIZES),
        ]
        for what, images, measure in parts:
            if not rows.has(what=what, images=images):
                rows.add({"what": what, **measure(), "load": round(os.getloadavg()[0], 1)})


if __name__ == "__main__":
    main()
