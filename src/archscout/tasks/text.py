"""Language modelling at the level of characters: which one comes next."""

from __future__ import annotations

import gzip
import itertools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.errors import DataError, DataNotice, UsageError
from archscout.core.registry import register
from archscout.core.task import Split, Task
from archscout.networks.elastic import Number, linear
from archscout.tasks import checks
from archscout.tasks.meters import Hits

MOST_UNKNOWN = 0.01
"""Of the characters of a split, what it may lack in training without being told."""

UNKNOWN = "\ufffd"
"""Stands for every character that the training text does not have."""


@register("kind", "next character")
@dataclass(frozen=True)
class NextCharacter(Task):
    """The next character at each place of a stretch of text; the metric is the fraction of them that are foreseen.

    An example is a stretch of characters, as their numbers in `class_names`; `y` has the character that follows each of
    them (N x length), so that outputs are N x characters x length. The loss is in nats a character: its exponential is
    the perplexity.
    """

    kind: ClassVar[str] = "next character"

    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Tensor, Tensor]:
        return torch.from_numpy(split.x.astype(np.float32)).to(device), torch.from_numpy(split.y).to(device)

    def head(self, channels: Number) -> nn.Module:
        """From features (N x channels x length) to outputs (N x characters x length)."""
        return CharacterHead(channels, self.outputs)

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        return F.cross_entropy(outputs, targets, label_smoothing=smoothing)

    def meter(self) -> Hits:
        return Hits()

    def deploy(self, network: nn.Module) -> nn.Module:
        return network

    def describe(self) -> dict[str, Any]:
        characters = "".join(self.class_names)
        return {"kind": self.kind, "name": self.name, "length": self.input_shape[0], "characters": characters}

    @classmethod
    def fields_of(cls, description: Mapping[str, Any]) -> dict[str, Any]:
        length, characters = int(description["length"]), list(str(description["characters"]))
        shape = {"input_shape": [length], "outputs": len(characters), "class_names": characters, "stored": "uint8"}
        return super().fields_of({**description, **shape})


class CharacterHead(nn.Module):
    """A linear layer at each place of a sequence."""

    def __init__(self, channels: Number, characters: int) -> None:
        super().__init__()
        self.classifier = linear(channels, characters)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]


@register("task", "text")
def text(*, file: str | None = None, length: int = 32, train: int | None = None) -> NextCharacter:
    """The next character of a text: real English that ships with scikit-learn, or a file of your own.

    Without a file, the text is that of the descriptions of scikit-learn's data sets (about 40,000 characters, English;
    a new version of scikit-learn may change a few of them). The first 80 % of a text are for training, the next 10 %
    for validation, the last 10 % for the test, each cut into stretches without overlap.

    Args:
        file: plain text in UTF-8, perhaps compressed (`.gz`).
        length: characters of an example.
        train: how many training examples to keep, the first ones.

    Raises:
        DataError: the file cannot be read, is no text, or is too short.
    """
    checks.count(length, "length")
    written = _descriptions() if file is None else _read(Path(file).expanduser())
    source = "task 'text'" if file is None else f"'{file}'"
    if len(written) < 20 * (length + 1):
        raise DataError(
            f"{source} has {len(written)} characters, too few for examples of {length}: give at least "
            f"{20 * (length + 1)}, or a smaller length."
        )
    ends = (0, len(written) * 8 // 10, len(written) * 9 // 10, len(written))
    parts = [written[start:end] for start, end in itertools.pairwise(ends)]
    characters = (*sorted(set(parts[0]) - {UNKNOWN}), UNKNOWN)
    if len(characters) < 3:
        raise DataError(f"{source} is one character over and over for training: there is nothing to foresee.")
    for name, part in zip(("validation", "test"), parts[1:], strict=True):
        unknown = sum(character not in characters[:-1] for character in part)
        if unknown > MOST_UNKNOWN * len(part):
            warnings.warn(
                f"{unknown / len(part):.0%} of the {name} characters of {source} are in no training text, and count as "
                "one: give a text that is alike from beginning to end.",
                DataNotice,
                stacklevel=2,
            )
    fit, valid, test = (_cut(part, characters, length) for part in parts)
    if train is not None:
        if checks.count(train, "train") > len(fit):
            raise UsageError(f"train={train} is more than the {len(fit)} training examples of {source}.")
        fit = fit.head(train)
    return NextCharacter("text", (length,), len(characters), fit, valid, test, characters)


def _descriptions() -> str:
    folder = resources.files("sklearn.datasets.descr")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".rst")), key=lambda file: file.name)
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
        written = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(
            f"'{path}' cannot be read as text ({error}): give a file in UTF-8, or such a one as .gz."
        ) from error
    if "\0" in written:
        raise DataError(f"'{path}' has characters of number zero, as no text has: give a file in UTF-8.")
    # However lines end on the system that it was written on: a second sign for it would be foreseen for nothing.
    return written.replace("\r\n", "\n").replace("\r", "\n")


def _cut(part: str, characters: tuple[str, ...], length: int) -> Split:
    number = {character: place for place, character in enumerate(characters)}
    numbers = np.asarray([number.get(character, len(characters) - 1) for character in part], np.int64)
    count = (len(numbers) - 1) // length
    x, y = (numbers[start : start + count * length].reshape(count, length) for start in (0, 1))
    return Split(x.astype(np.uint8 if len(characters) <= 256 else np.int32), np.ascontiguousarray(y))
