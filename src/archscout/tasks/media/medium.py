"""The form of a medium: how its examples are checked, decoded and made into a task of some targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from archscout.core import registry
from archscout.core.errors import UsageError
from archscout.core.task import Split
from archscout.tasks.contents import MediumName
from archscout.tasks.pictures import Watch
from archscout.tasks.segmentation import rarity
from archscout.tasks.targets import EMBEDDING, VERIFIED, Targets


@dataclass
class Decoded:
    """The examples of each split as arrays, which of its sources they are, and what is to be told."""

    examples: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]
    notices: list[str]


class Medium(ABC):
    """What is done with examples of one sort; an object is made for one set of data, with the parameters of its task.

    `options` are those parameters that the medium knows (`OPTIONS`), as the user gave them; `shape` is the height and
    width that targets have already.
    """

    name: ClassVar[MediumName]
    noun: ClassVar[str]
    nouns: ClassVar[str]
    """What an example, and several, are called in messages."""

    OPTIONS: ClassVar[tuple[str, ...]]
    KINDS: ClassVar[Mapping[str, str]]
    """The registered kinds of tasks by the kind of their targets."""

    def __init__(self, source: str, options: Mapping[str, Any], shape: tuple[int, int] | None = None) -> None:
        self.source, self.options, self.shape = source, options, shape

    def kind(self, targets: str) -> str:
        """The registered kind of task for a kind of targets. Raises `UsageError` where there is none."""
        if targets not in self.KINDS:
            raise UsageError(
                f"{self.source} holds {self.nouns} with targets of kind {targets}, for which there is no task: use "
                f"{' or '.join(self.KINDS)} (kind=...)."
            )
        return self.KINDS[targets]

    @abstractmethod
    def taken(self, x: np.ndarray, called: str, rate: int | None) -> np.ndarray | Sequence[Any]:
        """The examples of an array: as they are kept, or one by one for `decoded`.

        `rate` is how many samples a second it has, where that is known. Raises `DataError` for arrays that hold none.
        """

    def alike_given(self, x: Mapping[str, np.ndarray]) -> None:
        """Raises `DataError` where the arrays of splits, as they were given, differ."""
        self.alike(x)

    def fitted(self, x: np.ndarray) -> np.ndarray:
        """Examples that were kept as they are, at the size that is wanted."""
        return x

    @abstractmethod
    def decoded(
        self,
        encoded: Mapping[str, Sequence[Any]],
        bad: Sequence[tuple[str, str]],
        *,
        skip_bad: bool,
        watch: Watch | None,
    ) -> Decoded:
        """Encoded examples, of which some are known to be bad. Raises `DataError` for unreadable ones."""

    @abstractmethod
    def alike(self, x: Mapping[str, np.ndarray]) -> None:
        """Raises `DataError` where splits differ in shape, type or scale, or hold nothing to learn from."""

    @abstractmethod
    def fields(self, targets: Targets, data: Mapping[str, Split], encoded: bool) -> dict[str, Any]:
        """The fields of the task that are the medium's own, `input_shape` among them."""

    def task(
        self,
        targets: Targets,
        data: Mapping[str, Split],
        *,
        encoded: bool,
        balance: bool = False,
        weighted: bool = False,
        **common: Any,
    ) -> Any:
        """The task of these targets.

        Args:
            targets: and what they are.
            data: the splits.
            encoded: whether examples were decoded here.
            balance: whether all classes weigh alike in the loss, however rare they are.
            weighted: whether targets are a class and a weight.
            common: further fields of the task.

        Raises `UsageError` where there is no such task.
        """
        make = registry.factory("kind", self.kind(targets.kind))
        outputs = targets.outputs
        more: dict[str, Any] = {"heads": targets.heads} if targets.heads else {}
        if balance:
            if targets.kind != "classification":
                raise UsageError(f"balance=true weighs classes, and {self.source} has targets of kind {targets.kind}.")
            more["class_weights"] = balanced(targets.classes(data["train"].y), len(targets.names))
        elif targets.kind == "segmentation":
            more["class_weights"] = rarity(data["train"].y, len(targets.names))
        if weighted:
            more["weighted"] = True
        if targets.kind in VERIFIED:
            more["known"] = tuple(np.unique(targets.classes(data["train"].y)).tolist())
            outputs = EMBEDDING + len(more["known"])
        return make(
            outputs=outputs, class_names=targets.names, **data, **self.fields(targets, data, encoded),
            **more, **common,
        )  # fmt: skip


def balanced(y: np.ndarray, classes: int) -> tuple[float, ...]:
    """Weights of classes that make the sum over the examples of each the same, and 1 in the mean over the examples.

    >>> balanced(np.asarray([0, 0, 0, 1]), 2)
    (0.6666666666666666, 2.0)
    """
    counts = np.bincount(y, minlength=classes)
    return tuple((len(y) / (classes * counts)).tolist())
