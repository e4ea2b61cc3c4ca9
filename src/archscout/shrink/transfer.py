"""A backbone on a task: a new head on features that are computed once, then fine-tuning for the time there is.

Where that pays, the first parts of the backbone stay as they are: what they give for each image, and for some changed
copies of it, is computed once and kept, and the rest is trained on it (`archscout.shrink.kept`). How large images
are and how much is trained follows from the time there is and from what a step of each part is timed to take.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from archscout.backbones.adapted import Adapted
from archscout.backbones.base import Backbone, available
from archscout.core.files import write_text
from archscout.core.task import Split, Task
from archscout.deploy.form import form
from archscout.shrink.kept import KeptFeatures
from archscout.training import checkpoint
from archscout.training.contexts import evaluation
from archscout.training.objective import Distillation, Objective, Teacher
from archscout.training.quick import quick_convolutions
from archscout.training.recipe import Recipe
from archscout.training.speed import Mode, choose
from archscout.training.trainer import Outcome, train

BATCH = 32
MOST_PASSES = 60
"""Over the training examples."""

PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1)
"""Inverse strengths of the logistic regression's penalty, on features of unit variance."""

SIZES = (48, 64, 80, 96, 112, 128, 160, 192, 224)
"""Heights and widths that a backbone may get its images at."""

COPIES = (2, 4, 8)
"""Of each image, whose features are kept."""

MOST_KEPT = 2**30
"""Bytes of features."""

TIMED = 96
"""The size at which parts are timed."""

CHOSEN = 1000
"""Validation examples that tell the best epoch; with fewer, chance would choose, and the last one is taken."""

_LATE = 1.05
_MACS_PER_SECOND = 1.6e10
"""Multiply-adds a second of a backbone's forward pass on one core, where nothing has been timed; three times these are
what a step of training takes."""

Clock = Callable[[], float]


# -- what can be reached --------------------------------------------------------------------------------------------


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


@dataclass(frozen=True)
class TransferPlan:
    """How a backbone is transferred.

    Args:
        size: height and width that images are resized to.
        start: the first part that is trained; what comes before it stays as it is. 0 trains all.
        copies: of each image whose features are kept; 0 where all is trained.
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
        sizes: to choose from; images are enlarged to four times their own size at most.
    """
    most = 4 * max(task.input_shape[1:])
    sizes = sorted(sizes)
    allowed = [size for size in sizes if size <= most] or sizes[:1]
    plans = [plan for size in allowed for plan in _plans(task, seconds, pace.at(size))]
    return min(plans, key=lambda plan: (plan.probe > seconds, plan.error if plan.probe <= seconds else plan.probe))


def _plans(task: Task, seconds: float, pace: Pace) -> list[TransferPlan]:
    count, held = len(task.train), len(task.valid)
    whole = sum(pace.forward)
    fit = 5 + 2e-3 * count
    plans = []
    for start in range(len(pace.forward)):
        before = sum(pace.forward[:start])
        step = sum(pace.training[start:])
        for copies in COPIES if start else (0,):
            if copies * count * 2 * (pace.features[start - 1] if start else 0) > MOST_KEPT:
                continue
            probe = count * (copies * before + 2 * (whole - before)) + held * whole + fit
            passes = min(MOST_PASSES, max(0.0, seconds - probe) / max(1e-9, count * step * 1.1 + held * whole))
            frozen = start / len(pace.forward)
            error = expected_error(task, pace.size, frozen, passes, copies or math.inf)
            plans.append(TransferPlan(pace.size, start, copies, passes, probe, error))
    return plans


def expected_error(task: Task, size: int, frozen: float = 0.0, passes: float = 0.0, copies: float = math.inf) -> float:
    """Expected error, as a share of that of a fitted head at 96 pixels: a rule of thumb, fitted by hand to few runs.

    Larger images tell more, beyond three times their own size less so; the longer the training and the more of the
    network is trained, the less of the head's error is left; and copies that are seen over and over teach less.
    """
    own = 3 * max(task.input_shape[1:])
    head = (96 / min(size, own)) ** 1.4 * (own / max(size, own)) ** 0.5
    fresh = min(passes, 4 * copies)
    if math.isfinite(copies):
        fresh += 0.3 * (passes - fresh)
    left = 0.42 + 0.5 * frozen**2
    trained = left + (1 - left) / (1 + fresh / 2) if passes >= 1 else 1.0
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


# -- the head -------------------------------------------------------------------------------------------------------


