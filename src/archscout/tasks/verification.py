"""Is it the same? Embeddings of examples, near for one class and far for two, of classes that training does not know.

Speaker verification of recordings, and retrieval of images: one loss, one head, other metrics.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.metric import Metric
from archscout.core.panel import Lines, Panel, Table
from archscout.core.registry import register
from archscout.core.task import Answers
from archscout.networks.elastic import Number
from archscout.networks.embedding import EmbeddingHead
from archscout.tasks import trials
from archscout.tasks.audio import AudioTask
from archscout.tasks.image_task import ImageTask
from archscout.tasks.measures import Measure, Measured
from archscout.tasks.targets import EMBEDDING

MARGIN, SCALE = 0.2, 30.0
SHOWN = 200
"""Points of a curve, at most."""

UNKNOWN = -1
"""What the loss takes for the class of an example that training does not know."""


def _measure(name: str, direction: Any, measure: Any) -> Measure:
    unit = "error rate" if name == "equal_error_rate" else "share" if direction == "higher" else ""
    metric = Metric(name, direction, unit, 2 if unit else 3)
    return Measure(metric, lambda task: trials.OfEmbeddings(task.embedding, measure, task.trials))


ERROR = _measure("equal_error_rate", "lower", trials.OfPairs(trials.equal_error_rate))
COST = _measure("minimum_detection_cost", "lower", trials.OfPairs(trials.minimum_detection_cost))
RECALLS = {f"recall_at_{count}": _measure(f"recall_at_{count}", "higher", trials.recall_at(count)) for count in (1, 5)}


@dataclass(frozen=True)
class Verification(Measured):
    """Embeddings of length 1, whose cosine says whether two examples are of one class.

    `y` is N whole numbers. The classes of training are those of the loss; no split but `train` need have them, and
    drawn ones have none of them. Outputs are N x (embedding + training classes): the embedding, then its cosine with a
    vector of each class of training. The loss is that of additive angular margins (Deng et al. 2019, arXiv 1801.07698):
    the angle to the own class must be smaller by 0.2 than that to others, at scale 30.

    Args:
        embedding: numbers of an embedding.
        known: the numbers of the classes of training.
        trials: T x 3, where there is a list of them: the numbers of two examples, and 1 where they are of one class.
            Then targets are N x 2, a class and the number of the example, and errors are those of the trials of a
            split, where it has any; else of all pairs.
    """

    embedding: int = EMBEDDING
    known: tuple[int, ...] = ()
    trials: np.ndarray | None = field(default=None, kw_only=True)

    def head(self, channels: Number) -> nn.Module:
        return EmbeddingHead(channels, self.embedding, len(self.known))

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """Classes are not smoothed: the margin holds training back. Examples of other classes are left out."""
        targets = trials.classes(targets)
        known = torch.tensor(self.known, device=targets.device)
        place = (targets[:, None] == known).long()
        own = torch.where(place.any(1), place.argmax(1), UNKNOWN)
        cosines = outputs[:, self.embedding :].float().clamp(-1 + 1e-6, 1 - 1e-6)
        sines = (1 - cosines.square()).sqrt()
        with_margin = cosines * math.cos(MARGIN) - sines * math.sin(MARGIN)
        # Where the angle with its margin is beyond half a turn, a line goes on.
        behind = cosines <= math.cos(math.pi - MARGIN)
        with_margin = torch.where(behind, cosines - MARGIN * math.sin(MARGIN), with_margin)
        scores = SCALE * torch.where(place.bool(), with_margin, cosines)
        each = F.cross_entropy(scores, own, ignore_index=UNKNOWN, reduction="sum")
        return each / (own != UNKNOWN).sum().clamp(min=1)

    def review(self, answers: Iterable[Answers]) -> Sequence[Panel]:
        """All metrics of embeddings, and how the two errors of verification go together."""
        every = {**self.MEASURES, "equal_error_rate": ERROR, "minimum_detection_cost": COST, **RECALLS}
        meters = {name: measure.meter(self) for name, measure in every.items()}
        kept = trials.OfEmbeddings(self.embedding, trials.recall_at(1), self.trials)
        for outputs, targets, _ in answers:
            for meter in (*meters.values(), kept):
                meter.update(outputs, targets)
        if not kept.labels:
            return ()
        rows: list[list[str | float]] = [[every[name].metric.title, meter.value()] for name, meter in meters.items()]
        panels: list[Panel] = [Table("How well the same are told from others", ["measure", "value"], rows)]
        scores, same = kept.pairs()
        if same.any() and not same.all():
            accepted, missed = trials.error_curve(scores, same)
            some = slice(None, None, math.ceil(len(accepted) / SHOWN))
            points = list(zip(accepted[some].tolist(), missed[some].tolist(), strict=True))
            panels.append(Lines("Errors as the threshold falls", "others accepted", "same ones missed", {"": points}))
        return panels

    def describe(self) -> dict[str, Any]:
        described = super().describe()
        del described["trials"]  # whoever loads the network measures nothing
        return described

    def tell(self, outputs: Tensor, top: int = 1) -> list[dict[str, Any]]:
        """The embedding of each."""
        return [{"embedding": {str(place): value for place, value in enumerate(row)}}
                for row in outputs[:, : self.embedding].tolist()]  # fmt: skip


@register("kind", "speaker verification")
@dataclass(frozen=True)
class SpeakerVerification(Verification, AudioTask):
    """Whether two recordings are of one speaker; the usual metric is the equal error rate over all pairs of a split."""

    kind: ClassVar[str] = "speaker verification"
    spaces: ClassVar[tuple[str, ...]] = ("tdnn",)
    MEASURES: ClassVar[Mapping[str, Measure]] = {
        "equal_error_rate": ERROR, "minimum_detection_cost": COST, **RECALLS,
    }  # fmt: skip


@register("kind", "image retrieval")
@dataclass(frozen=True)
class ImageRetrieval(Verification, ImageTask):
    """Images by an image like them; the usual metric is the share that has one of its class nearest (recall at 1)."""

    kind: ClassVar[str] = "image retrieval"
    MEASURES: ClassVar[Mapping[str, Measure]] = {**RECALLS, "equal_error_rate": ERROR}
