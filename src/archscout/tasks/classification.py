"""What all tasks with one class an example have in common, whatever the examples are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from archscout.core.panel import Panel
from archscout.core.task import Answers, Task
from archscout.tasks import reviews
from archscout.tasks.meters import Hits


@dataclass(frozen=True)
class Classification(Task):
    """One class for each example; the metric is the fraction of examples whose class has the largest output.

    Targets are N, outputs N x K. A class that derives from it says what examples are: it comes before the one of the
    medium (`class ImageClassification(Classification, ImageTask)`).
    """

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        return F.cross_entropy(outputs, targets, label_smoothing=smoothing)

    def meter(self) -> Hits:
        return Hits()

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