def probe(network: Adapted, head: str, task: Task, *, mode: Mode | None = None, device: str = "cpu") -> float:
    """Fit the head by logistic regression on features of the training images (mirrored ones too, where these may be).

    The strength of the penalty is chosen by the validation split; the head gets the weights in place.

    Returns:
        The accuracy on the validation split.
    """
    x, y = task.tensors(task.train, device)
    parts = [x, x.flip(3)] if getattr(task, "flip", False) else [x]
    mode = mode or Mode("float32", "channels_last")
    layer = network.network.get_submodule(head)
    features = torch.cat([_features(network, layer, part, mode) for part in parts])
    valid_x, valid_y = task.tensors(task.valid, device)
    return fit_head(layer, features, torch.cat([y] * len(parts)), _features(network, layer, valid_x, mode), valid_y)


def probe_kept(rest: nn.Module, layer: nn.Module, kept: KeptFeatures, *, mode: Mode, device: str = "cpu") -> float:
    """The same on features that are kept, of images as they are and mirrored: those of the first two copies."""
    x, y = kept.tensors(kept.first(min(2, kept.copies)).train, device)
    valid_x, valid_y = kept.tensors(kept.valid, device)
    return fit_head(layer, _features(rest, layer, x, mode), y, _features(rest, layer, valid_x, mode), valid_y)


def fit_head(layer: nn.Module, features: Tensor, targets: Tensor, valid: Tensor, valid_targets: Tensor) -> float:
    """A linear layer as the logistic regression of features (N x F), its penalty chosen by the loss on others.

    Returns:
        The accuracy on these others; NaN where there are none.
    """
    from sklearn.linear_model import LogisticRegression

    mean, std = features.mean(0), features.std(0).clamp(min=1e-3)
    x, others = ((features - mean) / std).numpy(), ((valid - mean) / std).numpy()
    y, other_y = targets.cpu().numpy(), valid_targets.cpu().numpy()
    least, fitted = math.inf, None
    for penalty in PENALTIES if len(others) else PENALTIES[1:2]:
        model = _fit(LogisticRegression(C=penalty, max_iter=100), x, y)
        loss = _log_loss(model, others, other_y) if len(others) else 0.0
        if fitted is not None and loss >= least:
            break
        least, fitted = loss, model
    assert fitted is not None
    rows = torch.as_tensor(fitted.classes_)
    coefficients, intercepts = fitted.coef_, fitted.intercept_
    if len(rows) == 2:  # scikit-learn keeps one row for two classes
        coefficients, intercepts = np.stack([-coefficients[0], coefficients[0]]) / 2, np.array([-1, 1]) * intercepts / 2
    weight = torch.zeros_like(layer.weight, device="cpu")  # type: ignore[arg-type]
    bias = torch.full((len(weight),), -10.0)  # a class that no training image has
    weight[rows] = torch.as_tensor(coefficients, dtype=torch.float32) / std
    bias[rows] = torch.as_tensor(intercepts, dtype=torch.float32)
    with torch.no_grad():
        layer.weight.copy_(weight)  # type: ignore[operator]
        layer.bias.copy_(bias - weight @ mean)  # type: ignore[operator]
    return float((fitted.predict(others) == other_y).mean()) if len(others) else math.nan


def _fit(model: Any, x: np.ndarray, y: np.ndarray) -> Any:
    import warnings

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # that it has not converged: more iterations change no answer
        return model.fit(x, y)


def _log_loss(model: Any, x: np.ndarray, y: np.ndarray) -> float:
    """Mean over the examples; one whose class was not learned counts as a probability of a thousandth."""
    probabilities = model.predict_proba(x)
    places = {label: place for place, label in enumerate(model.classes_.tolist())}
    likely = [row[places[label]] if label in places else 0.0 for row, label in zip(probabilities, y, strict=True)]
    return float(-np.log(np.maximum(likely, 1e-3)).mean())


def _features(network: nn.Module, layer: nn.Module, x: Tensor, mode: Mode) -> Tensor:
    """What a layer is given, of every input."""
    kept: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].detach().float().cpu()))
    network.to(memory_format=mode.memory_format)  # type: ignore[call-overload]
    try:
        with evaluation(network):
            for batch in torch.split(x, 2 * BATCH):
                with mode.autocast(x.device.type):
                    network(batch.contiguous(memory_format=mode.memory_format))
    finally:
        handle.remove()
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return torch.cat(kept) if kept else torch.zeros(0, int(layer.in_features))  # type: ignore[arg-type]


# -- fine-tuning ----------------------------------------------------------------------------------------------------


