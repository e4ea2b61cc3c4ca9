"""What a task is measured by, where the user says so: a name that its kind knows, or a function of their own."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from archscout.core.errors import UsageError, nearest
from archscout.core.metric import Meter, Metric
from archscout.core.task import Task
from archscout.networks.outputs import each

PREDICTED = ({"y_true", "y_pred"}, {"y1", "y2"})
"""Names of the first two parameters of functions that take what is true, and what is said (scikit-learn)."""

SCORED = {"y_true", "y_score"}


@dataclass(frozen=True)
class Measure:
    """A metric, and what makes a meter of it for a task."""

    metric: Metric
    meter: Callable[[Any], Meter]


@dataclass(frozen=True)
class Measured(Task):
    """A task whose metric the user chooses.

    A class that derives from it says what there is (`MEASURES`, the usual one first).

    Args:
        measured: the name of the metric; the usual one where empty.
        function: one of the user's own, in place of `MEASURES`; see `measured_by`.
    """

    MEASURES: ClassVar[Mapping[str, Measure]] = {}

    measured: str = field(default="", kw_only=True)
    function: Callable[..., Any] | None = field(default=None, kw_only=True)

    def _is_own(self) -> bool:
        return bool(self.measured) and self.measured not in self.MEASURES

    def _measure(self) -> Measure:
        return self.MEASURES.get(self.measured) or next(iter(self.MEASURES.values()))

    @property
    def metric(self) -> Metric:  # type: ignore[override]
        """The one that was chosen."""
        if self._is_own():
            return _metric_of(self.measured, self.function)
        return self._measure().metric

    def meter(self) -> Meter | None:
        """None for a function of the user's own, which gets all outputs at once."""
        return None if self._is_own() else self._measure().meter(self)

    def measure(self, outputs: Any, targets: Any) -> float:
        if not self._is_own():
            return super().measure(outputs, targets)
        if self.function is None:
            raise UsageError(f"the metric '{self.measured}' is a function that is not at hand: give the task itself.")
        return _called(self.function, each(outputs, lambda tensor: tensor.detach().cpu()), targets.detach().cpu())

    def describe(self) -> dict[str, Any]:
        described = super().describe()
        del described["function"]  # whoever loads the network measures nothing
        return described


def measured_by(task: Task, metric: str | Callable[..., Any]) -> Task:
    """The task with another metric.

    Args:
        task: of a kind that has several.
        metric: one of them by name; or a function, or where it lies (`package.module.function`). A function gets
            outputs and targets of a whole split as tensors; one whose first parameters are `y_true` and `y_pred` (or
            `y_score`), as scikit-learn's are, gets arrays of classes (or probabilities). A higher value is better,
            unless the function has an attribute `direction` ("lower"), or a name that ends in `_error` or `_loss`.

    Raises `UsageError` for a metric that there is not.
    """
    if not isinstance(task, Measured):
        raise UsageError(f"task '{task.name}' is measured by {task.metric.title} alone: leave metric out.")
    if callable(metric):
        name, function = getattr(metric, "__name__", type(metric).__name__), metric
    elif not isinstance(metric, str):
        raise UsageError(f"a metric is a name or a function, not {metric!r}.")
    elif metric in task.MEASURES:
        name, function = metric, None
    else:
        function = _imported(metric, task)
        name = getattr(function, "__name__", metric.rpartition(".")[2])
    if function is not None and (not name.replace("_", "").isalnum() or name in task.MEASURES):
        raise UsageError(f"a function of your own cannot be the metric '{name}': give it another name, of one word.")
    called = f"{task.name}{',' if ':' in task.name else ':'}metric={name}"
    return dataclasses.replace(task, name=called, measured=name, function=function)


def _imported(path: str, task: Measured) -> Callable[..., Any]:
    module, _, name = path.replace(":", ".").rpartition(".")
    if not module:
        raise UsageError(f"task '{task.name}' has no metric '{path}': {nearest(path, task.MEASURES)}")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"the metric '{path}' cannot be imported ({error}): write package.module.function.") from error
    if not callable(function):
        raise UsageError(f"the metric '{path}' is no function.")
    return function  # type: ignore[no-any-return]


def _metric_of(name: str, function: Any) -> Metric:
    usual = "lower" if name.endswith(("_error", "_loss")) else "higher"
    return Metric(name, "lower" if getattr(function, "direction", usual) == "lower" else "higher")


def _called(function: Callable[..., Any], outputs: Any, targets: Any) -> float:
    """What a function of the user's own says. Raises `UsageError` where that is no number."""
    try:
        first = set(list(inspect.signature(function).parameters)[:2])
    except (TypeError, ValueError):
        first = set()
    if first in PREDICTED and targets.ndim == 1:
        value = function(targets.numpy(), outputs.argmax(1).numpy())
    elif first == SCORED and targets.ndim == 1:
        shares = outputs.softmax(1).numpy()
        value = function(targets.numpy(), shares[:, 1] if shares.shape[1] == 2 else shares)
    elif first in (*PREDICTED, SCORED):
        value = function(targets.numpy(), outputs.numpy())
    else:
        value = function(outputs, targets)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        name = getattr(function, "__name__", "metric")
        raise UsageError(f"the metric '{name}' gives {type(value).__name__} where a number is needed.") from error
