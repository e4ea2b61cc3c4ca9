"""What a task cannot do in the end is found on two examples at the start, before anything is paid for."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import archscout
from archscout.core.errors import UsageError
from archscout.core.panel import Panel
from archscout.core.task import Answers, Split, Task
from archscout.tasks.attempt import attempt
from archscout.tasks.images import ImageClassification
from archscout.tasks.meters import MeanSquare
from archscout.testing import tiny_heads, tiny_regression, tiny_segmentation, tiny_task


def as_type(kind: type[Any], task: Task, **changes: Any) -> Any:
    return kind(**{field.name: getattr(task, field.name) for field in dataclasses.fields(task)} | changes)


def network(task: Task) -> nn.Module:
    return nn.Sequential(nn.Conv2d(task.input_shape[0], 4, 3, padding=1), task.head(4))


@pytest.mark.parametrize("make", [tiny_task, tiny_regression, tiny_segmentation, tiny_heads])
def test_tasks_that_are_whole_pass(make: Any) -> None:
    attempt(make(), network(make()), "any")


def test_class_names_but_not_one_label_an_example_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    """It once was an IndexError after every training had been paid for, and again on every resume."""
    whole = tiny_task()
    splits = {name: Split(s.x, np.stack([s.y, s.y], 1)) for name, s in (("train", whole.train), ("valid", whole.valid))}
    task = dataclasses.replace(whole, **splits)  # type: ignore[arg-type]
    said = r"outputs of shape \(2, 3\) and the targets have shape \(2, 2\), of which its loss cannot be had"
    with pytest.raises(UsageError, match=said):
        archscout.search("nasbench201:width=4", task, budget="2trials", workers=0, out=tmp_path)
    with pytest.raises(UsageError, match=said):
        archscout.train("nasbench201:width=4", "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", task, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


class Reviewed(ImageClassification):
    def review(self, answers: Iterable[Answers]) -> list[Panel]:
        raise IndexError("list index out of range")


class Broadcast(ImageClassification):
    """Targets of another shape than the outputs, which broadcasting would hide."""

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        return (outputs.mean(1) - targets).square().mean()

    def meter(self) -> Any:
        return MeanSquare()


class Vector(ImageClassification):
    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        return outputs.sum(1)


class Still(ImageClassification):
    def transform(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Any:
        raise RuntimeError("no such augmentation")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Reviewed, "its review cannot be had .IndexError: list index out of range"),
        (Broadcast, r"its metric 'accuracy' cannot be had .ValueError: outputs of shape \(2, 3\) for targets"),
        (Vector, "its loss is not one number"),
        (Still, "its transform cannot be had .RuntimeError: no such augmentation"),
    ],
)
def test_the_sentence_names_what_cannot_be_had_and_both_shapes(kind: type[Task], said: str) -> None:
    task = as_type(kind, tiny_task())
    with pytest.raises(UsageError, match=said) as refused:
        attempt(task, network(task), "mine")
    assert "'tiny8x8'" in str(refused.value)
    assert "space 'mine' give outputs of shape (2, 3)" in str(refused.value)
