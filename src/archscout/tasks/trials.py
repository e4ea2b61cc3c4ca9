"""Same or not: how well distances between embeddings tell, over all pairs of examples, and what is found by them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from archscout.core.seeds import stream

MOST = 2_000
"""Examples whose pairs are all looked at; of more, as many pairs are drawn as those have."""

TARGET_PRIOR = 0.01
"""How often two recordings are of one speaker where verification is used, in the cost that NIST measures."""

_BLOCK = 2**16

Pairs = tuple[np.ndarray, np.ndarray]
"""The similarity of each pair, and whether it is of one class."""


def pairs(embeddings: Tensor, labels: Tensor) -> Pairs:
    """All pairs of different examples (embeddings N x D, labels N), by cosine similarity.

    Of more than `MOST` examples so many pairs of each sort as a draw of such a number holds at most: all of one class
    where they are fewer. Error rates are shares of each sort, so that their numbers change none.
    """
    y = labels.cpu()
    if len(y) <= MOST:
        first, second = torch.triu_indices(len(y), len(y), 1)
    else:
        first, second = _drawn(y)
    return similarity(embeddings, first, second), (y[first] == y[second]).numpy()


def similarity(embeddings: Tensor, first: Tensor, second: Tensor) -> np.ndarray:
    """The cosines of some pairs of rows, in double precision."""
    x = F.normalize(embeddings.cpu().double(), dim=1)
    rows = zip(torch.split(first, _BLOCK), torch.split(second, _BLOCK), strict=True)
    blocks = [(x[i] * x[j]).sum(1) for i, j in rows]
    return torch.cat(blocks).numpy() if blocks else np.empty(0)


def _drawn(y: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of a class, and as many of two, of many examples: the same ones every time."""
    rng, most = stream(0, "pairs of examples"), MOST * (MOST - 1) // 4
    order = np.argsort(y.numpy(), kind="stable")
    starts = np.flatnonzero(np.diff(y.numpy()[order], prepend=y.numpy().min() - 1))
    sizes = np.diff([*starts, len(y)])
    ends = np.cumsum(sizes * (sizes - 1) // 2)
    chosen = np.arange(ends[-1]) if ends[-1] <= most else rng.integers(0, ends[-1], most)
    place = np.searchsorted(ends, chosen, side="right")
    number = chosen - (ends - sizes * (sizes - 1) // 2)[place]
    # The number of a pair within its class, counted along the rows of a triangle.
    high = ((1 + np.sqrt(1 + 8 * number.astype(np.float64))) / 2).astype(np.int64)
    high += (high * (high + 1) // 2 <= number).astype(np.int64) - (high * (high - 1) // 2 > number).astype(np.int64)
    low = number - high * (high - 1) // 2
    one, other = rng.integers(0, len(y), (2, most))
    apart = y.numpy()[one] != y.numpy()[other]
    first, second = order[starts[place] + low], order[starts[place] + high]
    return torch.from_numpy(np.concatenate([first, one[apart]])), torch.from_numpy(
        np.concatenate([second, other[apart]])
    )


def error_curve(scores: np.ndarray, same: np.ndarray) -> Pairs:
    """The shares of others that are taken for the same, and of the same that are missed, as the threshold falls."""
    from sklearn.metrics import roc_curve  # a second of import

    accepted, recognised, _ = roc_curve(same, scores, drop_intermediate=False)
    return accepted, 1 - recognised


def equal_error_rate(scores: np.ndarray, same: np.ndarray) -> float:
    """Where as many others are accepted as same ones are missed, on the line between the points of the curve; NaN where
    there are pairs of one sort alone."""
    if same.all() or not same.any():
        return math.nan
    accepted, missed = error_curve(scores, same)
    place = int((accepted >= missed).argmax())
    before = max(place - 1, 0)
    gap, next_gap = missed[before] - accepted[before], missed[place] - accepted[place]
    share = gap / (gap - next_gap) if gap != next_gap else 0.0
    return float(accepted[before] + share * (accepted[place] - accepted[before]))


def minimum_detection_cost(scores: np.ndarray, same: np.ndarray, prior: float = TARGET_PRIOR) -> float:
    """The least cost at any threshold, both errors costing 1, over that of always saying the likelier (NIST 2016)."""
    if same.all() or not same.any():
        return math.nan
    accepted, missed = error_curve(scores, same)
    return float((prior * missed + (1 - prior) * accepted).min() / min(prior, 1 - prior))


def recall_at(count: int) -> Callable[[Tensor, Tensor], float]:
    """What share of examples has one of its own class among its `count` nearest; one without its like has no say."""

    def recall(embeddings: Tensor, labels: Tensor) -> float:
        x, y = F.normalize(embeddings.cpu(), dim=1), labels.cpu()
        nearest: list[Tensor] = []
        for start in range(0, len(y), MOST):
            rows = torch.arange(start, min(start + MOST, len(y)))
            near = x[rows] @ x.T
            near[torch.arange(len(rows)), rows] = -math.inf
            best = near.topk(min(count, len(y) - 1), 1).indices if len(y) > 1 else near.new_zeros(len(rows), 0).long()
            hit = (y[best] == y[rows, None]).any(1)
            nearest.append(hit[(y[rows, None] == y).sum(1) > 1])
        hits = torch.cat(nearest) if nearest else torch.zeros(0)
        return float(hits.double().mean()) if len(hits) else math.nan

    return recall


class OfPairs:
    """A measure of pairs as one of embeddings and labels."""

    def __init__(self, measure: Callable[[np.ndarray, np.ndarray], float]) -> None:
        self.measure = measure

    def __call__(self, embeddings: Tensor, labels: Tensor) -> float:
        return self.measure(*pairs(embeddings, labels))


class OfEmbeddings:
    """A measure of all embeddings and labels, which are kept: of outputs, the first so many are an embedding.

    Args:
        size: numbers of an embedding.
        measure: of embeddings and labels; one `OfPairs` is of the trials, where there are any of the examples.
        trials: T x 3, as `Verification` has them.
    """

    def __init__(self, size: int, measure: Callable[[Tensor, Tensor], float], trials: np.ndarray | None = None) -> None:
        self.size, self.measure, self.trials = size, measure, trials
        self.embeddings: list[Tensor] = []
        self.labels: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        if outputs.ndim != 2 or outputs.shape[1] < self.size or targets.shape[:1] != outputs.shape[:1]:
            raise ValueError(f"outputs of shape {tuple(outputs.shape)} for targets of shape {tuple(targets.shape)}")
        self.embeddings.append(outputs[:, : self.size])
        self.labels.append(targets)

    def value(self) -> float:
        if not self.labels:
            return math.nan
        if isinstance(self.measure, OfPairs):
            return self.measure.measure(*self.pairs())
        return self.measure(torch.cat(self.embeddings), classes(torch.cat(self.labels)))

    def pairs(self) -> Pairs:
        """The trials of these examples; all their pairs where there are none."""
        embeddings, labels = torch.cat(self.embeddings), torch.cat(self.labels)
        if self.trials is None:
            return pairs(embeddings, labels)
        numbers = labels[:, 1].cpu().numpy()
        place = np.full(max(int(self.trials[:, :2].max()), int(numbers.max())) + 1, -1)
        place[numbers] = np.arange(len(numbers))
        first, second = place[self.trials[:, 0]], place[self.trials[:, 1]]
        listed = (first >= 0) & (second >= 0)
        if not listed.any():
            return pairs(embeddings, classes(labels))
        scores = similarity(embeddings, torch.from_numpy(first[listed]), torch.from_numpy(second[listed]))
        return scores, self.trials[listed, 2].astype(bool)


def classes(targets: Tensor) -> Tensor:
    """The classes of targets, beside which there may be numbers of examples."""
    return targets if targets.ndim == 1 else targets[:, 0]
