"""What all tasks with one class an example have in common, whatever the examples are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from archscout.core.metric import ACCURACY, Meter, Metric
from archscout.core.panel import Panel
from archscout.core.task import Answers, Split
from archscout.tasks import reviews
from archscout.tasks.measures import Measure, Measured
from archscout.tasks.meters import Confusions, Hits, balanced_accuracy, macro_f1, quadratic_kappa


@dataclass(frozen=True)
class Classification(Measured):
    """One class for each example; the usual metric is the fraction of examples whose class has the largest output.

    Targets are N, outputs N x K. A class that derives from it says what examples are: it comes before the one of the
    medium (`class ImageClassification(Classification, ImageTask)`).
    """

    class_weights: tuple[float, ...] = field(default=(), kw_only=True)
    """By what the loss of examples of each class counts; all alike where empty."""

    weighted: bool = field(default=False, kw_only=True)
    """Whether targets are N x 2: the class of an example, and by how much it counts in the loss."""

    MEASURES: ClassVar[Mapping[str, Measure]] = {
        "accuracy": Measure(ACCURACY, lambda task: Hits()),
        "balanced_accuracy": Measure(
            Metric("balanced_accuracy", unit="share", digits=2), lambda task: Confusions(balanced_accuracy)
        ),
        "f1": Measure(Metric("f1", unit="share", digits=2), lambda task: Confusions(macro_f1)),
        "quadratic_kappa": Measure(Metric("quadratic_kappa"), lambda task: Confusions(quadratic_kappa)),
    }

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        weight = outputs.new_tensor(self.class_weights) if self.class_weights else None
        if not self.weighted:
            return F.cross_entropy(outputs, targets, weight, label_smoothing=smoothing)
        each = F.cross_entropy(outputs, targets[:, 0].long(), weight, label_smoothing=smoothing, reduction="none")
        return (each * targets[:, 1]).sum() / targets[:, 1].sum().clamp(min=1e-12)

    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Any, Any]:
        x, y = super().tensors(split, device)  # type: ignore[safe-super] # that of the medium
        return x, y.float() if self.weighted else y

    def meter(self) -> Meter | None:
        """Of classes alone: how much an example counts is for the loss."""
        meter = super().meter()
        return meter if meter is None or not self.weighted else OfClasses(meter)

    def measure(self, outputs: Any, targets: Any) -> float:
        own = self.weighted and self.function is not None
        return super().measure(outputs, targets[:, 0].long() if own else targets)

    def tell(self, outputs: Tensor, top: int = 1) -> list[dict[str, Any]]:
        """The likeliest class of each example, or the `top` likeliest."""
        probabilities, labels = outputs.softmax(1).topk(min(top, outputs.shape[1]))
        rows = []
        for some, likely in zip(labels.tolist(), probabilities.tolist(), strict=True):
            likeliest = [{"label": self.class_names[i], "probability": p} for i, p in zip(some, likely, strict=True)]
            rows.append({**likeliest[0], **({"top": likeliest} if top > 1 else {})})
        return rows

    def review(self, answers: Iterable[Answers]) -> Sequence[Panel]:
        """The confusion matrix, and the most confident mistakes, drawn where the medium can be."""
        if self.weighted:
            answers = ((outputs, targets[:, 0].long(), stored) for outputs, targets, stored in answers)
        return reviews.classification(answers, self.class_names, getattr(self, "picture", None))


class OfClasses:
    """A meter of classes, for targets of a class and a weight."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.meter.update(outputs, targets[:, 0].long())

    def value(self) -> float:
        return self.meter.value()
