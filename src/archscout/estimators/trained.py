"""Real training: the dearest estimator, and the one that the others are judged by."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.estimator import Estimator, Setting
from archscout.core.metric import Metric
from archscout.core.registry import register
from archscout.core.seeds import derive
from archscout.core.trial import Estimate
from archscout.networks.pick import build
from archscout.training import checkpoint
from archscout.training.batched import LEAST, stack_size, train_many
from archscout.training.trainer import Recipe, default_epochs

MOST = 16
"""Networks of one call: more would save little, and leave workers without a job."""


@register("estimator", "trained")
class Trained(Estimator):
    """Real training for so many epochs (the fidelity): the validation metric of the best of them.

    Args:
        epochs: for how long where no fidelity is asked for; full training for the task where None.

    With `setting.folder`, an interrupted training continues to what it would have come to, and the weights of a
    finished one are kept as `weights_file` says; asked again, it answers from there.

    Several architectures of one call are trained at once (`archscout.training.batched`), which takes a fraction of the
    time and comes to what each would come to alone, up to the rounding of sums.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"inputs", "targets", "gradients", "training"})

    def __init__(self, epochs: int | None = None) -> None:
        self.name = "trained"
        self.epochs = None if epochs is None else _check(epochs)

    def together(self, architectures: Sequence[Architecture], setting: Setting) -> int:
        """Of networks that can be laid side by side as many as that makes faster, 16 at most; of others one."""
        if len(architectures) < LEAST:
            return 1
        few = [build(setting.space, one, setting.task, device=setting.device) for one in architectures[:LEAST]]
        return min(MOST, stack_size(few, setting.task, Recipe.default(setting.task, self.epochs or 1)))

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        wished = self.epochs if fidelity is None else _check(fidelity)
        epochs = default_epochs(setting.task) if wished is None else wished
        recipe = Recipe.default(setting.task, epochs)
        by_form = {setting.space.canonical(architecture): architecture for architecture in architectures}
        made_by = {form: self._made_by(form, setting, recipe) for form in by_form}
        outcomes: dict[str, dict[str, Any]] = {}
        for form in by_form:
            file = None if setting.folder is None else weights_file(setting.folder, form, epochs)
            kept = None if file is None else checkpoint.read(file)
            if kept is not None and kept[1].get("made_by") == made_by[form]:
                outcomes[form] = kept[1]["outcome"]
        outcomes |= self._train({f: a for f, a in by_form.items() if f not in outcomes}, setting, recipe, made_by)
        metric = setting.task.metric
        return [_result(outcomes[setting.space.canonical(architecture)], metric) for architecture in architectures]

    def _made_by(self, canonical: str, setting: Setting, recipe: Recipe) -> dict[str, Any]:
        # Equal networks start from the same weights and see the same batches, however their architecture is written.
        seed = derive(setting.seed, "trained", canonical)
        return {"recipe": dataclasses.asdict(recipe), "seed": seed, "task": setting.task.digest}

    def _train(
        self,
        architectures: Mapping[str, Architecture],
        setting: Setting,
        recipe: Recipe,
        made_by: Mapping[str, dict[str, Any]],
    ) -> dict[str, dict[str, Any]]:
        """Train networks together; what each came to, by its canonical form."""
        if not architectures:
            return {}
        space, task, folder = setting.space, setting.task, setting.folder
        seeds = [made_by[form]["seed"] for form in architectures]
        networks = [
            build(space, architecture, task, seed=seed, device=setting.device)
            for architecture, seed in zip(architectures.values(), seeds, strict=True)
        ]
        under_way = None
        if folder is not None:
            under_way = weights_file(folder, "\n".join(architectures), recipe.epochs).with_suffix("")
        trained = train_many(networks, task, recipe, seeds=seeds, device=setting.device, folder=under_way)
        outcomes = dict(zip(architectures, map(dataclasses.asdict, trained), strict=True))
        if folder is not None and under_way is not None:
            for (form, outcome), network in zip(outcomes.items(), networks, strict=True):
                keep_weights(folder, form, recipe.epochs, network, made_by=made_by[form], outcome=outcome)
            shutil.rmtree(under_way, ignore_errors=True)
        return outcomes


def keep_weights(folder: Path, canonical: str, epochs: int, network: nn.Module, **notes: Any) -> None:
    """Write the weights of a finished training to where `weights_file` says."""
    checkpoint.write(weights_file(folder, canonical, epochs), network.state_dict(), notes)


def weights_file(folder: Path, canonical: str, epochs: int) -> Path:
    """Where the weights of a finished training lie: the best epoch's, under the names of the stand-alone network."""
    return folder / f"{hashlib.sha256(canonical.encode()).hexdigest()[:16]}-e{epochs}.safetensors"


def _result(outcome: dict[str, Any], metric: Metric) -> Estimate:
    value, reason = metric.oriented(outcome["valid_metric"]), outcome["reason"]
    return Estimate(
        value=value,
        seconds=outcome["seconds"],
        curve=tuple(outcome["curve"]),
        extra={"best_epoch": outcome["best_epoch"], **outcome["mode"]}
        | ({"diverged": reason} if outcome["diverged"] else {}),
        reason=f"the training diverged: {reason}." if math.isnan(value) else "",
    )


def _check(epochs: int) -> int:
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise UsageError(f"estimator 'trained' trains for a whole number of epochs above zero, not {epochs!r}.")
    return epochs
