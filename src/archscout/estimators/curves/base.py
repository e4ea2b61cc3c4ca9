"""What reads the beginning of a learning curve: of a table, or of a training that it begins itself."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.estimator import Estimator, Setting
from archscout.core.metric import Metric
from archscout.core.seeds import derive
from archscout.core.trial import Estimate

if TYPE_CHECKING:
    from torch.nn import Module

    from archscout.training.course import Outcome

MEASURES = ("valid", "train_loss", "valid_loss")
"""What curves are of: the metric on validation data (higher is better), and losses (lower is)."""


@dataclass(frozen=True)
class Curve:
    """One measure of N trainings: `values` (N, E) after each of `epochs` (E,), which rise from 1."""

    epochs: np.ndarray
    values: np.ndarray

    def until(self, epoch: int) -> Curve:
        """What is known after so many epochs."""
        known = self.epochs <= epoch
        return Curve(self.epochs[known], self.values[:, known])

    @property
    def whole(self) -> bool:
        """Whether no epoch is missing."""
        return len(self.epochs) > 0 and bool(self.epochs[-1] == len(self.epochs))


Curves = Mapping[str, Curve]


class CurveReader(Estimator):
    """Begins a full training and says, from the curve so far, how good its end will be.

    The learning rate falls as in the full training, which is stopped after `epochs`. A subclass names a measure and
    reads it; a study hands it the curves of a table.

    Args:
        epochs: after how many the curve is read (the fidelity, where one is asked for); a third of full training if
            None.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"inputs", "targets", "gradients", "training"})
    measure: ClassVar[str] = "valid"
    every: ClassVar[bool] = False
    """Whether it needs the value of every epoch, not only of some."""

    def __init__(self, epochs: int | None = None) -> None:
        self.epochs = epochs

    @abstractmethod
    def read(self, curve: Curve, final: int) -> np.ndarray:
        """From the curves so far of trainings that end after `final` epochs: (N,), higher is better, NaN undefined."""

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        estimates = begun(architectures, setting, self.epochs if fidelity is None else fidelity)
        final = full(setting)
        return [self._read(estimate, setting, final) for estimate in estimates]

    def _read(self, estimate: Estimate, setting: Setting, final: int) -> Estimate:
        curves = from_rows([estimate.curve], setting.task.metric)
        value = float(self.read(curves[self.measure], final)[0]) if estimate.curve else math.nan
        reason = "" if math.isfinite(value) else estimate.reason or "the curve says nothing that could be read."
        return Estimate(
            value if math.isfinite(value) else math.nan, seconds=estimate.seconds, curve=estimate.curve, reason=reason
        )


def begun(
    architectures: Sequence[Architecture],
    setting: Setting,
    epochs: int | None,
    stop: Callable[[Sequence[Mapping[str, float]]], bool] = lambda rows: False,
    final: int | None = None,
) -> list[Estimate]:
    """The beginnings of full trainings; the value is the best of the validation metric so far.

    With `setting.folder`, the weights of those that are not left are kept as real training keeps them.

    Args:
        architectures: of which to train the networks.
        setting: where.
        epochs: after how many a training is left; a third of full training if None.
        stop: asked after each epoch, with the curve so far, whether to leave it now.
        final: what full training means, in epochs; the default of the task if None.
    """
    from archscout.estimators.trained import file_name
    from archscout.networks.pick import build
    from archscout.training.asked import recipe_for
    from archscout.training.trainer import train

    final = final or full(setting)
    most = max(1, final // 3) if epochs is None else epochs
    if most < 1:
        raise UsageError(f"a curve is read after one epoch or more, not after {most}.")
    recipe = recipe_for(setting.task, final)
    estimates = []
    for architecture in architectures:
        seed = derive(setting.seed, "trained", setting.space.canonical(architecture))
        network = build(setting.space, architecture, setting.task, seed=seed, device=setting.device)
        rows: list[Mapping[str, float]] = []

        def enough(row: dict[str, float], rows: list[Mapping[str, float]] = rows) -> bool:
            rows.append(row)
            return len(rows) >= most or stop(rows)

        outcome = train(network, setting.task, recipe, seed=seed, device=setting.device, on_epoch=enough)
        extra: dict[str, Any] = {"epochs": len(outcome.curve)}
        if setting.folder is not None and len(outcome.curve) == final and outcome.best_epoch:
            file = file_name(setting, setting.space.canonical(architecture), recipe, seed)
            extra["weights"] = keep_weights(setting, file, network, outcome)
        reason = f"the training diverged: {outcome.reason}." if math.isnan(outcome.valid_metric) else ""
        value = setting.task.metric.oriented(outcome.valid_metric)
        estimates.append(Estimate(value, seconds=outcome.seconds, curve=outcome.curve, reason=reason, extra=extra))
    return estimates


def keep_weights(setting: Setting, file: str, network: Module, outcome: Outcome) -> str:
    """Keep what a training came to in a file of the setting's folder, as real training keeps it; the file's name."""
    from archscout.training import checkpoint

    assert setting.folder is not None
    checkpoint.write(setting.folder / file, network.state_dict(), {"outcome": dataclasses.asdict(outcome)})
    return file


def full(setting: Setting) -> int:
    """What full training means for a task, in epochs."""
    from archscout.training.recipe import default_epochs

    return default_epochs(setting.task)


def from_rows(curves: Sequence[Sequence[Mapping[str, float]]], metric: Metric | str) -> Curves:
    """The measures of trainings, as wide as the longest; NaN where one is shorter or has no such value.

    Of the metric, higher is better.
    """
    length = max(map(len, curves), default=0)
    keys = {"valid": f"valid_{metric}", "train_loss": "train_loss", "valid_loss": "valid_loss"}
    measures = {}
    for name, key in keys.items():
        values = np.full((len(curves), length), math.nan)
        for place, rows in enumerate(curves):
            values[place, : len(rows)] = [row.get(key, math.nan) for row in rows]
        measures[name] = Curve(
            np.arange(1, length + 1), Metric.of(metric).oriented(values) if name == "valid" else values
        )
    return measures
