"""What the benchmarks of shared weights have in common: CIFAR-10 at 16 x 16, the published classes, a stand-in run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core import seeds
from archscout.core.architecture import Architecture
from archscout.core.space import Space
from archscout.core.task import Split, Task
from archscout.tasks.images import ImageClassification
from archscout.tasks.load import load


class Stand:
    """As much of a run as a search with shared weights asks for: nothing is trained alone at the end."""

    constraints: tuple = ()
    objectives: tuple = ()
    workers, estimator, epochs, share, device, trains = 1, "trained", 1, 1.0, "cpu", True

    def __init__(self, space: Space, task: Task, seed: int, folder: Path) -> None:
        self.space, self.task, self.seed, self.folder = space, task, seed, folder
        self.found: list[Architecture] = []
        self.notes: dict[str, Any] = {}

    def rng(self, *keys: str | int) -> np.random.Generator:
        return seeds.stream(self.seed, *keys)

    def evaluate(self, architectures: Iterable[Architecture], estimator: str, **_: Any) -> list:
        self.found = list(architectures)
        return []

    def score(self, architectures: list[Architecture], names: list[str], **_: Any) -> list:
        from archscout.core.estimator import Setting
        from archscout.core.registry import create
        from archscout.core.trial import Trial

        setting = Setting(self.space, self.task, seed=self.seed)
        found = []
        for name in names:
            values = [each.value for each in create("estimator", name).estimate(architectures, setting)]
            found.append(
                [
                    Trial(n, a, self.space.canonical(a), name, None, "completed", v)
                    for n, (a, v) in enumerate(zip(architectures, values, strict=True))
                ]
            )
        return found

    def screened(self, architectures: Iterable[Architecture]) -> list[dict[str, float]]:
        """What limits are about, of each; overridden where there are limits."""
        return [{} for _ in architectures]

    def admit(self, architectures: Iterable[Architecture], count: int) -> list[Architecture]:
        kept = (
            a
            for a in architectures
            if all(self.screened([a])[0][limit.key] <= limit.limit for limit in self.constraints)
        )
        return list(itertools.islice(kept, count))

    def seconds_left(self) -> float:
        return math.inf

    def decide(self, key: str, make: Any) -> Any:
        return make()

    def note(self, key: str, value: Any) -> None:
        self.notes[key] = value

    def show(self, phase: str, done: float, total: float | None = None) -> None:
        pass

    def say(self, text: str) -> None:
        print("   ", text, flush=True)


def small_cifar(path: str) -> ImageClassification:
    """CIFAR-10 reduced to 16 x 16 by the mean of 2 x 2 pixels."""
    whole = load(path)

    def reduced(split: Split) -> Split:
        x = split.x.astype(np.float32).reshape(-1, 16, 2, 16, 2, 3).mean((2, 4)).round().astype(np.uint8)
        return Split(x, split.y.astype(np.int64))

    train, valid = reduced(whole.train), reduced(whole.valid)
    return ImageClassification("cifar10 at 16x16", (3, 16, 16), 10, train, valid, None, flip=True, shift=2)


def read_table(path: str) -> tuple[dict[str, float], list[str]]:
    """The CIFAR-10 test accuracy (percent) by architecture, and one architecture of each of the 6,466 published
    classes."""
    import pyarrow.parquet as parquet

    rows = parquet.read_table(path, columns=["arch", "iso_class", "c10_test_200"]).to_pydict()
    truth = dict(zip(rows["arch"], rows["c10_test_200"], strict=True))
    first: dict[str, str] = {}
    for architecture, group in zip(rows["arch"], rows["iso_class"], strict=True):
        first.setdefault(str(group), architecture)
    return truth, list(first.values())
