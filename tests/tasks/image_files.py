"""Images of two classes, in archives and in folders, for tests."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from archscout.core.task import Split
from archscout.tasks.images import ImageClassification

Arrays = dict[str, np.ndarray]


def arrays(count: int = 30, shape: tuple[int, ...] = (8, 8, 3), dtype: type = np.uint8, **more: object) -> Arrays:
    """Images of two classes in turns."""
    x = np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(dtype)
    return {"x_train": x, "y_train": np.arange(count) % 2, **more}  # type: ignore[dict-item]


def npz(path: Path, contents: Arrays) -> Path:
    np.savez_compressed(path, **contents)
    return path


def jpeg_layout(images: np.ndarray, split: str = "train") -> Arrays:
    files = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="JPEG", quality=90)
        files.append(buffer.getvalue())
    offsets = np.cumsum([0, *map(len, files)]).astype(np.int32)
    return {f"jpeg_{split}": np.frombuffer(b"".join(files), np.uint8), f"offsets_{split}": offsets}


def png(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def class_folders(root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 10, side: int = 8) -> Path:
    rng = np.random.default_rng(0)
    for name in classes:
        for number in range(count):
            png(root / name / f"{number:02d}.png", rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
    return root


def everything(task: ImageClassification) -> Split:
    """All examples of a task, in an order of their own pixels."""
    assert task.test is not None
    x = np.concatenate([task.train.x, task.valid.x, task.test.x])
    y = np.concatenate([task.train.y, task.valid.y, task.test.y])
    order = np.lexsort(x.reshape(len(x), -1).T)
    return Split(x[order], y[order])


def everything_in(contents: Arrays) -> Split:
    x, y = contents["x_train"], contents["y_train"]
    order = np.lexsort(x.reshape(len(x), -1).T)
    return Split(x[order], y[order])
