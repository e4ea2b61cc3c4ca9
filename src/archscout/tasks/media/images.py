"""Images: pictures that are decoded, or arrays of pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from archscout.core.errors import UsageError, nearest
from archscout.core.task import Split
from archscout.tasks import checks
from archscout.tasks.contents import MediumName
from archscout.tasks.decode import BACKGROUNDS, FITS, Reading, middle
from archscout.tasks.media.medium import Decoded, Medium
from archscout.tasks.pictures import Watch, decode_all
from archscout.tasks.targets import Targets

COLOUR_JITTER = 0.3
"""Of colour images, whose light says nothing of what they show."""

MOST_SIDE = 4096
"""Pixels a side that images may be resized to."""


class Images(Medium):
    """Images as N x H x W x C, bytes or float32."""

    name: ClassVar[MediumName] = "images"
    noun = "image"
    nouns = "images"
    OPTIONS: ClassVar[tuple[str, ...]] = (
        "size",
        "fit",
        "background",
        "channels",
        "flip",
        "mirrored",
        "cache",
        "unlabelled",
    )
    KINDS: ClassVar[Mapping[str, str]] = {
        "classification": "image classification",
        "ordinal": "ordinal images",
        "multilabel": "multi-label images",
        "regression": "image regression",
        "segmentation": "image segmentation",
        "heads": "images with several heads",
        "retrieval": "image retrieval",
    }

    def __init__(self, source: str, options: Mapping[str, Any], shape: tuple[int, int] | None = None) -> None:
        super().__init__(source, options, shape)
        self.reading = reading(options)
        if shape is not None:
            self.reading = replace(self.reading, shape=shape)

    def kind(self, targets: str) -> str:
        if targets == "segmentation" and self.reading.shape != self.shape:
            raise UsageError(
                "masks are not resized: leave the parameter size out, or resize images and masks beforehand."
            )
        return super().kind(targets)

    def taken(self, x: np.ndarray, called: str, rate: int | None) -> np.ndarray:
        return checks.images(x, called)

    def fitted(self, x: np.ndarray) -> np.ndarray:
        return x if self.reading.shape is None else resize(x, self.reading)

    def decoded(
        self,
        encoded: Mapping[str, Sequence[Any]],
        bad: Sequence[tuple[str, str]],
        *,
        skip_bad: bool,
        watch: Watch | None,
    ) -> Decoded:
        cached = self.options.get("cache")
        pictures = decode_all(encoded, self.reading, bad=bad, skip_bad=skip_bad, cached=cached, watch=watch)
        self.reading = pictures.reading
        return Decoded(pictures.images, pictures.rows, pictures.notices)

    def alike_given(self, x: Mapping[str, np.ndarray]) -> None:
        checks.alike(x, self.source)

    def alike(self, x: Mapping[str, np.ndarray]) -> None:
        checks.alike(x, self.source)
        checks.varied(x, self.source)

    def fields(self, targets: Targets, data: Mapping[str, Split], encoded: bool) -> dict[str, Any]:
        """Colour images are taken for pictures of the world, which may be mirrored, and grey ones for signs, which may
        not. Colour images get cutout and colour jitter too. What numbers measure may change with the image: none is
        changed."""
        height, width, channels = data["train"].x.shape[1:]
        colour, shorter = channels == 3, min(height, width)
        still = targets.kind == "regression"
        flip = (colour and not still) if self.options.get("flip") is None else self.options["flip"]
        mirrored = self.options.get("mirrored")
        if mirrored and targets.kind != "classification":
            raise UsageError(f"mirrored=true is for images of one class each, and {self.source} has targets of kind "
                             f"{targets.kind}: leave it out.")  # fmt: skip
        if mirrored and not flip:
            raise UsageError(
                "mirrored=true averages over an image and its mirror image, and these are not taken to be alike here: "
                "say flip=true as well, if they are."
            )
        return {
            "input_shape": (channels, height, width),
            "shift": 0 if still else max(1, shorter // 8),
            "cutout": shorter // 4 if colour and not still else 0,
            "colour_jitter": COLOUR_JITTER if colour and not still else 0.0,
            "flip": flip,
            **({} if mirrored is None or targets.kind != "classification" else {"mirrored": mirrored}),
            "fit": self.reading.fit,
            "background": self.reading.background,
            "span": (0.0, 255.0) if encoded else None,
        }


def reading(options: Mapping[str, Any]) -> Reading:
    """How pictures are read, by the parameters of a task. Raises `UsageError`."""
    size = options.get("size")
    if size is not None and checks.count(size, "size") > MOST_SIDE:
        raise UsageError(f"the parameter size of a task may be {MOST_SIDE:,} at most, not {size:,}.")
    shape = None if size is None else (size, size)
    fit = options.get("fit", "stretch")
    if fit not in FITS:
        raise UsageError(f"the parameter fit of a task cannot be {fit!r}: {nearest(str(fit), FITS)}")
    return Reading(shape, fit, options.get("background", "white"), options.get("channels"))


def resize(x: np.ndarray, reading: Reading) -> np.ndarray:
    """Images (N x H x W x C) at the shape of a reading: bilinear, with smoothing where they shrink."""
    assert reading.shape is not None
    height, width = reading.shape
    if x.shape[1:3] == (height, width):
        return x
    tall, wide = x.shape[1:3]
    if reading.fit == "crop":
        left, top, across, along = middle(wide, tall, width, height)
        x = x[:, top : top + along, left : left + across]
    inner = (height, width)
    if reading.fit == "pad":
        scale = min(height / tall, width / wide)
        inner = max(1, round(tall * scale)), max(1, round(wide * scale))
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    ground = BACKGROUNDS[reading.background] if x.dtype == np.uint8 or not BACKGROUNDS[reading.background] else x.max()
    resized = np.full((len(x), height, width, x.shape[3]), ground, x.dtype)
    for start in range(0, len(x), 1024):
        block = torch.from_numpy(np.ascontiguousarray(x[start : start + 1024])).permute(0, 3, 1, 2)
        small = F.interpolate(block, inner, mode="bilinear", antialias=True).permute(0, 2, 3, 1)
        resized[start : start + 1024, top : top + inner[0], left : left + inner[1]] = small.numpy()
    return resized
