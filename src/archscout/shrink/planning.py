"""How a backbone is transferred in a given time: the size of images, the parts that are trained, the copies kept.

What a step of each part takes is timed; which plan promises the least error follows from a rule of thumb.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from archscout.backbones.base import Backbone, available
from archscout.core.task import Task
from archscout.deploy.form import form
from archscout.training.quick import quick_convolutions
from archscout.training.speed import Mode, choose

BATCH = 32
MOST_PASSES = 60
"""Over the training examples."""

SIZES = (48, 64, 80, 96, 112, 128, 160, 192, 224)
"""Heights and widths that a backbone may get its images at."""

ENLARGED = 5
"""Times their own size that images become at most."""

COPIES = (2, 4, 8)
"""Of each image, whose features are kept."""

MOST_PROBED = 5000
"""Training images that a head is fitted to before fine-tuning sees all of them: more of them take long and teach the
head less than the same time of fine-tuning does."""

MOST_KEPT = 2**30
"""Bytes of features."""

FEW = 3000
"""Training images of which the rule of thumb counts passes; of more, a pass counts as so many times the steps."""

TIMED = 96
"""The size at which parts are timed."""

_MACS_PER_SECOND = 1.6e10
"""Multiply-adds a second of a backbone's forward pass on one core, where nothing has been timed; three times these are
what a step of training takes."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class Pace:
    """What each part of a backbone takes, in seconds an image: a forward pass, a step of training; and what it gives.

    Args:
        size: height and width of the images.
        forward: of each part.
        training: of each part, forward and backward.
        features: numbers that it gives for an image.
        mode: in which number format and layout.
    """

    size: int
    forward: tuple[float, ...]
    training: tuple[float, ...]
    features: tuple[float, ...]
    mode: Mode

    def at(self, size: int) -> Pace:
        """The same for images of another size: as many times as it has pixels."""
        times = (size / self.size) ** 2
        forward, training, features = (
            tuple(times * value for value in row) for row in (self.forward, self.training, self.features)
        )
        return Pace(size, forward, training, features, self.mode)

    def notes(self) -> dict[str, Any]:
        """As JSON."""
        return {**dataclasses.asdict(self), "mode": self.mode.notes()}

    @staticmethod
    def read(notes: Mapping[str, Any]) -> Pace:
        """From what `notes` gave."""
        forward, training, features = (tuple(notes[name]) for name in ("forward", "training", "features"))
        return Pace(notes["size"], forward, training, features, Mode(**notes["mode"]))


@dataclass(frozen=True)
class TransferPlan:
    """How a backbone is transferred.

    Args:
        size: height and width that images are resized to.
        start: the first part that is trained; what comes before it stays as it is. 0 trains all.
        copies: of each image whose features are kept; 0 where none are: the whole network runs on images that are
            changed anew each time.
        passes: over the training examples that are expected to fit.
        probe: seconds until the head is fitted.
        error: expected, as a share of that of a fitted head at 96 pixels: for comparing plans alone.
    """

    size: int
    start: int
    copies: int
    passes: float
    probe: float
    error: float


def pace_of(backbone: Backbone, clock: Clock, size: int = TIMED) -> Pace:
    """Time the parts of a backbone on a batch, in the faster number format."""
    network = form(backbone.structure(), (3, size, size), checked=False).requires_grad_(True).train()
    x = torch.rand(BATCH, 3, size, size)
    with quick_convolutions():
        mode = choose(
            network, x, lambda network, x: network(x).float().square().mean(), steps=1000, layout="channels_last"
        )
        network.to(memory_format=mode.memory_format)  # type: ignore[call-overload]
        x = x.contiguous(memory_format=mode.memory_format)
        rows: list[tuple[float, float, float]] = []
        for number, part in enumerate(backbone.parts(network)):
            forward = training = math.inf
            for _ in range(2):
                given = x.detach().requires_grad_(number > 0)
                marks = [clock()]
                with torch.no_grad(), mode.autocast("cpu"):
                    part(given)
                marks.append(clock())
                with mode.autocast("cpu"):
                    y = part(given)
                y.float().sum().backward()
                marks.append(clock())
                forward, training = min(forward, marks[1] - marks[0]), min(training, marks[2] - marks[1])
            rows.append((forward / BATCH, training / BATCH, y.numel() / BATCH))
            x = y.detach()
    forwards, trainings, features = (tuple(column) for column in zip(*rows, strict=True))
    return Pace(size, forwards, trainings, features, mode)


