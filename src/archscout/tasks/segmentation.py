"""Semantic segmentation: one class for each pixel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from archscout.core.digest import CountedAs
from archscout.core.metric import Metric
from archscout.core.panel import Panel, Pictures, Table
from archscout.core.registry import register
from archscout.core.task import Answers, Split
from archscout.networks.decoder import Decoder
from archscout.networks.elastic import Number
from archscout.tasks import augmentation, mapped
from archscout.tasks.image_task import ImageTask
from archscout.tasks.mask_classes import NONE, pixels_of
from archscout.tasks.measures import Measure, Measured
from archscout.tasks.meters import Overlap, Pixels

SHOWN = 4
UNKNOWN = NONE
"""The class of a pixel that has none: it is neither trained on nor measured."""


@register("kind", "image segmentation")
@dataclass(frozen=True)
class Segmentation(Measured, ImageTask):
    """One class for each pixel; the metric is the mean intersection over union of the classes.

    `y` is N x H x W, -1 for a pixel without a class, held in as few bytes as the classes need (`fewest_bytes`); batches
    of targets are int64. Outputs are N x K x H x W. A shift or a flip moves the mask with its image.
    """

    class_weights: tuple[float, ...] = field(default=(), kw_only=True)
    """By what pixels of each class count in the loss where all classes count alike in the metric, as in the mean
    intersection over union; all alike where empty."""

    kind: ClassVar[str] = "image segmentation"
    spaces: ClassVar[tuple[str, ...]] = ("segmentation",)
    MEASURES: ClassVar[Mapping[str, Measure]] = {
        "mean_intersection_over_union": Measure(
            Metric("mean_intersection_over_union", unit="share", digits=2), lambda task: Overlap(task.outputs)
        ),
        "pixel_accuracy": Measure(Metric("pixel_accuracy", unit="share", digits=2), lambda task: Pixels(task.outputs)),
    }

    def counted(self, split: Split) -> Split:
        """With masks as int64, whatever they are held in."""
        wide: Any = CountedAs(split.y, np.int64)
        return Split(split.x, wide)

    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Tensor, Tensor]:
        x, y = super().tensors(split, device)
        whole = any(split is own for own in (self.train, self.valid, self.test))  # a part may be asked for more
        if y.dtype == torch.int64 or not whole or y.numel() * torch.int64.itemsize < mapped.IN_MEMORY:
            return x, y.long()
        return x, cast(Tensor, mapped.Streamed([split.y], lambda masks: torch.from_numpy(masks).long(), device))

    def head(self, channels: Number) -> nn.Module:
        return Decoder([channels], self.outputs, self.input_shape[1:])

    def tapped_head(self, channels: Sequence[Number], strides: Sequence[int]) -> nn.Module:
        return Decoder(channels, self.outputs, self.input_shape[1:])

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        weighted = self.class_weights and self._measure() is self.MEASURES["mean_intersection_over_union"]
        weights = outputs.new_tensor(self.class_weights) if weighted and not self._is_own() else None
        each = F.cross_entropy(
            outputs, targets, weights, ignore_index=UNKNOWN, label_smoothing=smoothing, reduction="sum"
        )
        known = targets != UNKNOWN
        total = known.sum() if weights is None else (weights[targets.clamp(min=0)] * known).sum()
        # No labelled pixel in a batch: nothing to learn, where a mean would be undefined.
        return each / total.clamp(min=1e-6)

    def transform(self, x: Tensor, y: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Shift and flip of image and mask together, then other light and cutout of the image."""
        mean, std = self.colours(x)
        both = torch.cat([x, (y[:, None] - UNKNOWN).to(x.dtype)], 1)
        if self.shift:
            both = augmentation.shift(both, self.shift, torch.cat([-mean / std, mean.new_zeros(1)]), generator)
        if self.flip:
            both = augmentation.flip(both, generator)
        x, y = both[:, :-1], both[:, -1].round().long() + UNKNOWN
        if self.colour_jitter:
            x = augmentation.colour_jitter(x, self.colour_jitter, generator)
        if self.cutout:
            x = augmentation.cutout(x, self.cutout, torch.zeros_like(mean), generator)
        return x, y

    def review(self, answers: Iterable[Answers]) -> Sequence[Panel]:
        """Intersection over union of each class, and some images with their true and answered masks."""
        meter = Overlap(self.outputs)
        shown: list[tuple[str, str]] = []
        for outputs, targets, stored in answers:
            meter.update(outputs, targets)
            for i in range(min(SHOWN - len(shown), len(stored))):
                masks = [_coloured(mask, self.outputs) for mask in (targets[i], outputs[i].argmax(0))]
                picture = np.concatenate([_as_colour(stored[i]), *masks], 1)
                shown.append((self.picture(picture), "image, true mask, answered mask"))
        rows: list[list[str | float]] = [
            [name, share] for name, share in zip(self.class_names, meter.each(), strict=True)
        ]
        return [
            Table("How well each class is found", ["class", "intersection over union"], rows),
            Pictures("Some test images", shown),
        ]

    def tell(self, outputs: Tensor, top: int = 1) -> list[dict[str, Any]]:
        masks = outputs.argmax(1)
        shares = F.one_hot(masks, self.outputs).double().mean((1, 2)).tolist()
        return [{"shares": dict(zip(self.class_names, row, strict=True))} for row in shares]


def rarity(masks: np.ndarray, classes: int) -> tuple[float, ...]:
    """Weights of classes by the root of how rare their pixels are (masks are N x H x W), 1 in the mean over pixels.

    Between no weights, by which few pixels are hardly learned, and those that make all classes alike, by which they are
    seen where they are not (`benchmarks/tasks/masks_recipe.py`). A class without pixels has weight 1.

    >>> [round(weight, 3) for weight in rarity(np.asarray([[[0, 0], [0, 1]]]), 2)]
    [0.845, 1.464]
    """
    counts = pixels_of(masks, classes).astype(np.float64)
    shares = counts / counts.sum()
    weights = np.sqrt(1 / np.where(counts > 0, shares, 1))
    return tuple(np.where(counts > 0, weights / (weights * shares).sum(), 1.0).tolist())


def _coloured(mask: Tensor, classes: int) -> np.ndarray:
    """A mask (H x W) as a picture: each class a colour, what has none black."""
    import colorsys

    palette = [colorsys.hsv_to_rgb(number / classes, 0.65, 0.95) for number in range(classes)]
    colours = np.asarray([(0.0, 0.0, 0.0), *palette]) * 255
    picture: np.ndarray = colours[mask.cpu().numpy() - UNKNOWN].round().astype(np.uint8)
    return picture


def _as_colour(image: np.ndarray) -> np.ndarray:
    """A stored image (H x W x C) with three channels of 0 to 255."""
    if image.dtype != np.uint8:
        low, high = float(image.min()), float(image.max())
        image = ((image - low) * (255 / max(high - low, 1e-12))).round().astype(np.uint8)
    return image if image.shape[2] == 3 else np.repeat(image[..., :1], 3, 2)
