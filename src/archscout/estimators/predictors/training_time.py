"""How long the training of a cell takes, from nine numbers of its graph: the time predictor of POPNAS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy.optimize import nnls
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from archscout.core.architecture import Architecture
from archscout.core.space import Space
from archscout.estimators.encodings.graphs import Graphs, graphs, pruned, reference
from archscout.estimators.encodings.live import Paths

PENALTIES = tuple(np.logspace(-3, 3, 13))
"""Of the ridge regression, chosen by what is left out."""


class TrainingTime:
    """Seconds of training, learned from cells that were trained (Falanti et al. 2022, POPNASv2, and v3).

    The numbers are those of the pruned graph: operations; their scores in all; scores on the heaviest path as a share;
    the longest path; edges between operations; what the output takes; scores that read an input, as a share; inputs
    that are used; and operations on the longest path, as a share. The score of an operation is what the smallest
    trained cells that have no other take above an empty one, as a share of the slowest operation (dynamic reindex), so
    that it is that of the machine at hand. What an empty cell takes, and an operation that was never trained alone,
    says a least-squares fit with coefficients of 0 or more. Ridge regression of the seconds, its penalty chosen by
    leaving one out.

    Args:
        space: of the cells, which have graphs.
    """

    def __init__(self, space: Space) -> None:
        self.space, self.operations = space, reference(space).operations
        self.scores = np.zeros(len(self.operations))

    def fit(self, architectures: Sequence[Architecture], seconds: Sequence[float]) -> Self:
        """Learn from the seconds of finished trainings."""
        times = np.asarray(seconds, dtype=np.float64)
        part = pruned(graphs(self.space, architectures))
        self.scores = self._reindexed(part.one_hot(self.operations).sum(axis=1), times)
        self._model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(self.features(part), times)
        return self

    def predict(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """The expected seconds of each: (N,), never below 0."""
        if not architectures:
            return np.empty(0)
        part = pruned(graphs(self.space, architectures))
        return np.asarray(np.maximum(self._model.predict(self.features(part)), 0.0))

    def features(self, part: Graphs) -> np.ndarray:
        """The nine numbers of each graph: float64, (N, 9)."""
        one_hot = part.one_hot(self.operations)
        computes = one_hot.sum(axis=2)
        weight = (one_hot @ self.scores).astype(np.float32)
        paths, edges = Paths(part), (part.edges > 0).astype(np.float32)
        total, count = weight.sum(axis=1), computes.sum(axis=1)
        reads = np.einsum("nv,nvw->nw", part.sources.astype(np.float32), edges)
        longest = np.maximum(paths.extreme(computes, True), 0)
        heaviest = np.maximum(paths.extreme(weight, True), 0)
        uses = (part.sources & (edges.sum(axis=2) > 0)).sum(axis=1)
        columns = [
            count,
            total,
            heaviest / np.maximum(total, 1e-9),
            longest,
            np.einsum("nv,nvw,nw->n", computes, edges, computes),
            np.einsum("nv,nvw,nw->n", computes, edges, part.sinks.astype(np.float32)),
            (weight * np.minimum(reads, 1)).sum(axis=1) / np.maximum(total, 1e-9),
            uses,
            longest / np.maximum(count, 1),
        ]
        return np.stack(columns, axis=1).astype(np.float64)

    def _reindexed(self, counts: np.ndarray, times: np.ndarray) -> np.ndarray:
        """The score of each operation, from 0 to 1; `counts` are operations by cell, (N, K)."""
        fitted, _ = nnls(np.column_stack([counts, np.ones(len(counts))]), times)
        scores = fitted[:-1].copy()
        for column in range(len(self.operations)):
            alone = np.flatnonzero((counts[:, column] > 0) & (counts.sum(axis=1) == counts[:, column]))
            if len(alone):
                least = counts[alone, column].min()
                smallest = alone[counts[alone, column] == least]
                scores[column] = max(0.0, times[smallest].mean() - fitted[-1]) / least
        return np.asarray(scores / max(scores.max(), 1e-12))
