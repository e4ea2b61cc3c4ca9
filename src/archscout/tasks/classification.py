"""What all tasks with one class an example have in common, whatever the examples are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from archscout.core.metric import ACCURACY, Metric
from archscout.core.panel import Panel
from archscout.core.task import Answers
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
        return F.cross_entropy(outputs, targets, weight, label_smoothing=smoothing)

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
        return reviews.classification(answers, self.class_names, getattr(self, "picture", None))
