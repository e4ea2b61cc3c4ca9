"""How well inherited scores tell what architectures come to when they are trained alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError


@dataclass(frozen=True)
class RankReport:
    """What `rank_report` finds; correlations are NaN where one side does not vary.

    `spearman_top` is among the truly best fifth only, `precision` the share of the `top` best-scored that are among the
    `top` truly best, `best_of_top` the best truth among the `top` best-scored, `pick` the truth of the best-scored one
    and `percentile` the share of architectures that are truly no better. `bias` says, by choice and option, by how
    much of the ranks (-1 to 1) those with the option are ranked above their true place on average.
    """

    count: int
    undefined: int
    spearman: float
    kendall: float
    spearman_top: float
    top: int
    precision: float
    best_of_top: float
    pick: float
    percentile: float
    bias: Mapping[str, float]


def rank_report(
    architectures: Sequence[Architecture], scores: Sequence[float], truth: Sequence[float], *, top: int = 50
) -> RankReport:
    """Compare scores with the truth (Zhang et al. 2020, arXiv 2010.08219, look at supernets so).

    Args:
        architectures: what was scored.
        scores: higher is better; undefined ones (NaN) rank last and are counted.
        truth: higher is better; finite.
        top: how many of the best-scored are looked at.

    Raises:
        UsageError: for fewer than two architectures, or lists of different lengths.
    """
    from scipy.stats import kendalltau, rankdata

    scored, true = np.asarray(scores, dtype=float), np.asarray(truth, dtype=float)
    if not len(scored) == len(true) == len(architectures) >= 2:
        raise UsageError(
            f"a rank report needs a score and a truth for each of at least two architectures, not {len(scored)} scores "
            f"and {len(true)} truths for {len(architectures)}."
        )
    undefined = int((~np.isfinite(scored)).sum())
    filled = np.where(np.isfinite(scored), scored, -np.inf)
    rank, place = rankdata(filled), rankdata(true)
    best = np.argsort(-true, kind="stable")[: max(2, len(true) // 5)]
    top = min(top, len(true))
    picked = np.argsort(-filled, kind="stable")[:top]
    residual = (rank - place) / len(true)
    columns: dict[str, list[float]] = {}
    for architecture, value in zip(architectures, residual, strict=True):
        for name, option in architecture.items():
            columns.setdefault(f"{name}={option}", []).append(float(value))
    return RankReport(
        count=len(true),
        undefined=undefined,
        spearman=_pearson(rank, place),
        kendall=float(kendalltau(rank, place).statistic),
        spearman_top=_pearson(rankdata(filled[best]), rankdata(true[best])),
        top=top,
        precision=len(set(picked.tolist()) & set(np.argsort(-true, kind="stable")[:top].tolist())) / top,
        best_of_top=float(true[picked].max()),
        pick=float(true[picked[0]]),
        percentile=float((true <= true[picked[0]]).mean()),
        bias={key: float(np.mean(values)) for key, values in sorted(columns.items())},
    )


def _pearson(one: np.ndarray, other: np.ndarray) -> float:
    spread = one.std() * other.std()
    return float(((one - one.mean()) * (other - other.mean())).mean() / spread) if spread else float("nan")
