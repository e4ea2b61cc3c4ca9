"""A task: data, input shape, head, loss and metric."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from archscout.core.digest import digest
from archscout.core.metric import ACCURACY, Metric


@dataclass(frozen=True)
class Split:
    """Examples and their targets: `x` as stored (images: N x H x W x C, uint8 or float32), `y` (N,) int64."""

    x: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def head(self, count: int) -> Split:
        return Split(self.x[:count], self.y[:count])


@dataclass(frozen=True)
class Task(ABC):
    """What a network is for. `train` fits weights, `valid` chooses, `test` is looked at once, at the very end.

    `input_shape` is that of one example as the network sees it (images: C, H, W); `outputs` is the number of outputs
    (classes). Torch enters only through the methods.
    """

    name: str
    input_shape: tuple[int, ...]
    outputs: int
    train: Split
    valid: Split
    test: Split | None
    class_names: tuple[str, ...] = ()
    drawn: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)
    """Names of the splits that were drawn from the training examples, for the data came without them."""

    metric: ClassVar[Metric] = ACCURACY
    """What `measure` returns; a plain name means that higher is better."""

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        if isinstance(cls.__dict__.get("metric"), str):
            cls.metric = Metric.of(cls.__dict__["metric"])

    @cached_property
    def digest(self) -> str:
        """A hash of all that the task is: kind, every split that it holds, class names, how it augments.

        Without its test split a task has another digest: what estimators made is the same whatever is in that split.
        """
        parts = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return digest(type(self), self.metric, parts)

    def sealed(self) -> Self:
        """The same task without its test split: what estimators see."""
        return dataclasses.replace(self, test=None)

    @abstractmethod
    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Any, Any]:
        """Inputs as the network takes them (float32, normalised with statistics of `train`) and targets, as tensors."""

    @abstractmethod
    def augment(self, x: Any, generator: Any) -> Any:
        """A randomly changed copy of a batch of inputs."""

    def augment_each(self, parts: Sequence[Any], generators: Sequence[Any]) -> list[Any]:
        """What `augment` makes of each of several batches of one size, each with a generator of its own."""
        return [self.augment(part, generator) for part, generator in zip(parts, generators, strict=True)]

    @abstractmethod
    def head(self, channels: Any) -> Any:
        """The module from a feature map (N x channels x H x W) to the outputs."""

    @abstractmethod
    def loss(self, outputs: Any, targets: Any, smoothing: float = 0.0) -> Any:
        """The mean loss of a batch, as a scalar tensor."""

    @abstractmethod
    def measure(self, outputs: Any, targets: Any) -> float:
        """The metric over a whole split (accuracies are fractions), as it is: see `merit`."""

    def merit(self, outputs: Any, targets: Any) -> float:
        """The metric turned so that higher is better, as estimators and strategies want it."""
        return self.metric.oriented(self.measure(outputs, targets))

    @abstractmethod
    def deploy(self, network: Any) -> Any:
        """The network that takes inputs as they are stored (float32, N x C x H x W): normalisation, then `network`."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What it takes to use a network of this task without its data, as JSON."""
