"""Real training: the dearest estimator, and the one that the others are judged by."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.estimator import Estimator, Setting
from archscout.core.registry import register
from archscout.core.seeds import derive
from archscout.core.trial import Estimate
from archscout.networks.pick import build
from archscout.training import checkpoint
from archscout.training.trainer import Recipe, default_epochs, train


@register("estimator", "trained")
class Trained(Estimator):
    """Real training for so many epochs (the fidelity): the validation metric of the best of them.

    Args:
        epochs: for how long where no fidelity is asked for; full training for the task where None.

    With `setting.folder`, an interrupted training continues to what it would have come to, and the weights of a
    finished one are kept as `weights_file` says; asked again, it answers from there.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"inputs", "targets", "gradients", "training"})

    def __init__(self, epochs: int | None = None) -> None:
        self.name = "trained"
        self.epochs = None if epochs is None else _check(epochs)

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        wished = self.epochs if fidelity is None else _check(fidelity)
        epochs = default_epochs(setting.task) if wished is None else wished
        return [self._estimate(architecture, setting, epochs) for architecture in architectures]

    def _estimate(self, architecture: Architecture, setting: Setting, epochs: int) -> Estimate:
        canonical = setting.space.canonical(architecture)
        # Equal networks start from the same weights and see the same batches, however their architecture is written.
        seed = derive(setting.seed, "trained", canonical)
        recipe = Recipe.default(setting.task, epochs)
        made_by = {"recipe": dataclasses.asdict(recipe), "seed": seed, "task": setting.task.digest}
        file = None if setting.folder is None else weights_file(setting.folder, canonical, epochs)
        if file is not None and (kept := checkpoint.read(file)) is not None and kept[1].get("made_by") == made_by:
            return _result(kept[1]["outcome"])
        network = build(setting.space, architecture, setting.task, seed=seed, device=setting.device)
        under_way = None if file is None else file.with_suffix("")
        outcome = dataclasses.asdict(
            train(network, setting.task, recipe, seed=seed, device=setting.device, folder=under_way)
        )
        if file is not None and under_way is not None:
            checkpoint.write(file, network.state_dict(), {"made_by": made_by, "outcome": outcome})
            shutil.rmtree(under_way, ignore_errors=True)
        return _result(outcome)


def weights_file(folder: Path, canonical: str, epochs: int) -> Path:
    """Where the weights of a finished training lie: the best epoch's, under the names of the stand-alone network."""
    return folder / f"{hashlib.sha256(canonical.encode()).hexdigest()[:16]}-e{epochs}.safetensors"


def _result(outcome: dict[str, Any]) -> Estimate:
    value, reason = outcome["valid_metric"], outcome["reason"]
    return Estimate(
        value=value,
        seconds=outcome["seconds"],
        curve=tuple(outcome["curve"]),
        extra={"best_epoch": outcome["best_epoch"]} | ({"diverged": reason} if outcome["diverged"] else {}),
        reason=f"the training diverged: {reason}." if math.isnan(value) else "",
    )


def _check(epochs: int) -> int:
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise UsageError(f"estimator 'trained' trains for a whole number of epochs above zero, not {epochs!r}.")
    return epochs
