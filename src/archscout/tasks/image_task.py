"""What all tasks on images have in common: pictures kept as they were stored, normalised when a network takes them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Generator, Tensor, nn

from archscout.core.errors import UsageError
from archscout.core.task import Split, Task
from archscout.tasks import augmentation
from archscout.tasks.mapped import Streamed, is_streamed


@dataclass(frozen=True)
class ImageTask(Task):
    """A task whose inputs are images; kinds of tasks derive from it, one file a kind.

    Args:
        statistics: mean and standard deviation of each channel, in stored units; those of `train` where None.
        flip: whether augmentation may mirror an image: a mirrored cat is a cat, a mirrored 3 is no digit.
        shift: by how many pixels augmentation moves an image.
        cutout: side, in pixels, of the square that augmentation paints over; 0 for none.
        colour_jitter: by what share augmentation changes contrast, brightness and saturation at most.
        fit: how pictures of another shape are brought to this one (`decode.Reading`).
        background: what lies behind transparent places of pictures.
        span: smallest and largest stored value; those of `train` where None.

    Images of a split are N x H x W x C, uint8 (0 to 255) or float32; they stay so in memory.
    """

    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    flip: bool = False
    shift: int = 1
    cutout: int = 0
    colour_jitter: float = 0.0
    fit: str = "stretch"
    background: str = "white"
    span: tuple[float, float] | None = None

    @cached_property
    def mean(self) -> tuple[float, ...]:
        return self._statistics[0]

    @cached_property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel; 1 for a channel that never changes."""
        return self._statistics[1]

    @cached_property
    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if self.statistics is not None:
            return self.statistics
        return channel_statistics(self.train.x)

    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Tensor, Tensor]:
        targets = torch.from_numpy(split.y).to(device)
        if is_streamed(split.x):
            return cast(Tensor, Streamed([split.x], self._inputs, device)), targets
        return self._inputs(split.x, device), targets

    def _inputs(self, images: np.ndarray, device: Any = "cpu") -> Tensor:
        stored = torch.from_numpy(images if images.flags.writeable else np.array(images)).to(device)
        x = stored.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        mean, std = self.colours(x)
        return x.sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1))

    def colours(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, where and as precise as a tensor is."""
        return like.new_tensor(self.mean), like.new_tensor(self.std)

    def augment(self, x: Tensor, generator: Generator) -> Tensor:
        """Shift (black comes in), flip where the task allows it, other light, cutout (the mean colour is painted)."""
        return self._augment(x, [generator])

    def augment_each(self, parts: Sequence[Tensor], generators: Sequence[Generator]) -> list[Tensor]:
        if type(self).augment is not ImageTask.augment:
            return super().augment_each(parts, generators)
        return list(self._augment(torch.cat(list(parts)), generators).tensor_split(len(parts)))

    def _augment(self, x: Tensor, generators: Sequence[Generator]) -> Tensor:
        mean, std = self.colours(x)
        if self.shift:
            x = augmentation.shift(x, self.shift, -mean / std, *generators)
        if self.flip:
            x = augmentation.flip(x, *generators)
        if self.colour_jitter:
            x = augmentation.colour_jitter(x, self.colour_jitter, *generators)
        if self.cutout:
            x = augmentation.cutout(x, self.cutout, torch.zeros_like(mean), *generators)
        return x

    def lighter(self) -> Self:
        """Images move half as far, and are neither painted over nor seen in other light."""
        statistics = (self.mean, self.std)
        return replace(self, shift=(self.shift + 1) // 2, cutout=0, colour_jitter=0.0, statistics=statistics)

    def deploy(self, network: nn.Module) -> nn.Module:
        return Deployed(network, self.mean, self.std)

    def picture(self, image: np.ndarray) -> str:
        """One stored image (H x W x C) as a PNG file in base64, for a page; other than 0 to 255 is stretched to it."""
        from PIL import Image

        if image.dtype != np.uint8:
            low, high = float(image.min()), float(image.max())
            image = ((image - low) * (255 / max(high - low, 1e-12))).round().astype(np.uint8)
        shown = image if image.shape[2] == 3 else image[..., 0]
        buffer = io.BytesIO()
        Image.fromarray(shown).save(buffer, format="PNG")
        return base64.b64encode(buffer.getvalue()).decode("ascii")

    def tell(self, outputs: Any, top: int = 1) -> list[dict[str, Any]]:
        """What is said of each image, as JSON, from the outputs of the deployed network; the `top` likeliest of each.

        Raises `UsageError` for a kind that does not say.
        """
        raise UsageError(
            f"the network of a task of kind '{self.kind}' says nothing of single images: use archscout.load."
        )

    def describe(self) -> dict[str, Any]:
        described = super().describe()
        for name in ("example", "statistics"):  # the one follows from the shape, the other may not be filled in
            del described[name]
        span = list(self.span or (float(self.train.x.min()), float(self.train.x.max())))
        return described | {"mean": list(self.mean), "std": list(self.std), "span": span}

    @classmethod
    def fields_of(cls, description: Mapping[str, Any]) -> dict[str, Any]:
        channels, height, width = (int(size) for size in description["input_shape"])
        fields = super().fields_of({**description, "example": [height, width, channels]})
        return fields | {
            "statistics": (
                tuple(float(value) for value in description["mean"]),
                tuple(float(value) for value in description["std"]),
            ),
            "flip": bool(description["flip"]),
            "shift": int(description["shift"]),
            "cutout": int(description["cutout"]),
            "colour_jitter": float(description.get("colour_jitter", 0.0)),
            "fit": str(description.get("fit", "stretch")),
            "background": str(description.get("background", "white")),
            "span": _span(description.get("span")),
        }


def _span(value: Any) -> tuple[float, float] | None:
    """Of a network that was made before spans were noted, None."""
    return None if value is None else (float(value[0]), float(value[1]))


class Deployed(nn.Module):
    """A network that takes images as they are stored (float32, N x C x H x W; 0 to 255 for uint8 ones)."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))
        self.network = network

    def forward(self, x: Tensor) -> Any:
        return self.network((x - self.mean) / self.std)


class Mirrored(nn.Module):
    """A network that answers with the mean of its outputs for an image and its mirror image (left to right).

    Both run as one batch: twice the multiply-adds, less than twice the time.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        straight, mirrored = self.network(torch.cat([x, x.flip(3)])).chunk(2)
        return (straight + mirrored) / 2  # type: ignore[no-any-return]


def channel_statistics(x: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of N x H x W x C images, in double precision."""
    count = x.size // x.shape[-1]
    mean = x.sum((0, 1, 2), dtype=np.float64) / count
    # In blocks, so that a large uint8 set is never held in double precision.
    squares = sum(((block - mean) ** 2).sum((0, 1, 2)) for block in np.array_split(x, max(1, x.nbytes // 2**21)))
    std = np.sqrt(squares / count)
    std[std < 1e-8] = 1.0
    return tuple(mean.tolist()), tuple(std.tolist())
