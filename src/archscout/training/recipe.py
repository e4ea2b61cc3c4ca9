"""How a network is trained: everything but the network, the data and the seed. `recipes.py` has those with a name."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from archscout.core import registry
from archscout.core.errors import UsageError
from archscout.core.task import Task

PASSES, FEWEST, MOST = 240_000, 20, 150
"""Of the rule of thumb: passes of training examples that make a full training, which is so many epochs at least and at
most."""

WHATEVER_SIZE = 0.48
"""Share of the time of an epoch that does not become less with smaller images: steps of the optimiser, changing images,
and kernels that small maps do not fill. Between .43 and .53 for five networks on as many data sets."""

OPTIONS: dict[str, tuple[str, ...]] = {
    "optimizer": ("sgd", "adamw", "muon"),
    "schedule": ("cosine", "linear"),
    "fit_on": ("train", "train+valid"),
    "precision": ("auto", "float32", "bfloat16"),
    "layout": ("auto", "contiguous", "channels_last"),
    "sparsity_rule": ("sr_ste", "ste", "one_shot"),
}
"""What fields may be that are one of a few words."""


_PATTERN = re.compile(r"(\d{1,4}):(\d{1,4})")

_BITS = re.compile(r"w([2-8])a([2-8])")

_NOT_NEGATIVE = (
    "learning_rate", "sgd_learning_rate", "momentum", "weight_decay", "warmup_epochs", "label_smoothing",
    "gradient_clip",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Args:
        epochs: passes over the training examples.
        batch_size: examples a step, at most; the batches of an epoch are as equal as can be.
        optimizer: `sgd` (with Nesterov momentum), `adamw` or `muon` (`archscout.training.muon`; vectors and the last
            layer by SGD).
        learning_rate: the highest, at the end of the warm-up; the schedule then takes it to zero at the last step.
        sgd_learning_rate: the same, of what Muon leaves to SGD.
        relative_rate: whether AdamW moves each weight in proportion to the size that its layer's weights begin with
            (root mean square, `TYPICAL_SIZE` at the full rate; Shazeer, Stern 2018, arXiv 1804.04235): trained networks
            whose normalisation is folded have weights of very different sizes.
        schedule: how the learning rate falls: along a `cosine`, or `linear`.
        momentum: of SGD and Muon.
        weight_decay: of weights; normalisation layers and biases have none.
        warmup_epochs: the learning rate rises linearly for so long.
        label_smoothing: probability that the loss takes from the true class for all.
        gradient_clip: the longest gradient (Euclidean norm over all parameters); 0 for no limit.
        augment: whether batches are changed at random by `task.transform`.
        lighter: whether they are changed less, by that of `task.lighter()`.
        norm_momentum: how fast the running statistics of batch normalisation follow, for the length of the training.
            With PyTorch's own 0.1 they are behind the weights at the end of a short one.
        smaller_side: the side of images in the first epochs, as a share of their own; 1 for none smaller. They grow to
            their own size in equal steps, and networks that take one size alone are given that.
        smaller_epochs: the share of the epochs that have smaller images.
        epoch_share: the share of the examples that make an epoch, drawn anew for each of them.
        fit_on: `train`, or `train+valid`: then nothing is left to choose an epoch by, and the last one is kept.
        averaged_epochs: with `train+valid`, the mean of the weights after so many last epochs is kept (Izmailov et al.
            2018, arXiv 1803.05407).
        precision: what operators compute in: `float32`, `bfloat16` (weights and optimiser stay in single precision) or
            `auto`, the faster one on this machine (`archscout.training.speed`).
        layout: of feature maps in memory: `contiguous`, `channels_last` or `auto`, the faster one.
        sparsity: `N:M`: of every M weights N stay (`archscout.training.sparsity`); "" for all.
        sparsity_rule: how they are chosen: `sr_ste`, `ste` or `one_shot`.
        bits: `wNaN`: of weights and inputs of layers, with scales that are learned (`archscout.training.on_grid`); ""
            for numbers as they are.
    """

    epochs: int
    batch_size: int = 64
    optimizer: Literal["sgd", "adamw", "muon"] = "sgd"
    learning_rate: float = 0.1
    sgd_learning_rate: float = 0.1
    relative_rate: bool = False
    schedule: Literal["cosine", "linear"] = "cosine"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.1
    gradient_clip: float = 5.0
    augment: bool = True
    lighter: bool = False
    norm_momentum: float = 0.3
    smaller_side: float = 1.0
    smaller_epochs: float = 0.5
    epoch_share: float = 1.0
    fit_on: Literal["train", "train+valid"] = "train"
    averaged_epochs: int = 1
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    layout: Literal["auto", "contiguous", "channels_last"] = "auto"
    sparsity: str = ""
    sparsity_rule: Literal["sr_ste", "ste", "one_shot"] = "sr_ste"
    bits: str = ""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "averaged_epochs"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"the {name} of a training must be a whole number above zero, not {value!r}.")
        for name in _NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"the {name} of a training cannot be {getattr(self, name)!r}: it is zero or more.")
        for name in ("momentum", "label_smoothing"):
            if getattr(self, name) >= 1:
                raise UsageError(f"the {name} of a training must be below 1, not {getattr(self, name)!r}.")
        if not 0 < self.norm_momentum <= 1:
            raise UsageError(
                f"the norm_momentum of a training must be above 0 and at most 1, not {self.norm_momentum!r}."
            )
        for name, least in (("smaller_side", 0.1), ("smaller_epochs", 0.0), ("epoch_share", 1e-6)):
            if not least <= getattr(self, name) <= 1:
                raise UsageError(f"the {name} of a training must be from {least:g} to 1, not {getattr(self, name)!r}.")
        if self.sparsity:
            sparsity_of(self.sparsity)
        if self.bits:
            bits_of(self.bits)
            if self.sparsity or self.optimizer == "muon":
                raise UsageError("a training on few bits is by SGD or AdamW, and without sparsity.")
        for name, options in OPTIONS.items():
            value = getattr(self, name)
            if value not in options:
                raise UsageError(f"there is no {name} '{value}': use {', '.join(options[:-1])} or {options[-1]}.")

    @classmethod
    def default(cls, task: Task, epochs: int) -> Recipe:
        """The recipe `default` for a task."""
        return cls.named("default", task, epochs)

    @classmethod
    def named(cls, name: str, task: Task, epochs: int) -> Recipe:
        """A registered recipe for a task. Raises `UsageError` for an unknown name, with the nearest known one."""
        recipe: Recipe = registry.factory("recipe", name)(task, epochs)
        return recipe

    def side(self, epoch: int, smallest: float) -> float:
        """The side of images in an epoch, counted from 0, as a share of their own, where `smallest` is the first."""
        smaller = self.smaller_epochs * self.epochs
        return smallest + (1 - smallest) * epoch / smaller if epoch < smaller else 1.0

    def work(self, epochs: int, smallest: float) -> float:
        """What the first epochs take, in epochs of images of full size, where `smallest` is the first side.

        >>> Recipe(10, smaller_epochs=0.5).work(10, 1.0)
        10.0
        """
        sides = (self.side(epoch, smallest) for epoch in range(epochs))
        return sum(1.0 if side == 1 else WHATEVER_SIZE + (1 - WHATEVER_SIZE) * side**2 for side in sides)

    def rate(self, step: float, steps_per_epoch: int) -> float:
        """The learning rate of a step, counted from 0."""
        total = self.epochs * steps_per_epoch
        warmup = min(self.warmup_epochs * steps_per_epoch, total / 2)
        if step + 1 < warmup:
            return self.learning_rate * (step + 1) / warmup
        along = (step + 1 - warmup) / (total + 1 - warmup)
        left = 0.5 * (1 + math.cos(math.pi * along)) if self.schedule == "cosine" else 1 - along
        return self.learning_rate * left


def sparsity_of(text: str) -> tuple[int, int]:
    """N and M of `N:M`. Raises `UsageError` where it is none, or N is not below M.

    >>> sparsity_of("2:4")
    (2, 4)
    """
    match = _PATTERN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise UsageError(f"'{text}' is no sparsity: write N:M, as 2:4 for two weights of every four.")
    n, m = int(match.group(1)), int(match.group(2))
    if not 1 <= n < m:
        raise UsageError(f"sparsity {text} keeps {n} of every {m} weights: N must be at least 1 and below M.")
    return n, m


def bits_of(text: str) -> tuple[int, int]:
    """Bits of weights and activations. Raises `UsageError`.

    >>> bits_of("w4a8")
    (4, 8)
    """
    match = _BITS.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise UsageError(f"'{text}' are no bits of weights and activations: write w4a8, each from 2 to 8.")
    return int(match.group(1)), int(match.group(2))


def default_epochs(task: Task) -> int:
    """What full training means for a task, in epochs: fewer for more examples."""
    return 30 if len(task.train) < 20_000 else 20


def full_epochs(task: Task) -> int:
    """Epochs of a full training of a task: fewer for more examples."""
    return round(min(MOST, max(FEWEST, PASSES / max(1, len(task.train)))))