def smallest_side(task: Task) -> int:
    """The smallest images that a backbone gets for the sake of a limit: twice as large as the task's own, `TIMED` at
    most."""
    return min(2 * max(task.input_shape[1:]), TIMED)


def assumed_pace(size: int = TIMED) -> Pace:
    """Where nothing has been timed: of a backbone of 0.39 G multiply-adds at 224 pixels that is one part."""
    forward = 0.39e9 * (size / 224) ** 2 / _MACS_PER_SECOND
    return Pace(size, (forward,), (4 * forward,), (0.0,), Mode("float32", "channels_last"))


def plan_transfer(task: Task, seconds: float, pace: Pace, sizes: Iterable[int] = SIZES) -> TransferPlan:
    """The size of images and the parts to train that promise least error in a time.

    Args:
        task: of whose images and validation images there are so many.
        seconds: for everything until the network is tested.
        pace: what parts take.
        sizes: to choose from; images are enlarged to `ENLARGED` times their own size at most.
    """
    most = ENLARGED * max(task.input_shape[1:])
    sizes = sorted(sizes)
    allowed = [size for size in sizes if size <= most] or sizes[:1]
    plans = [plan for size in allowed for plan in _plans(task, seconds, pace.at(size))]
    return min(plans, key=lambda plan: (plan.probe > seconds, plan.error if plan.probe <= seconds else plan.probe))


def _plans(task: Task, seconds: float, pace: Pace) -> list[TransferPlan]:
    count, held = len(task.train), len(task.valid)
    whole = sum(pace.forward)
    probed = min(count, MOST_PROBED)
    fit = 5 + 2e-3 * probed
    plans = []
    for start in range(len(pace.forward)):
        before = sum(pace.forward[:start])
        step = sum(pace.training[start:])
        for copies in (0, *COPIES) if start else (0,):
            if copies * count * 2 * (pace.features[start - 1] if start else 0) > MOST_KEPT:
                continue
            after = 2 * (whole - before)
            probe = (
                (count * (copies * before + after) if copies else probed * (2 * before + after)) + held * whole + fit
            )
            each = count * (1.1 * step + (0.0 if copies else before)) + held * whole
            passes = min(MOST_PASSES, max(0.0, seconds - probe) / max(1e-9, each))
            frozen = start / len(pace.forward)
            error = expected_error(task, pace.size, frozen, passes, copies or math.inf)
            plans.append(TransferPlan(pace.size, start, copies, passes, probe, error))
    return plans


def expected_error(task: Task, size: int, frozen: float = 0.0, passes: float = 0.0, copies: float = math.inf) -> float:
    """Expected error, as a share of that of a fitted head at 96 pixels: a rule of thumb, fitted by hand to few runs.

    Larger images tell more, beyond three times their own size less so; the longer the training and the more of the
    network is trained, the less of the head's error is left; and copies that are seen over and over teach less. A pass
    over many images teaches as much as several over few.
    """
    own = 3 * max(task.input_shape[1:])
    head = (96 / min(size, own)) ** 1.4 * (own / max(size, own)) ** 0.4
    fresh = min(passes, 4 * copies)
    if math.isfinite(copies):
        fresh += 0.3 * (passes - fresh)
    fresh *= max(1.0, len(task.train) / FEW)
    left = 0.42 + 0.5 * frozen**2
    trained = left + (1 - left) / (1 + fresh / 2) if fresh >= 1 else 1.0
    return float(head * trained)


@dataclass(frozen=True)
class Outlook:
    """What transfer can be expected to give in so many seconds: a backbone, its image size, passes of fine-tuning."""

    backbone: str
    size: int
    epochs: float
    seconds: float
    """What the probe alone takes; with less, there is no result."""

    @property
    def worth(self) -> bool:
        """Whether the probe and one pass are paid for."""
        return self.epochs >= 1


def outlook(task: Task, seconds: float) -> Outlook | None:
    """Whether a backbone is installed that takes a task's images, and what it reaches in so many seconds of one core.

    None where there is none, or where the inputs are no images.
    """
    names = available()
    if not names or len(task.input_shape) != 3 or task.input_shape[0] not in (1, 3) or not hasattr(task, "mean"):
        return None
    plan = plan_transfer(task, seconds, assumed_pace())
    return Outlook(names[0], plan.size, plan.passes, plan.probe)
