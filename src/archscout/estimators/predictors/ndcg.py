"""The gradient of NDCG: LambdaRank over the relevance of AceNAS."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

GRADES = 20.0


def relevance(y: np.ndarray) -> np.ndarray:
    """0 for the lower fifth, rising to 20 for the best: `20 (y - q) / (max - q)`, cut to 0..20 (arXiv 2108.03001)."""
    low, high = np.quantile(y, 0.2), y.max()
    return np.asarray(GRADES * np.clip((y - low) / (high - low), 0, 1) if high > low else np.zeros(len(y)))


def lambdas(scores: Tensor, graded: Tensor) -> Tensor:
    """By how much each score should fall, so that minus NDCG falls (LambdaRank, Burges 2010): (n,).

    A pair pulls apart by the probability that it is in the wrong order, times how much NDCG changes when the two change
    places in the present order. Gains are 2^relevance - 1, discounts log2(1 + rank). The code of AceNAS takes the ranks
    from the labels; here, as in the publication, they are those of the scores.
    """
    rank = torch.empty_like(scores)
    rank[torch.argsort(scores, descending=True, stable=True)] = torch.arange(1, len(scores) + 1, dtype=scores.dtype)
    gain = 2.0**graded
    discount = 1 / torch.log2(1 + rank)
    places = 1 / torch.log2(torch.arange(2, len(scores) + 2, dtype=scores.dtype))
    ideal = ((torch.sort(gain, descending=True).values - 1) * places).sum().clamp(min=1e-12)
    change = (gain[:, None] - gain[None]).abs() * (discount[:, None] - discount[None]).abs() / ideal
    better = torch.sign(graded[:, None] - graded[None])
    pull = 0.5 * (1 - better) - torch.sigmoid(scores[None] - scores[:, None])
    return (pull * change * (better != 0)).sum(dim=1)


def lambda_loss(scores: Tensor, graded: Tensor) -> Tensor:
    """A number whose gradient by the scores is `lambdas`."""
    return (scores * lambdas(scores.detach(), graded)).sum()
