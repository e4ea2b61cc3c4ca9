"""Full trainings that pause after some epochs, and are continued from there: what bandits over rungs are made of."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from archscout.core.architecture import Architecture
from archscout.core.digest import digest
from archscout.core.errors import UsageError
from archscout.core.estimator import PAUSED, Estimator, Setting
from archscout.core.registry import register
from archscout.core.seeds import derive
from archscout.core.trial import Estimate
from archscout.estimators.curves.base import full, keep_weights


@register("estimator", "paused")
class Paused(Estimator):
    """The first epochs of full training, which a longer look continues: the best validation metric so far.

    The fidelity says after how many epochs the training pauses. Unlike a training of so many epochs (`trained`), its
    learning rate is that of the full one, and with `setting.folder` nothing is trained twice: `seconds` are those since
    the last pause. What was trained to the end has its weights kept as a real training has.

    Args:
        epochs: of the full training; the default of the task if None.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"inputs", "targets", "gradients", "training"})

    def __init__(self, epochs: int | None = None) -> None:
        if epochs is not None and epochs < 1:
            raise UsageError(f"estimator 'paused' trains for one epoch or more, not {epochs}.")
        self.name = PAUSED
        self.epochs = epochs

    def together(self, architectures: Sequence[Architecture], setting: Setting) -> int:
        return 1

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        final = self.epochs or full(setting)
        pause = final if fidelity is None else min(fidelity, final)
        if pause < 1:
            raise UsageError(f"a training pauses after one epoch or more, not after {pause}.")
        return [self._one(architecture, setting, pause, final) for architecture in architectures]

    def _one(self, architecture: Architecture, setting: Setting, pause: int, final: int) -> Estimate:
        from archscout.estimators.trained import file_name
        from archscout.networks.pick import build
        from archscout.training import checkpoint
        from archscout.training.asked import recipe_for
        from archscout.training.course import CHECKPOINT
        from archscout.training.trainer import train

        canonical = setting.space.canonical(architecture)
        seed = derive(setting.seed, "trained", canonical)
        recipe = recipe_for(setting.task, final)
        file = file_name(setting, canonical, recipe, seed)
        extra: dict[str, Any] = {}
        finished = None if setting.folder is None else checkpoint.read(setting.folder / file)
        if finished is not None:
            extra["weights"] = file if pause == final else None
            return self._estimate(finished[1]["outcome"]["curve"], setting, pause, 0.0, extra)
        folder = None if setting.folder is None else setting.folder / digest("paused", file)
        before = None if folder is None else checkpoint.read(folder / CHECKPOINT)
        known, spent = (before[1]["curves"][0], before[1]["seconds"]) if before else ((), 0.0)
        if len(known) >= pause and pause < final:
            return self._estimate(known, setting, pause, 0.0, extra)
        network = build(setting.space, architecture, setting.task, seed=seed, device=setting.device)
        outcome = train(
            network, setting.task, recipe, seed=seed, device=setting.device, folder=folder,
            on_epoch=lambda row: row["epoch"] >= pause,
        )  # fmt: skip
        if setting.folder is not None and len(outcome.curve) == final and outcome.best_epoch:
            extra["weights"] = keep_weights(setting, file, network, outcome)
            shutil.rmtree(setting.folder / digest("paused", file), ignore_errors=True)
        reason = f"the training diverged: {outcome.reason}." if outcome.diverged else ""
        return self._estimate(outcome.curve, setting, pause, outcome.seconds - spent, extra, reason)

    def _estimate(
        self,
        rows: Sequence[Mapping[str, float]],
        setting: Setting,
        pause: int,
        seconds: float,
        extra: Mapping[str, Any],
        reason: str = "",
    ) -> Estimate:
        metric, curve = setting.task.metric, tuple(rows[:pause])
        # What diverged before it was to pause has no value there, as a training that diverged has none.
        whole = len(curve) == pause
        value = max((metric.oriented(row[f"valid_{metric}"]) for row in curve), default=math.nan) if whole else math.nan
        known = {key: item for key, item in extra.items() if item is not None}
        return Estimate(value, seconds=seconds, curve=curve, reason=reason if not whole else "", extra=known)
