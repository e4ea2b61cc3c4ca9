"""A task: data, input shape, head, loss and metric."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from archscout.core.digest import digest
from archscout.core.errors import DataError, UsageError
from archscout.core.metric import ACCURACY, Meter, Metric
from archscout.core.panel import Panel

SPLITS = ("train", "valid", "test")
_RECIPE = "recipe"

Answers = tuple[Any, Any, np.ndarray]
"""Of a batch: outputs, targets (tensors, or tensors by name), and the inputs as they are stored."""


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
    """Names of the splits that were drawn from the training examples, for the data came without them, and may be parted
    further: not those that were drawn by groups."""
    recipe: str = dataclasses.field(default="", kw_only=True)
    """How networks are trained for it where that is not Archscout's to say (`archscout.training.asked`)."""

    kind: ClassVar[str] = ""
    """The name under which the class is registered: `@register("kind", ...)`; then networks of its tasks load."""

    spaces: ClassVar[tuple[str, ...]] = ()
    """Names of the spaces that were made for such tasks, the best known first: what `auto` takes."""

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
        How networks are trained for it is no part of it: what depends on that notes it beside the digest.
        """
        names = [field.name for field in dataclasses.fields(self) if field.name != _RECIPE]
        parts = {name: getattr(self, name) for name in names}
        splits = {name: parts[name] for name in SPLITS if parts[name] is not None}
        counted = {id(split): self.counted(split) for split in splits.values()}
        return digest(type(self), self.metric, parts | {name: counted[id(split)] for name, split in splits.items()})

    def counted(self, split: Split) -> Split:
        """A split as the digest takes it; of a kind that holds targets in fewer bytes, as if they were not."""
        return split

    def sealed(self) -> Self:
        """The same task without its test split: what estimators see."""
        return dataclasses.replace(self, test=None)

    @property
    def deployed_shape(self) -> tuple[int, ...]:
        """The shape of one example as a deployed network takes it; other than `input_shape` where `deploy` puts more
        than normalisation before the network (a spectrogram of a waveform)."""
        return self.input_shape

    @abstractmethod
    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Any, Any]:
        """Inputs as the network takes them (float32, normalised with statistics of `train`) and targets, as tensors."""

    def augment(self, x: Any, generator: Any) -> Any:
        """A randomly changed copy of a batch of inputs; as they are where nothing may change."""
        return x

    def augment_each(self, parts: Sequence[Any], generators: Sequence[Any]) -> list[Any]:
        """What `augment` makes of each of several batches of one size, each with a generator of its own."""
        return [self.augment(part, generator) for part, generator in zip(parts, generators, strict=True)]

    def transform(self, x: Any, y: Any, generator: Any) -> tuple[Any, Any]:
        """A randomly changed copy of a batch of inputs and targets: for a task whose targets move with its inputs.

        Where they do not, `augment` is all that there is to write.
        """
        return self.augment(x, generator), y

    def lighter(self) -> Self:
        """The same task whose examples change less: for trainings that see each of them a few times only."""
        return self

    def transform_each(
        self, inputs: Sequence[Any], targets: Sequence[Any], generators: Sequence[Any]
    ) -> tuple[list[Any], list[Any]]:
        """What `transform` makes of each of several batches of one size, each with a generator of its own."""
        if type(self).transform is Task.transform:
            return self.augment_each(inputs, generators), list(targets)
        pairs = [self.transform(*each) for each in zip(inputs, targets, generators, strict=True)]
        return [x for x, _ in pairs], [y for _, y in pairs]

    @abstractmethod
    def head(self, channels: Any) -> Any:
        """The module from a feature map (N x channels x H x W) to the outputs: a tensor, or tensors by name.

        Of a task whose examples are of different length, the last channel of the inputs is a mask
        (`archscout.networks.padding`); a head with an attribute `takes_mask` that is true gets it beside the map.
        """

    def tapped_head(self, channels: Sequence[Any], strides: Sequence[int]) -> Any:
        """The module from the feature maps at the ends of all stages of a network to the outputs.

        None where the last map is enough, for which `head` is. A space without stages asks for `head` alone.

        Args:
            channels: of each map, the finest first.
            strides: pixels of the input for each of a map, along one side.
        """
        return None

    @abstractmethod
    def loss(self, outputs: Any, targets: Any, smoothing: float = 0.0) -> Any:
        """The mean loss of a batch, as a scalar tensor; outputs are what the head gives."""

    def meter(self) -> Meter | None:
        """A new meter of the metric, which adds up batch by batch; None for a metric that needs all outputs at once.

        A task writes `meter`, or `measure`.
        """
        return None

    def measure(self, outputs: Any, targets: Any) -> float:
        """The metric over a whole split (accuracies are fractions), as it is: see `merit`."""
        meter = self.meter()
        if meter is None:
            raise UsageError(f"tasks of kind '{self.kind}' have neither a meter nor a measure: write one of them.")
        meter.update(outputs, targets)
        return meter.value()

    def merit(self, outputs: Any, targets: Any) -> float:
        """The metric turned so that higher is better, as estimators and strategies want it."""
        return self.metric.oriented(self.measure(outputs, targets))

    def review(self, answers: Iterable[Answers]) -> Sequence[Panel]:
        """What the report says of the winner's answers to the test split, which come batch by batch."""
        return ()

    def answering(self, network: Any) -> Any:
        """The network in the form in which it answers once it is trained: what is measured, costed and deployed."""
        return network

    @abstractmethod
    def deploy(self, network: Any) -> Any:
        """The network that takes inputs as they are stored (float32, N x `deployed_shape`; images N x C x H x W):
        normalisation, then `network`."""

    def describe(self) -> dict[str, Any]:
        """What it takes to use a network of this task without its data, as JSON: all fields but splits and recipe."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields = {name: value for name, value in fields.items() if name not in (*SPLITS, _RECIPE)}
        return {"kind": self.kind, **fields, "stored": str(self.train.x.dtype), "example": list(self.train.x.shape[1:])}

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> Self:
        """The task that `describe` described, without examples. Raises `DataError` for what is no such description."""
        try:
            return cls(**cls.fields_of(description))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"the description of the task is damaged ({error!r}): write it again with describe()."
            ) from error

    @classmethod
    def fields_of(cls, description: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of the class that a description holds; raises `KeyError`, `TypeError` or `ValueError`."""
        input_shape = tuple(int(size) for size in description["input_shape"])
        example = tuple(int(size) for size in description.get("example", input_shape))
        nothing = Split(np.empty((0, *example), np.dtype(str(description["stored"]))), np.empty(0, np.int64))
        others = {field.name for field in dataclasses.fields(cls)} - {*SPLITS, _RECIPE}
        return {name: _immutable(description[name]) for name in others if name in description} | {
            "name": str(description["name"]),
            "input_shape": input_shape,
            "outputs": int(description["outputs"]),
            "class_names": tuple(str(name) for name in description.get("class_names", ())),
            **dict.fromkeys(SPLITS[:2], nothing),
            "test": None,
        }


def _immutable(value: Any) -> Any:
    """JSON with tuples for lists, as the fields of a task are."""
    return tuple(map(_immutable, value)) if isinstance(value, list) else value
