"""What a task is measured by, where the user says so: a name that its kind knows, or a function of their own."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from archscout.core import options
from archscout.core.errors import UsageError, nearest
from archscout.core.metric import Meter, Metric
from archscout.core.task import Task
from archscout.networks.outputs import each

TRUE, SAID, SHARES, RAW = "what is true", "classes that are said", "shares of classes", "outputs as they are"
ROLES = {
    **dict.fromkeys(("y_true", "y1"), TRUE),
    **dict.fromkeys(("y_pred", "y2"), SAID),
    **dict.fromkeys(("y_score", "y_scores", "y_prob", "y_proba"), SHARES),
    **dict.fromkeys(("outputs", "output", "logits", "predictions", "preds"), RAW),
}
"""What the first two parameters of a function get by their names; the first of these are scikit-learn's."""

_TRUTH = frozenset({"y_true", "target", "targets", "label", "labels", "truth"})
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_OF_SHARES = frozenset({"log_loss", "d2_log_loss_score"})
"""Functions of scikit-learn that call shares `y_pred`."""

_LOWER = frozenset(
    {"error", "loss", "deviance", "entropy", "perplexity", "divergence", "distance", "mse", "rmse", "mae", "mape",
     "nll", "wer", "cer", "eer"}
)  # fmt: skip
"""Last words of names of which lower is better."""


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
            unless the function has an attribute `direction` ("lower"), or a name that ends in a word such as `error`
            or `loss` (`_LOWER`).

    Raises `UsageError` for a metric that there is not.
    """
    if not isinstance(task, Measured):
        raise UsageError(f"task '{task.name}' is measured by {task.metric.title} alone: leave metric out.")
    if callable(metric):
        name, function = _name_of(metric), metric
    elif not isinstance(metric, str):
        raise UsageError(f"a metric is a name or a function, not {options.shown(metric)}.")
    elif metric in task.MEASURES:
        name, function = metric, None
    else:
        function = _imported(metric, task)
        name = _name_of(function)
    if function is not None and (not name.replace("_", "").isalnum() or name in task.MEASURES):
        raise UsageError(f"a function of your own cannot be the metric '{name}': give it another name, of one word.")
    if function is not None:
        _check_order(function, name)
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
    words = [word.lower() for word in _WORD.findall(name)]
    usual = "lower" if words and words[-1] in _LOWER and words[0] not in ("neg", "negative") else "higher"
    return Metric(name, "lower" if getattr(function, "direction", usual) == "lower" else "higher")


def _name_of(function: Any) -> str:
    """What a function is called, within `partial` and as a method too; an object that is called, by its class."""
    while isinstance(function, functools.partial):
        function = function.func
    owner = getattr(function, "__self__", None)
    if getattr(function, "__name__", "") == "__call__" and owner is not None:
        function = owner
    return str(getattr(function, "__name__", type(function).__name__))


def _first_two(function: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(function).parameters)[:2]
    except (TypeError, ValueError):
        return []


def _check_order(function: Callable[..., Any], name: str) -> None:
    """Raises `UsageError` for a function that takes the truth first, and second what is not known."""
    names = _first_two(function)
    if len(names) == 2 and names[0] in _TRUTH and names[1] not in ROLES:
        raise UsageError(
            f"the metric '{name}' takes ({', '.join(names)}), of which the second may be anything: call them y_true "
            "and y_pred (classes) or y_score (probabilities), or take outputs and targets, in this order."
        )


def _called(function: Callable[..., Any], outputs: Any, targets: Any) -> float:
    """What a function of the user's own says. Raises `UsageError` where that is no number."""
    names = _first_two(function)
    roles = [TRUE if name in _TRUTH else ROLES.get(name, "") for name in names]
    if _name_of(function) in _OF_SHARES:
        roles = [SHARES if role == SAID else role for role in roles]
    if sorted(roles) == sorted((RAW, TRUE)):
        value = function(*(targets if role == TRUE else outputs for role in roles))
    elif len(roles) == 2 and TRUE in roles and (SAID in roles or SHARES in roles):
        said = outputs.numpy()
        if targets.ndim == 1 and SAID in roles:
            said = outputs.argmax(1).numpy()
        elif targets.ndim == 1:
            shares = outputs.softmax(1).numpy()
            said = shares[:, 1] if shares.shape[1] == 2 else shares
        value = function(*(targets.numpy() if role == TRUE else said for role in roles))
    else:
        value = function(outputs, targets)
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        name = getattr(function, "__name__", "metric")
        raise UsageError(f"the metric '{name}' gives {type(value).__name__} where a number is needed.") from error
