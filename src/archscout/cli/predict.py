"""`archscout predict`: labels for images, by the network of a run."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archscout.cli import output
from archscout.cli.options import Debug, Json, run_folder
from archscout.core.errors import DataError

if TYPE_CHECKING:
    import numpy as np


def predict(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or name.", show_default=False)],
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...",
            help="Image files, or .npy and .npz arrays (N x H x W x C).",
            show_default=False,
        ),
    ],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Label images with the network that a run found; pictures of another size are resized."""
    folder = run_folder(run)
    for file in images:
        if not file.is_file():
            raise DataError(f"there is no image '{file}': name image files, or .npy and .npz arrays of images.")
    with output.only_the_answer():
        import torch

        from archscout import api

        torch.set_num_threads(1)
        network = api.load(folder)
        answers = [answer for file in images for answer in _label(network, file)]
    if as_json:
        output.print_json(answers)
    else:
        output.print_table(
            ("image", "label", "probability"),
            [(answer["image"], answer["label"], f"{answer['probability']:.1%}") for answer in answers],
        )


def _label(network: Any, file: Path) -> Iterator[dict[str, Any]]:
    import torch

    for start, block in _blocks(read_images(file, network.task.input_shape)):
        with torch.no_grad():
            outputs = network(torch.from_numpy(block).permute(0, 3, 1, 2).float().contiguous())
        probabilities, labels = outputs.softmax(1).max(1)
        for row, (label, probability) in enumerate(zip(labels.tolist(), probabilities.tolist(), strict=True)):
            several = file.suffix.lower() in (".npy", ".npz")
            name = f"{file}[{start + row}]" if several else str(file)
            yield {"image": name, "label": network.classes[label], "probability": probability}


def _blocks(images: np.ndarray, size: int = 256) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(images), size):
        yield start, images[start : start + size]


def read_images(file: Path, shape: Sequence[int]) -> np.ndarray:
    """The images of a file as N x H x W x C for a network of inputs `shape` (C, H, W). Raises `DataError`."""
    import numpy as np

    if file.suffix.lower() not in (".npy", ".npz"):
        from archscout.tasks.decode import read_image

        return read_image(file, shape)
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            images = loaded
        else:
            with loaded:
                names = [name for name in loaded.files if len(loaded.files) == 1 or name.startswith("x")]
                if len(names) != 1:
                    found = ", ".join(loaded.files) or "none"
                    raise DataError(f"'{file}' must have one array of images, named x (it has: {found}).")
                images = loaded[names[0]]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"'{file}' holds no readable array of numbers: write it with numpy.save.") from error
    return _as_batch(images, file, shape)


def _as_batch(images: np.ndarray, file: Path, shape: Sequence[int]) -> np.ndarray:
    channels, height, width = shape
    for fitting in (images, images[..., None], images[None], images[None, ..., None]):
        if fitting.ndim == 4 and fitting.shape[1:] == (height, width, channels) and fitting.dtype.kind in "uif":
            return fitting
    raise DataError(
        f"'{file}' holds {images.dtype} of shape {images.shape}, but the network takes numbers of shape "
        f"N x {height} x {width} x {channels}."
    )
