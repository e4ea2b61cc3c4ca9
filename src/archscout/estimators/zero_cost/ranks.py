"""Ranks among a reference sample, for scores that are made of several."""

from __future__ import annotations

from typing import Literal

import numpy as np

Ties = Literal["average", "ordinal"]


def ranks(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Where each value would stand in a reference sample, from 1 / (m + 1) to 1; ties count half, NaN is lowest.

    Args:
        values: architectures x members.
        reference: m x members.

    >>> ranks(np.array([[0.0], [2.5], [9.0]]), np.array([[1.0], [2.0], [3.0]])).ravel().tolist()
    [0.25, 0.75, 1.0]
    """
    values, reference = np.nan_to_num(values, nan=-np.inf), np.nan_to_num(reference, nan=-np.inf)
    placed = np.empty(values.shape)
    for column in range(values.shape[1]):
        ordered = np.sort(reference[:, column])
        below = np.searchsorted(ordered, values[:, column], "left")
        upto = np.searchsorted(ordered, values[:, column], "right")
        placed[:, column] = (1 + (below + upto) / 2) / (len(ordered) + 1)
    return placed


def places(values: np.ndarray, ties: Ties = "average") -> np.ndarray:
    """Ranks among the candidates themselves, from 1 to m, by column; NaN is lowest.

    Equal ones share the mean rank, or (`ordinal`) the one that comes later stands higher.
    """
    from scipy.stats import rankdata

    return np.asarray(rankdata(np.nan_to_num(values, nan=-np.inf), method=ties, axis=0))


def among(values: np.ndarray, ties: Ties = "average") -> np.ndarray:
    """The `places` over their number, from 1 / m to 1.

    >>> among(np.array([[3.0], [1.0], [3.0], [np.nan]])).ravel().tolist()
    [0.875, 0.5, 0.875, 0.25]
    """
    return places(values, ties) / max(1, len(values))


def log_ranks_among(values: np.ndarray, ties: Ties = "average") -> np.ndarray:
    """The sum over members of log(rank / m) among the m candidates (AZ-NAS, Lee, Ham 2024, arXiv 2403.19232)."""
    return np.asarray(np.log(among(values, ties)).sum(axis=1))


def log_rank_sum(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The sum over members of the logarithm of the rank: a low rank in one member weighs more than a high one."""
    return np.asarray(np.log(ranks(values, reference)).sum(1))


def majority(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The share of the reference that an architecture beats by most members; a tie in a member is half a voice."""
    values, reference = np.nan_to_num(values, nan=-np.inf), np.nan_to_num(reference, nan=-np.inf)
    # Signs, not differences: two undefined values are a tie.
    voices = np.sign((values[:, None] > reference).astype(int) - (values[:, None] < reference).astype(int)).sum(2)
    return np.asarray((np.sign(voices) / 2 + 0.5).mean(1))