def fine_tune(
    network: nn.Module,
    task: Task,
    seconds: float,
    *,
    seed: int,
    clock: Clock,
    learning_rate: float = 5e-4,
    teacher: nn.Module | None = None,
    labels: bool = True,
    least: int = 1,
    mode: Mode | None = None,
    folder: Path | None = None,
    device: str = "cpu",
    on_epoch: Callable[[dict[str, float]], bool | None] | None = None,
) -> Outcome:
    """Train on for the epochs that fit into a time (AdamW, cosine, shifts and flips), in place.

    The best epoch is kept where enough validation examples tell it (`CHOSEN`), otherwise the last. A training that
    turns out too slow ends with a shorter schedule from where it is.

    Args:
        network: with trained weights; batch normalisation that is folded stays as it was.
        task: what it is trained for; of kept features, as many copies are used as let several epochs fit.
        seconds: how long, by `clock`.
        seed: of batches and augmentation.
        clock: tells the time in seconds.
        learning_rate: the highest.
        teacher: whose answers it learns as well.
        labels: whether the task's own loss counts too (without a teacher it must).
        least: epochs, whether they fit or not.
        mode: number format and layout, where they were timed before.
        folder: where a checkpoint is kept, and how many epochs were planned.
        device: where.
        on_epoch: called with each row of the curve; the training stops where it returns True.
    """
    gentle = dataclasses.replace(task, cutout=0) if getattr(task, "cutout", 0) else task  # type: ignore[call-arg]
    began = clock()
    objective = None
    if teacher is not None:
        temperature = 2.0 if task.outputs > 1 else None
        objective = Objective(
            Distillation(Teacher(teacher), temperature=temperature), task_weight=1.0 if labels else 0.0
        )
    with quick_convolutions():
        plan = _recall(folder, "plan")
        if plan is None:
            plan = _planned(network, gentle, seconds, clock, teacher, device, least, mode)
            _remember(folder, "plan", plan)
        if isinstance(gentle, KeptFeatures):
            gentle = gentle.first(plan["copies"])
        recipe = Recipe(
            max(1, plan["epochs"]),
            BATCH,
            optimizer="adamw",
            learning_rate=learning_rate,
            weight_decay=0.05,
            warmup_epochs=min(0.3, plan["epochs"] / 4),
            label_smoothing=0.1,
            gradient_clip=5.0,
            norm_momentum=0.1,
            layout=plan["layout"],
            precision=plan["precision"],
        )
        if not plan["epochs"]:
            return Outcome((), 0, math.nan, 0.0)
        training = _Training(network, gentle, seed, device, objective, on_epoch)
        return training.paced(recipe, began + seconds, clock, folder)


