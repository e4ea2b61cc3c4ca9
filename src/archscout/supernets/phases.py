"""The one loop of all systems with shared weights: phases of steps, each with a plan, an objective, a weight rule and,
where the architecture is learnt too, an update.

A training can be stopped anywhere and goes on from its checkpoint to exactly the same weights and distribution: batches
and random numbers are named by the number of the step, so that there is no state but tensors.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.seeds import derive
from archscout.supernets.batches import Batches
from archscout.supernets.distributions import Distribution
from archscout.supernets.plans import Plan, uniform
from archscout.supernets.step import Step
from archscout.supernets.supernet import Supernet
from archscout.supernets.terms import Mean, Objective
from archscout.supernets.updates import Update
from archscout.supernets.weights import WeightRule, everything
from archscout.training import checkpoint
from archscout.training.contexts import own_randomness
from archscout.training.optimizers import descend, optimizer_tensors, restore_optimizer, set_rate

Row = dict[str, Any]

RECORDS = 60
"""Rows of the history of a training, about."""

KEEP_SECONDS = 20.0
"""No more often than this is a checkpoint written."""


@dataclass(frozen=True)
class Phase:
    """A stretch of a training.

    Args:
        share: of the training's steps.
        plan: which paths run.
        objective: what weights are trained for.
        weights: which weights are trained.
        update: how the distribution learns; None where it rests.
        every: steps from one update to the next.
        rate: the learning rate of the weights at the beginning and at the end; a cosine in between.
        decay: weight decay in this phase; that of the settings where None.
        temperature: of relaxed samples at the beginning and at the end, changing linearly.
        convert: what becomes of the distribution when the phase begins (from factorised to joint, for instance).
        name: in reports.
    """

    share: float = 1.0
    plan: Plan = uniform
    objective: Objective = field(default_factory=Mean)
    weights: WeightRule = everything
    update: Update | None = None
    every: int = 1
    rate: tuple[float, float] = (0.05, 1e-3)
    decay: float | None = None
    temperature: tuple[float, float] = (1.0, 1.0)
    convert: Callable[[Distribution], Distribution] | None = None
    name: str = "search"


@dataclass(frozen=True)
class Settings:
    """How long and with what weights are trained: SGD with Nesterov momentum, gradients clipped to a norm.

    Args:
        steps: of all phases together.
        batch_size: of training and validation batches.
        momentum, weight_decay, clip: of SGD.
        augment: whether training batches are changed at random.
    """

    steps: int = 2000
    batch_size: int = 64
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip: float = 5.0
    augment: bool = True

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(
                    f"the {name} of a training with shared weights must be a whole number above zero, not {value!r}."
                )


@dataclass
class Trained:
    """What a training came to: the distribution (the weights are in the supernet), a row every so many steps, seconds.

    A row has `step`, `phase`, `loss` (mean since the last row), `entropy` (nats), `samples` (paths a step, mean),
    `paths` (so far), `probabilities` (by option, the mean over the choices that have it), `skips` (of the choices that
    could skip, the share that would by now) and what the update told.
    """

    distribution: Distribution
    history: list[Row]
    seconds: float


def fit(
    supernet: Supernet,
    distribution: Distribution,
    phases: Sequence[Phase],
    settings: Settings,
    *,
    seed: int,
    device: str = "cpu",
    file: Path | None = None,
    watch: Callable[[int, Row | None], None] | None = None,
) -> Trained:
    """Train a supernet, and the distribution with it, through all phases.

    Args:
        supernet: trained in place; it is moved to the device.
        distribution: where the first phase starts.
        phases: one after the other.
        settings: how long, and how weights are trained.
        seed: of batches, paths and dropout.
        device: where to train.
        file: where a checkpoint is kept, and from which an interrupted training goes on.
        watch: called after every step with its number, and with the row where one was recorded.

    Raises:
        UsageError: if the checkpoint is of another training, or the data are too few.
        ArchscoutError: if the loss or the distribution is no longer finite; the last checkpoint is left as it was.
    """
    training = _Training(supernet.to(device), distribution.to(device), phases, settings, seed, device)
    with own_randomness(device):
        if file is not None:
            training.restore(file)
        supernet.train()
        kept = time.monotonic()
        while training.number < settings.steps:
            row = training.advance()
            if watch is not None:
                watch(training.number, row)
            if file is not None and (training.number == settings.steps or time.monotonic() - kept >= KEEP_SECONDS):
                training.keep(file)
                kept = time.monotonic()
        # A checkpoint at the very end of a phase stands before the conversion of the next.
        return Trained(training.distribution, training.history, training.seconds)


class _Training:
    """A training under way."""

    def __init__(
        self,
        supernet: Supernet,
        distribution: Distribution,
        phases: Sequence[Phase],
        settings: Settings,
        seed: int,
        device: str,
    ) -> None:
        self.supernet, self.distribution, self.settings, self.seed = supernet, distribution, settings, seed
        self.phases = list(phases)
        self.ends = _ends([phase.share for phase in phases], settings.steps)
        task, size = supernet.task, settings.batch_size
        self.train = Batches(
            task, task.train, size, seed=seed, name="shared weights", device=device, augment=settings.augment
        )
        self.valid = Batches(task, task.valid, size, seed=seed, name="architectures", device=device)
        self.device = device
        self.number = 0
        self.phase = -1
        self.history: list[Row] = []
        self.paths = 0
        self.seconds = 0.0
        self.since: dict[str, list[float]] = {}
        self.optimizer: Optimizer
        self.arch_optimizer: Optimizer | None = None
        self.weights: list[nn.Parameter] = []

    def advance(self) -> Row | None:
        """One step; the row of the history where one is due."""
        began = time.perf_counter()
        self._enter()
        phase = self.phases[self.phase]
        first = self.ends[self.phase - 1] if self.phase else 0
        progress = (self.number - first) / max(1, self.ends[self.phase] - first)
        rate = phase.rate[1] + (phase.rate[0] - phase.rate[1]) * 0.5 * (1 + math.cos(math.pi * progress))
        set_rate(self.optimizer, rate)
        torch.default_generator.manual_seed(derive(self.seed, "supernet", self.number))
        step = Step(
            number=self.number,
            progress=progress,
            seed=self.seed,
            supernet=self.supernet,
            distribution=self.distribution,
            train=self.train[self.number],
            valid=self.valid[self.number],
            temperature=phase.temperature[0] + (phase.temperature[1] - phase.temperature[0]) * progress,
            weights=self.weights,
            optimizer=self.optimizer,
        )
        updating = phase.update is not None and self.number % phase.every == 0
        if updating:
            assert phase.update is not None and self.arch_optimizer is not None
            phase.update.begin(step, self.arch_optimizer)
        with torch.no_grad():
            step.jobs = phase.plan(step)
        row: dict[str, float] = {}
        if updating:
            assert phase.update is not None and self.arch_optimizer is not None
            row = phase.update(step, self.arch_optimizer)
            self._check_distribution()
        loss = self._move_weights(step, phase)
        self.number += 1
        self.paths += len(step.jobs)
        for name, value in {"loss": loss, "samples": float(len(step.jobs)), **row}.items():
            self.since.setdefault(name, []).append(value)
        self.seconds += time.perf_counter() - began
        return self._record(phase)

    def _move_weights(self, step: Step, phase: Phase) -> float:
        def gradients() -> float:
            loss = phase.objective(step)
            if not math.isfinite(loss):
                raise ArchscoutError(
                    f"the loss of the shared weights was {loss} in step {self.number + 1}: lower the learning rate, or "
                    "look at the inputs."
                )
            return loss

        clip = partial(nn.utils.clip_grad_norm_, self.weights, self.settings.clip) if self.settings.clip else None
        return descend(self.optimizer, gradients, clip)

    def _check_distribution(self) -> None:
        try:
            self.distribution.check()
        except ArithmeticError as error:
            raise ArchscoutError(
                f"{error} after step {self.number + 1}: lower the learning rate of the update."
            ) from error

    def _enter(self) -> None:
        """Begin the phase that this step belongs to, if it has not begun."""
        while self.phase < 0 or self.number >= self.ends[self.phase]:
            self.phase += 1
            phase = self.phases[self.phase]
            if phase.convert is not None:
                self.distribution = phase.convert(self.distribution)
            for parameter in self.supernet.parameters():
                parameter.requires_grad_(False)
            self.weights = phase.weights(self.supernet)
            if not self.weights:
                raise UsageError(
                    f"the supernet of space '{self.supernet.space.name}' has no weights of the kind that this method "
                    "trains: choose another method."
                )
            for parameter in self.weights:
                parameter.requires_grad_(True)
            self.optimizer = SGD(
                self.weights,
                lr=phase.rate[0],
                momentum=self.settings.momentum,
                weight_decay=self.settings.weight_decay if phase.decay is None else phase.decay,
                nesterov=self.settings.momentum > 0,
            )
            self.arch_optimizer = None if phase.update is None else phase.update.optimizer(self.distribution)

    def _record(self, phase: Phase) -> Row | None:
        every = max(1, self.settings.steps // RECORDS)
        if self.number % every and self.number != self.settings.steps:
            return None
        with torch.no_grad():
            row: Row = {
                "step": self.number,
                "phase": phase.name,
                "entropy": float(self.distribution.entropy()),
                "paths": self.paths,
                "probabilities": _by_option(self.distribution),
                "skips": skipping(self.supernet, self.distribution),
            }
        row |= {name: sum(values) / len(values) for name, values in self.since.items()}
        self.since = {}
        self.history.append(row)
        return row

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        space, settings = self.supernet.space, self.settings
        shapes = hashlib.sha256(
            repr([(name, tuple(tensor.shape)) for name, tensor in self.supernet.state_dict().items()]).encode()
        ).hexdigest()[:16]
        return {
            "space": space.name,
            "digest of the space": space.digest,
            "shapes": shapes,
            "task": self.supernet.task.digest,
            "seed": self.seed,
            "settings": [settings.steps, settings.batch_size, settings.momentum, settings.weight_decay, settings.clip],
            "phases": [[phase.name, phase.share, list(phase.rate), phase.decay] for phase in self.phases],
        }

    def keep(self, file: Path) -> None:
        tensors: dict[str, Tensor] = {f"supernet.{n}": t for n, t in self.supernet.state_dict().items()}
        tensors |= {f"distribution.{n}": t for n, t in self.distribution.state_dict().items()}
        for name, optimizer in (("weights", self.optimizer), ("architecture", self.arch_optimizer)):
            tensors |= {} if optimizer is None else optimizer_tensors(optimizer, name)
        notes = {
            **self._identity(), "number": self.number, "history": self.history, "paths": self.paths,
            "since": self.since, "seconds": self.seconds,
        }  # fmt: skip
        checkpoint.write(file, tensors, notes)

    def restore(self, file: Path) -> None:
        kept = checkpoint.read(file, self.device)
        if kept is None:
            return
        tensors, notes = kept
        for key, value in self._identity().items():
            if notes.get(key) != value:
                raise UsageError(
                    f"the checkpoint '{file}' is of another training (its {key} is {notes.get(key)!r}, not {value!r}): "
                    "delete it, or choose another folder."
                )
        last = notes["number"]
        # Phases are entered one by one, for each may convert the distribution; the last step done says which is on.
        self.number = 0
        while self.phase < 0 or last - 1 >= self.ends[self.phase]:
            self.number = 0 if self.phase < 0 else self.ends[self.phase]
            self._enter()
        self.number = last
        self.supernet.load_state_dict(checkpoint.part(tensors, "supernet"))
        self.distribution.load_state_dict(checkpoint.part(tensors, "distribution"))
        for name, optimizer in (("weights", self.optimizer), ("architecture", self.arch_optimizer)):
            state = checkpoint.part(tensors, name)
            if optimizer is not None and state:
                restore_optimizer(optimizer, state)
        self.history, self.paths, self.since = notes["history"], notes["paths"], notes["since"]
        self.seconds = notes["seconds"]


def skipping(supernet: Supernet, distribution: Distribution) -> float | None:
    """Of the choices that have a plain connection among their options, the share that prefers it; None without such.

    It is preferred where it is the most probable option, at twice an even chance or at three fifths.
    """
    able, preferring = 0, 0
    for name, places in supernet.mixed().items():
        p = distribution.marginals()[name].detach()
        modules = zip(places[0].keys, places[0].options.values(), strict=True)
        # A truth value that switches an extra on or off is no connection.
        plain = [i for i, (option, m) in enumerate(modules) if isinstance(m, nn.Identity) and isinstance(option, str)]
        if plain and len(p) > 1:
            able += 1
            preferring += int(int(p.argmax()) in plain and float(p.max()) > min(2 / len(p), 0.6))
    return preferring / able if able else None


def _by_option(distribution: Distribution) -> dict[str, float]:
    """By option, its mean probability over the choices that have it."""
    sums: dict[str, list[float]] = {}
    for choice, p in zip(distribution.space.choices, distribution.marginals().values(), strict=True):
        # Numbers mean something only together with what they count.
        kind = choice.name.rpartition(".")[2]
        for option, value in zip(choice.options, p.tolist(), strict=True):
            sums.setdefault(option if isinstance(option, str) else f"{kind} {option}", []).append(value)
    return {option: sum(values) / len(values) for option, values in sums.items()}


def _ends(shares: Sequence[float], steps: int) -> list[int]:
    """The step with which each phase ends."""
    if not shares or min(shares) <= 0:
        raise UsageError("each phase of a training needs a share of its steps above zero.")
    total, ends, done = sum(shares), [], 0.0
    for share in shares:
        done += share
        ends.append(round(steps * done / total))
    return ends
