"""Lines of text: an image of each, and its transcript."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from archscout.core.metric import Metric
from archscout.core.panel import Panel, Pictures, Table
from archscout.core.registry import register
from archscout.core.task import Answers
from archscout.networks.elastic import Number
from archscout.networks.lines import LineHead, TappedLineHead
from archscout.tasks import transcripts
from archscout.tasks.image_task import ImageTask
from archscout.tasks.measures import Measure, Measured
from archscout.tasks.transcripts import EditErrors, WholeLines

SHOWN = 8
SLANT, SCALE = 0.25, 0.1
"""How far augmentation leans letters (as a tangent), and by what share it makes them larger or smaller, at most."""


@register("kind", "text lines")
@dataclass(frozen=True)
class TextLines(Measured, ImageTask):
    """The text of each line; the usual metric is the character error rate.

    Images are lines of one height, padded on the right with their own background, so that a deployed network takes a
    line as it is. `y` is N x longest, int64: the numbers of the characters (`class_names`), -1 behind the end. Outputs
    are N x (characters + 1) x places, the last of them the blank; what they say is the likeliest symbol of each place,
    runs taken once, without blanks (`transcripts.greedy`). Trained by connectionist temporal classification (Graves et
    al. 2006, ICML) over all places: in the padding, too, nothing is to be read.

    Args:
        places: how many a network has at least.
    """

    kind: ClassVar[str] = "text lines"
    spaces: ClassVar[tuple[str, ...]] = ("lines",)
    MEASURES: ClassVar[Mapping[str, Measure]] = {
        "character_error_rate": Measure(
            Metric("character_error_rate", "lower", "error rate", digits=2), lambda task: EditErrors()
        ),
        "word_error_rate": Measure(
            Metric("word_error_rate", "lower", "error rate", digits=2),
            lambda task: EditErrors(task.space_number, words=True),
        ),
        "line_accuracy": Measure(Metric("line_accuracy", unit="share", digits=2), lambda task: WholeLines()),
    }

    places: int = 1

    @property
    def space_number(self) -> int | None:
        """The number of the character between words; None where there is a single word a line."""
        known = transcripts.SPACE in self.class_names
        return self.class_names.index(transcripts.SPACE) if known else None

    def head(self, channels: Number) -> nn.Module:
        return LineHead(channels, self.outputs, self.places)

    def tapped_head(self, channels: Sequence[Number], strides: Sequence[int]) -> nn.Module:
        return TappedLineHead(channels, self.outputs, max(self.places, math.ceil(self.input_shape[2] / 4)))

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        """In nats a character. Labels are not smoothed: which symbol belongs to which place is not known."""
        scores = outputs.float().permute(2, 0, 1).log_softmax(2)
        lengths = (targets != transcripts.NOTHING).sum(1)
        full = torch.full_like(lengths, len(scores))
        return F.ctc_loss(scores, targets.clamp(min=0), full, lengths, blank=self.outputs - 1, zero_infinity=True)

    def augment(self, x: Tensor, generator: Generator) -> Tensor:
        """Letters leaned, scaled and moved by a few pixels; at the borders, the image goes on as it ends there."""
        if not self.shift:
            return x
        n, _, height, width = x.shape
        lean, tall, wide, down, right = 2 * torch.rand(5, n, generator=generator, device=x.device) - 1
        tall, wide = 1 + SCALE * tall, 1 + SCALE * wide
        # Rows and columns of the source for each place of the result, in the coordinates of `grid_sample`, -1 to 1.
        # Lines begin on the left, where scaling leaves them.
        map_ = torch.zeros(n, 2, 3, dtype=x.dtype, device=x.device)
        map_[:, 0, 0], map_[:, 0, 1], map_[:, 0, 2] = (
            wide,
            SLANT * lean * height / width,
            wide - 1 + right * 2 * self.shift / width,
        )
        map_[:, 1, 1], map_[:, 1, 2] = tall, down * 2 * self.shift / height
        grid = F.affine_grid(map_, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def review(self, answers: Iterable[Answers]) -> Sequence[Panel]:
        """All three metrics, which characters are missed, and the lines with the most mistakes."""
        meters = {name: measure.meter(self) for name, measure in self.MEASURES.items()}
        worst: list[tuple[int, int, str, str]] = []
        place = 0
        for outputs, targets, stored in answers:
            for meter in meters.values():
                meter.update(outputs, targets)
            read, true = transcripts.greedy(outputs), transcripts.targets_of(targets)
            edits = transcripts.edit_distances(read, true)
            for i in (-edits).argsort(kind="stable")[:SHOWN].tolist():
                said, is_ = transcripts.texts([read[i], true[i]], self.class_names)
                text = f"is '{is_}', read as '{said}'" if edits[i] else f"'{is_}'"
                entry = (int(edits[i]), -(place + i), text, self.picture(stored[i]))
                (heapq.heappush if len(worst) < SHOWN else heapq.heappushpop)(worst, entry)
            place += len(true)
        rows: list[list[str | float]] = [
            [self.MEASURES[name].metric.title, meter.value()] for name, meter in meters.items()
        ]
        shown = [(picture, text) for *_, text, picture in sorted(worst, reverse=True)]
        return [Table("How well lines are read", ["measure", "value"], rows),
                Pictures("Lines, those with the most mistakes first", shown)]  # fmt: skip

    def tell(self, outputs: Tensor, top: int = 1) -> list[dict[str, Any]]:
        return [{"text": text} for text in transcripts.texts(transcripts.greedy(outputs), self.class_names)]