def _planned(
    network: nn.Module,
    task: Task,
    seconds: float,
    clock: Clock,
    teacher: nn.Module | None,
    device: str,
    least: int,
    mode: Mode | None,
) -> dict[str, Any]:
    """Number format and layout, how many epochs fit, and how many copies each of them has."""
    began = clock()
    x, y = task.tensors(task.train.head(BATCH), device)
    x, y = x[:BATCH].clone(), y[:BATCH]
    network.to(device)
    steps = max(60, len(task.train) // BATCH)
    mode = mode or choose(network, x, lambda network, x: task.loss(network(x), y[: len(x)]), steps=steps)
    took = _pass_seconds(network, task, mode, clock, teacher, device)
    passes = max(float(least), min(MOST_PASSES, (seconds - (clock() - began)) / took))
    copies, epochs = 1, int(passes)
    if isinstance(task, KeptFeatures):
        # Fewer copies where whole epochs of them would leave much of the time unused.
        options = [(n, int(passes / n)) for n in range(1, task.copies + 1) if int(passes / n)]
        copies, epochs = max(options, key=lambda option: option[0] ** 0.15 * option[0] * option[1], default=(1, 0))
    return {"epochs": epochs, "copies": copies, "precision": mode.precision, "layout": mode.layout}


def _pass_seconds(
    network: nn.Module, task: Task, mode: Mode, clock: Clock, teacher: nn.Module | None, device: str
) -> float:
    """What a pass over the examples and the validation after it take, by two steps."""
    x, y = task.tensors(task.train.head(BATCH), device)
    x, y = x[:BATCH].contiguous(memory_format=mode.memory_format), y[:BATCH]
    training = network.training
    network.to(memory_format=mode.memory_format)  # type: ignore[call-overload]
    network.train()
    times = []
    for _ in range(3):
        start = clock()
        with mode.autocast(device):
            loss = task.loss(network(x), y)
        loss.backward()
        if teacher is not None:
            with torch.no_grad(), mode.autocast(device):
                teacher(x)
        times.append(clock() - start)
    network.eval()
    with torch.no_grad(), mode.autocast(device):
        start = clock()
        network(x)
        forward = clock() - start
    network.zero_grad(set_to_none=True)
    network.train(training)
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    count = len(task.train) // (task.copies if isinstance(task, KeptFeatures) else 1)
    return max(1e-6, (min(times[1:]) * 1.15 * count + forward * len(task.valid)) / len(x))


@dataclass(frozen=True)
class _Training:
    """What a training in one or two stretches has in common."""

    network: nn.Module
    task: Task
    seed: int
    device: str
    objective: Objective | None
    on_epoch: Callable[[dict[str, float]], bool | None] | None

    def paced(self, recipe: Recipe, end: float, clock: Clock, folder: Path | None) -> Outcome:
        """Train as planned; where that would overrun, end with a shorter schedule from where the training is."""
        marks: list[float] = [clock()]
        stopped: list[bool] = []

        def late(row: dict[str, float]) -> bool:
            marks.append(clock())
            if self.on_epoch is not None and self.on_epoch(row):
                stopped.append(True)
            left = recipe.epochs - row["epoch"]
            return bool(stopped) or (left > 0 and marks[-1] + left * _pace(marks) > marks[0] + _LATE * (end - marks[0]))

        shortened = _recall(folder, "shortened")
        file = None if folder is None else folder / "shortened.safetensors"
        if shortened is None:
            outcome = self.stretch(recipe, folder, late)
            done = len(outcome.curve)
            if stopped or outcome.diverged or not done or done >= recipe.epochs:
                return outcome
            epochs = int((end - clock()) / _pace(marks))
            if epochs < 1:
                return outcome
            rate = max(0.02, recipe.rate(done, 1) / recipe.learning_rate) * recipe.learning_rate
            shortened = {"epochs": epochs, "rate": rate, "curve": list(outcome.curve), "seconds": outcome.seconds}
            if file is not None:
                checkpoint.write(file, self.network.state_dict(), {})
            _remember(folder, "shortened", shortened)
        elif file is not None and (kept := checkpoint.read(file, self.device)) is not None:
            self.network.load_state_dict(kept[0])
        before = shortened["curve"]
        rest = dataclasses.replace(
            recipe, epochs=shortened["epochs"], warmup_epochs=0.0, learning_rate=shortened["rate"]
        )
        ending = self.stretch(rest, None if folder is None else folder / "shortened", self.on_epoch)
        rows = [{**row, "epoch": row["epoch"] + len(before)} for row in ending.curve]
        return dataclasses.replace(ending, curve=(*before, *rows), seconds=shortened["seconds"] + ending.seconds)

    def stretch(
        self, recipe: Recipe, folder: Path | None, on_epoch: Callable[[dict[str, float]], bool | None] | None
    ) -> Outcome:
        task, measured = self.task, dict[str, Split]()
        by_last = len(task.valid) < CHOSEN
        if by_last:
            measured = {"held": task.valid} if len(task.valid) else {}
            task = dataclasses.replace(task, valid=Split(task.valid.x[:0], task.valid.y[:0]))
            recipe = dataclasses.replace(recipe, fit_on="train+valid")
        metric = str(task.metric)

        def renamed(row: dict[str, float]) -> dict[str, float]:
            return {name.replace("held_", "valid_"): value for name, value in row.items()}

        outcome = train(
            self.network, task, recipe, seed=self.seed, device=self.device, folder=folder,
            on_epoch=None if on_epoch is None else lambda row: on_epoch(renamed(row)),
            objective=self.objective, measured=measured,
        )  # fmt: skip
        if not by_last:
            return outcome
        curve = tuple(renamed(row) for row in outcome.curve)
        best = curve[outcome.best_epoch - 1].get(f"valid_{metric}", math.nan) if outcome.best_epoch else math.nan
        return dataclasses.replace(outcome, curve=curve, valid_metric=best)


def _pace(marks: Sequence[float]) -> float:
    """Seconds an epoch, of the last ones."""
    recent = marks[-4:]
    return (recent[-1] - recent[0]) / (len(recent) - 1)


def _recall(folder: Path | None, name: str) -> dict[str, Any] | None:
    file = None if folder is None else folder / f"{name}.json"
    found: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file and file.is_file() else None
    return found


def _remember(folder: Path | None, name: str, value: dict[str, Any]) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{name}.json", json.dumps(value))
