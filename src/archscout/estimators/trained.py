"""Real training: the dearest estimator, and the one that the others are judged by."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from archscout.core.architecture import Architecture
from archscout.core.digest import digest
from archscout.core.errors import DataError, UsageError
from archscout.core.estimator import TRAINING, Estimator, Setting
from archscout.core.metric import Metric
from archscout.core.registry import factory, register
from archscout.core.seeds import derive
from archscout.core.trial import Estimate, Trial
from archscout.networks.pick import build
from archscout.training import checkpoint
from archscout.training.asked import DEFAULT, recipe_for
from archscout.training.batched import LEAST, stack_size, train_many
from archscout.training.trainer import Recipe, default_epochs, weights_digest

MOST = 16
"""Networks of one call: more would save little, and leave workers without a job."""


@register("estimator", "trained")
class Trained(Estimator):
    """Real training for so many epochs (the fidelity): the validation metric of the best of them.

    Args:
        epochs: for how long where no fidelity is asked for; full training for the task where None.
        recipe: the name of a registered recipe (`sgd`, `muon`, `finetune`, ...); `default` is what the task says
            (`Task.recipe`), and where it says nothing, the recipe of that name.
        start: a safetensors file with weights to start from; what of a network they do not fit starts from the seed.

    With `setting.folder`, an interrupted training continues to what it would have come to, and the weights of a
    finished one are kept: the estimate says in which file of the folder (`extra["weights"]`, see `weights_file`).
    Asked again, it answers from there.

    Several architectures of one call are trained at once (`archscout.training.batched`), which takes a fraction of the
    time and comes to what each would come to alone, up to the rounding of sums.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"inputs", "targets", "gradients", "training"})

    def __init__(self, epochs: int | None = None, recipe: str = DEFAULT, start: str | Path | None = None) -> None:
        self.name = TRAINING
        self.epochs = None if epochs is None else _check(epochs)
        factory("recipe", recipe)  # an unknown one is told of before anything is spent
        self.recipe = recipe
        self.start = None if start is None else Path(start)

    def together(self, architectures: Sequence[Architecture], setting: Setting) -> int:
        """Of networks that can be laid side by side as many as that makes faster, 16 at most; of others one."""
        if len(architectures) < LEAST:
            return 1
        few = [build(setting.space, one, setting.task, device=setting.device) for one in architectures[:LEAST]]
        return min(MOST, stack_size(few, setting.task, self._how(setting, self.epochs or 1)))

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        wished = self.epochs if fidelity is None else _check(fidelity)
        epochs = default_epochs(setting.task) if wished is None else wished
        recipe = self._how(setting, epochs)
        start = None if self.start is None else _start(self.start)
        by_form = {setting.space.canonical(architecture): architecture for architecture in architectures}
        # Equal networks start from the same weights and see the same batches, however their architecture is written.
        seeds = {form: derive(setting.seed, "trained", form) for form in by_form}
        files = {form: file_name(setting, form, recipe, seeds[form], start) for form in by_form}
        outcomes: dict[str, dict[str, Any]] = {}
        for form, name in files.items():
            finished = None if setting.folder is None else checkpoint.read(setting.folder / name)
            if finished is not None:
                outcomes[form] = finished[1]["outcome"]
        missing = {form: architecture for form, architecture in by_form.items() if form not in outcomes}
        if missing:
            outcomes |= self._train(missing, setting, recipe, seeds, files, start)
        metric, kept = setting.task.metric, setting.folder is not None
        forms = [setting.space.canonical(architecture) for architecture in architectures]
        return [_result(outcomes[form], metric, {"weights": files[form]} if kept else {}) for form in forms]

    def _how(self, setting: Setting, epochs: int) -> Recipe:
        own = self.recipe != DEFAULT
        return Recipe.named(self.recipe, setting.task, epochs) if own else recipe_for(setting.task, epochs)

    def _train(
        self,
        architectures: Mapping[str, Architecture],
        setting: Setting,
        recipe: Recipe,
        seeds: Mapping[str, int],
        files: Mapping[str, str],
        start: Mapping[str, Tensor] | None,
    ) -> dict[str, dict[str, Any]]:
        """Train networks together; what each came to, by its canonical form."""
        space, task, folder = setting.space, setting.task, setting.folder
        networks = [
            build(space, architecture, task, seed=seeds[form], device=setting.device)
            for form, architecture in architectures.items()
        ]
        under_way = None if folder is None else folder / digest([files[form] for form in architectures])
        trained = train_many(
            networks, task, recipe, seeds=[seeds[form] for form in architectures], device=setting.device,
            folder=under_way, start=start,
        )  # fmt: skip
        outcomes = dict(zip(architectures, map(dataclasses.asdict, trained), strict=True))
        if folder is not None and under_way is not None:
            for (form, outcome), network in zip(outcomes.items(), networks, strict=True):
                checkpoint.write(folder / files[form], network.state_dict(), {"outcome": outcome})
            shutil.rmtree(under_way, ignore_errors=True)
        return outcomes


def file_name(
    setting: Setting, canonical: str, recipe: Recipe, seed: int, start: Mapping[str, Tensor] | None = None
) -> str:
    """Of the weights of a finished training: a digest of all that it follows from."""
    made_of = dataclasses.asdict(recipe)
    parts = (setting.space.digest, canonical, setting.task.digest, made_of, seed, weights_digest(start))
    return f"{digest(*parts)}.safetensors"


def weights_file(folder: Path, trial: Trial | Estimate) -> Path | None:
    """Where the weights of a finished training lie, under the names of the stand-alone network; None if none are kept.

    They are those of the best epoch.
    """
    name = trial.extra.get("weights")
    return folder / name if isinstance(name, str) else None


def _start(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise DataError(f"the weights to start from cannot be read from '{file}': {error}") from error


def _result(outcome: dict[str, Any], metric: Metric, kept: Mapping[str, str]) -> Estimate:
    value, reason = metric.oriented(outcome["valid_metric"]), outcome["reason"]
    return Estimate(
        value=value,
        seconds=outcome["seconds"],
        curve=tuple(outcome["curve"]),
        extra={"best_epoch": outcome["best_epoch"], **outcome["mode"], **kept}
        | ({"diverged": reason} if outcome["diverged"] else {}),
        reason=f"the training diverged: {reason}." if math.isnan(value) else "",
    )


def _check(epochs: int) -> int:
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise UsageError(f"estimator 'trained' trains for a whole number of epochs above zero, not {epochs!r}.")
    return epochs
