"""Several questions about one image: a head for each, over a body that they share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.metric import Meter, Metric
from archscout.core.panel import Panel, Table
from archscout.core.registry import register
from archscout.core.task import Answers, Split
from archscout.networks.elastic import Number
from archscout.networks.operations import ClassifierHead
from archscout.tasks.image_task import Deployed, ImageTask
from archscout.tasks.meters import AveragePrecision, Hits, MeanSquare
from archscout.tasks.regression import Rescale, Scale, number_scale

Asks = Literal["class", "labels", "numbers"]


@dataclass(frozen=True)
class Head:
    """One question: a `class` (one column of targets), any number of `labels`, or `numbers` (a column for each).

    `names` are those of the classes, the labels or the numbers.
    """

    name: str
    asks: Asks
    names: tuple[str, ...]

    @property
    def columns(self) -> int:
        return 1 if self.asks == "class" else len(self.names)


@register("kind", "images with several heads")
@dataclass(frozen=True)
class SeveralHeads(ImageTask):
    """Several questions about each image; the metric is the mean over the heads of how well each is answered.

    That is accuracy for a class, mean average precision for labels, and for numbers the share of their variance that is
    explained (at least 0). `y` is N x columns, those of the heads side by side in their order, floats; a network gives
    a tensor for each head by its name. The loss is the sum over the heads.

    Args:
        heads: the questions.
        scale: mean and standard deviation of each column; those of `train` where None.
    """

    kind: ClassVar[str] = "images with several heads"
    metric: ClassVar[Metric] = Metric("mean_share", unit="share", digits=2)

    heads: tuple[Head, ...] = ()
    scale: Scale | None = None

    @cached_property
    def target_scale(self) -> Scale:
        return self.scale or number_scale(self.train.y)

    def _parts(self) -> Iterable[tuple[Head, slice]]:
        start = 0
        for head in self.heads:
            yield head, slice(start, start + head.columns)
            start += head.columns

    def _scale(self, columns: slice) -> Scale:
        mean, std = self.target_scale
        return mean[columns], std[columns]

    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Tensor, Tensor]:
        x, y = super().tensors(split, device)
        y = y.double()
        for head, columns in self._parts():
            if head.asks == "numbers":
                mean, std = (y.new_tensor(numbers) for numbers in self._scale(columns))
                y[:, columns] = (y[:, columns] - mean) / std
        return x, y.float()

    def head(self, channels: Number) -> nn.Module:
        return NamedHeads({head.name: ClassifierHead(channels, len(head.names)) for head in self.heads})

    def loss(self, outputs: Mapping[str, Tensor], targets: Tensor, smoothing: float = 0.0) -> Tensor:
        total = targets.new_zeros(())
        for head, columns in self._parts():
            said, true = outputs[head.name], targets[:, columns]
            if head.asks == "class":
                total = total + F.cross_entropy(said, true[:, 0].long(), label_smoothing=smoothing)
            elif head.asks == "labels":
                total = total + F.binary_cross_entropy_with_logits(said, true * (1 - smoothing) + smoothing / 2)
            else:
                total = total + F.mse_loss(said, true)
        return total

    def meter(self) -> HeadsMeter:
        return HeadsMeter(self)

    def deploy(self, network: nn.Module) -> nn.Module:
        numbers = {head.name: self._scale(columns) for head, columns in self._parts() if head.asks == "numbers"}
        return Deployed(nn.Sequential(network, RescaledHeads(numbers)), self.mean, self.std)

    def review(self, answers: Iterable[Answers]) -> Sequence[Panel]:
        """How well each question is answered."""
        meter = self.meter()
        for outputs, targets, _ in answers:
            meter.update(outputs, targets)
        measured = {"class": "accuracy", "labels": "mean average precision", "numbers": "variance explained"}
        rows: list[list[str | float]] = [[head.name, measured[head.asks], meter.share(head)] for head in self.heads]
        return [Table("How well each question is answered", ["question", "measure", "share"], rows)]

    def tell(self, outputs: Mapping[str, Tensor], top: int = 1) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = [{} for _ in next(iter(outputs.values()))]
        for head in self.heads:
            for row, said in zip(rows, outputs[head.name], strict=True):
                if head.asks == "class":
                    row[head.name] = head.names[int(said.argmax())]
                elif head.asks == "labels":
                    row[head.name] = [name for name, value in zip(head.names, said.tolist(), strict=True) if value >= 0]
                else:
                    row[head.name] = dict(zip(head.names, said.tolist(), strict=True))
        return rows

    def describe(self) -> dict[str, Any]:
        heads = [{"name": head.name, "asks": head.asks, "names": list(head.names)} for head in self.heads]
        return super().describe() | {"heads": heads, "scale": [list(numbers) for numbers in self.target_scale]}

    @classmethod
    def fields_of(cls, description: Mapping[str, Any]) -> dict[str, Any]:
        mean, std = (tuple(float(number) for number in numbers) for numbers in description["scale"])
        heads = tuple(
            Head(str(head["name"]), head["asks"], tuple(str(name) for name in head["names"]))
            for head in description["heads"]
        )
        return super().fields_of(description) | {"heads": heads, "scale": (mean, std)}


class HeadsMeter:
    """The mean over the heads of how well each is answered."""

    def __init__(self, task: SeveralHeads) -> None:
        self.parts = list(task._parts())
        meters: dict[Asks, type[Any]] = {"class": Hits, "labels": AveragePrecision, "numbers": MeanSquare}
        self.meters: dict[str, Meter] = {head.name: meters[head.asks]() for head in task.heads}

    def update(self, outputs: Mapping[str, Tensor], targets: Tensor) -> None:
        for head, columns in self.parts:
            true = targets[:, columns]
            self.meters[head.name].update(outputs[head.name], true[:, 0].long() if head.asks == "class" else true)

    def share(self, head: Head) -> float:
        """How well one question is answered, at most 1."""
        value = self.meters[head.name].value()
        # Targets are standardised: their variance is one.
        return max(0.0, 1.0 - value**2) if head.asks == "numbers" and not math.isnan(value) else value

    def value(self) -> float:
        return float(np.mean([self.share(head) for head, _ in self.parts]))


class NamedHeads(nn.Module):
    """A head for each question, of the same feature map."""

    def __init__(self, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.names = tuple(heads)
        self.heads = nn.ModuleList(heads.values())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: head(x) for name, head in zip(self.names, self.heads, strict=True)}


class RescaledHeads(nn.Module):
    """Brings the outputs of heads that answer in numbers into their own unit."""

    def __init__(self, scales: Mapping[str, Scale]) -> None:
        super().__init__()
        self.names = tuple(scales)
        self.rescales = nn.ModuleList(Rescale(*scale) for scale in scales.values())

    def forward(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        rescaled = {name: one(outputs[name]) for name, one in zip(self.names, self.rescales, strict=True)}
        return {name: rescaled.get(name, output) for name, output in outputs.items()}
