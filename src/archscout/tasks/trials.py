"""Same or not: how well distances between embeddings tell, over all pairs of examples, and what is found by them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MOST = 2_000
"""Examples whose pairs are all looked at; of more, so many at equal distances, which are two million pairs."""

TARGET_PRIOR = 0.01
"""How often two recordings are of one speaker where verification is used, in the cost that NIST measures."""

Pairs = tuple[np.ndarray, np.ndarray]
"""The similarity of each pair, and whether it is of one class."""


def pairs(embeddings: Tensor, labels: Tensor) -> Pairs:
    """All pairs of different examples (embeddings N x D, labels N), by cosine similarity."""
    step = math.ceil(len(labels) / MOST)
    chosen, y = F.normalize(embeddings[::step].double().cpu(), dim=1), labels[::step].cpu()
    first, second = torch.triu_indices(len(y), len(y), 1)
    return (chosen @ chosen.T)[first, second].numpy(), (y[first] == y[second]).numpy()


def error_curve(scores: np.ndarray, same: np.ndarray) -> Pairs:
    """The shares of others that are taken for the same, and of the same that are missed, as the threshold falls."""
    from sklearn.metrics import roc_curve  # a second of import

    accepted, found, _ = roc_curve(same, scores, drop_intermediate=False)
    return accepted, 1 - found


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
        found: list[Tensor] = []
        for start in range(0, len(y), MOST):
            rows = torch.arange(start, min(start + MOST, len(y)))
            near = x[rows] @ x.T
            near[torch.arange(len(rows)), rows] = -math.inf
            best = near.topk(min(count, len(y) - 1), 1).indices if len(y) > 1 else near.new_zeros(len(rows), 0).long()
            hit = (y[best] == y[rows, None]).any(1)
            found.append(hit[(y[rows, None] == y).sum(1) > 1])
        hits = torch.cat(found) if found else torch.zeros(0)
        return float(hits.double().mean()) if len(hits) else math.nan

    return recall


def of_pairs(measure: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[Tensor, Tensor], float]:
    """A measure of pairs as one of embeddings and labels."""
    return lambda embeddings, labels: measure(*pairs(embeddings, labels))


class OfEmbeddings:
    """A measure of all embeddings and labels, which are kept: of outputs, the first so many are an embedding."""

    def __init__(self, size: int, measure: Callable[[Tensor, Tensor], float]) -> None:
        self.size, self.measure = size, measure
        self.embeddings: list[Tensor] = []
        self.labels: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        if outputs.ndim != 2 or outputs.shape[1] < self.size or targets.shape != outputs.shape[:1]:
            raise ValueError(f"outputs of shape {tuple(outputs.shape)} for targets of shape {tuple(targets.shape)}")
        self.embeddings.append(outputs[:, : self.size])
        self.labels.append(targets)

    def value(self) -> float:
        return self.measure(torch.cat(self.embeddings), torch.cat(self.labels)) if self.labels else math.nan
