"""OMNI with SemiNAS: score and curve become tokens at the end of the sequence."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from archscout.core.registry import register
from archscout.estimators.curves.learned import LearnedFromCurves
from archscout.estimators.predictors.network import Inputs
from archscout.estimators.predictors.seminas import SemiNAS

BINS = ((10, 1), (20, 2), (40, 3), (80, 5))
"""Up to so many samples, so many thresholds; 9 beyond."""


@register("estimator", "omni_seminas")
def omni_seminas(
    encoding: str = "sequence", scores: str = "jacob_cov", curve: str = "sotl_e", seed: int = 0
) -> LearnedFromCurves:
    """SemiNAS on a sequence that ends in tokens for jacob_cov and SoTL-E (OMNI, White et al. 2021)."""
    return LearnedFromCurves("omni_seminas", TokenSemiNAS(seed=seed), encoding, scores, curve)


class TokenSemiNAS(SemiNAS):
    """SemiNAS, with columns after the sequence cut at quantiles of the training samples into tokens of their own.

    With n samples there are 1 (up to 10), 2, 3, 5 or 9 (above 80) thresholds. Parameters: see `Network`.
    """

    unlabelled: ClassVar[int] = SemiNAS.unlabelled

    def _prepare(self, matrix: np.ndarray) -> None:
        super()._prepare(matrix)
        self.plain_ = self.tokens_
        count = next((bins for most, bins in BINS if len(matrix) <= most), 9)
        shares = np.arange(1, count + 1) / (count + 1)
        self.thresholds_ = np.quantile(matrix[:, self.blocks_[0] :], shares, axis=0)
        self.tokens_ = self.plain_ + self.thresholds_.shape[1] * (count + 1)

    def _inputs(self, matrix: np.ndarray) -> Inputs:
        tokens, side = matrix[:, : self.blocks_[0]], matrix[:, self.blocks_[0] :]
        known = np.where((tokens >= 0) & (tokens < self.plain_), tokens, 0)
        columns = [
            self.plain_ + place * (len(cuts) + 1) + np.searchsorted(cuts, values)
            for place, (cuts, values) in enumerate(zip(self.thresholds_.T, side.T, strict=True))
        ]
        whole = np.column_stack([known, *columns]).astype(np.int64)
        return torch.from_numpy(whole), torch.empty((len(matrix), 0))
