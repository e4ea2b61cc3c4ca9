"""Which points no other point beats in everything: sorting and measuring by pymoo."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from archscout.core.trial import Trial

UNKNOWN = 1e300
"""What stands for a value or a cost that nobody knows: worse than any."""


def points(trials: Sequence[Trial], costs: Sequence[str]) -> np.ndarray:
    """One row a trial: minus its value, then its costs; all to be minimised. Unknown values are infinite."""
    rows = [[-t.value if t.defined else np.inf, *(t.costs.get(key, np.inf) for key in costs)] for t in trials]
    table = np.asarray(rows, dtype=float).reshape(len(trials), 1 + len(costs))
    return np.asarray(np.nan_to_num(table, nan=UNKNOWN, posinf=UNKNOWN))


def within_reach(rows: np.ndarray) -> np.ndarray:
    """The same rows with each objective from 0 (the best of them) to 1 (the worst); what is unknown is the worst."""
    known = np.where(rows < UNKNOWN / 2, rows, np.nan)
    there = ~np.isnan(known).all(axis=0)
    low, high = np.zeros(rows.shape[1]), np.ones(rows.shape[1])
    low[there], high[there] = np.nanmin(known[:, there], axis=0), np.nanmax(known[:, there], axis=0)
    return np.asarray(np.nan_to_num((known - low) / np.maximum(high - low, 1e-12), nan=1.0))


def directions(objectives: int, most: int) -> np.ndarray:
    """Evenly spread weights that add up to one, as many as there may be at most but one for each objective at least:
    (W, objectives), after Das and Dennis (1998)."""
    from pymoo.util.ref_dirs import get_reference_directions

    if objectives == 1:
        return np.ones((1, 1))
    parts = 1
    while math.comb(parts + objectives, objectives - 1) <= most:
        parts += 1
    return np.asarray(get_reference_directions("das-dennis", objectives, n_partitions=parts))


def fronts(rows: np.ndarray) -> list[np.ndarray]:
    """Positions of the rows by non-dominated front, the first front first."""
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    return [np.asarray(front) for front in NonDominatedSorting().do(rows)]


def order(rows: np.ndarray) -> list[int]:
    """Positions from best to worst: by front, within a front by crowding distance (NSGA-II; Deb et al. 2002)."""
    from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance

    ordered: list[int] = []
    for front in fronts(rows):
        crowding = calc_crowding_distance(rows[front])
        ordered += [int(front[i]) for i in np.lexsort((front, -crowding))]
    return ordered


def pareto_front(trials: Sequence[Trial], costs: Sequence[str]) -> list[Trial]:
    """The trials that no other beats in value and every cost, by rising first cost. Undefined ones never are."""
    defined = [trial for trial in trials if trial.defined]
    if not defined:
        return []
    rows = points(defined, costs)
    return [defined[i] for i in sorted(fronts(rows)[0], key=lambda i: (*rows[i][1:], rows[i][0]))]


def hypervolume(rows: np.ndarray, reference: Sequence[float]) -> float:
    """The volume between the rows and a reference point that is worse in everything."""
    from pymoo.indicators.hv import HV

    return float(HV(ref_point=np.asarray(reference, dtype=float))(rows))
