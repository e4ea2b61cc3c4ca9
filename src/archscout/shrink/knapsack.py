"""One option of each choice, so that the harms add up to the least and every limit is kept: exactly.

The multiple-choice knapsack. With one limit it is solved by dynamic programming over states that no other beats in both
cost and harm, where a bound by Lagrange's multiplier leaves few of them (Dyer, Kayal, Walker 1984); with several limits
by an integer programme (HiGHS, through `scipy.optimize.milp`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from archscout.core.errors import ArchscoutError

_BEAM = 200
"""States of the first, quick pass, whose result bounds the exact one."""


def choose(
    harms: Sequence[np.ndarray], costs: Sequence[Sequence[np.ndarray]], limits: Sequence[float]
) -> list[int] | None:
    """The option of each choice; None where no combination keeps the limits.

    Args:
        harms: for each choice, the harm of each option (any numbers).
        costs: for each limit, for each choice, the cost of each option (any numbers).
        limits: what the costs of the chosen options may add up to.

    Raises:
        ArchscoutError: the integer programme could not be solved.
    """
    if not limits:
        return [int(np.argmin(each)) for each in harms]
    if any(sum(float(each.min()) for each in table) > limit for table, limit in zip(costs, limits, strict=True)):
        return None
    if len(limits) == 1:
        return _one(harms, costs[0], limits[0])
    return _several(harms, costs, limits)


def _one(harms: Sequence[np.ndarray], costs: Sequence[np.ndarray], limit: float) -> list[int]:
    free = [int(np.argmin(each)) for each in harms]
    if sum(cost[option] for cost, option in zip(costs, free, strict=True)) <= limit:
        return free
    price = _multiplier(harms, costs, limit)
    near = _states(harms, costs, limit, price, _feasible(harms, costs, limit, price), width=_BEAM)
    return _states(harms, costs, limit, price, near)


def _states(
    harms: Sequence[np.ndarray],
    costs: Sequence[np.ndarray],
    limit: float,
    price: float,
    known: list[int],
    width: int | None = None,
) -> list[int]:
    """A combination no worse than `known`: the best, or where only the `width` states that look best are kept, a good
    one."""
    best = sum(float(harm[option]) for harm, option in zip(harms, known, strict=True))
    bounds = [float((harm + price * cost).min()) for harm, cost in zip(harms, costs, strict=True)]
    slack = 1e-9 * max(1.0, abs(best))
    # An option that is worse at the price by more than the gap between bound and best is in no better combination.
    gap = best - (sum(bounds) - price * limit) + slack
    worth = [
        np.flatnonzero(harm + price * cost - bound <= gap)
        for harm, cost, bound in zip(harms, costs, bounds, strict=True)
    ]
    harms = [harm[options] for harm, options in zip(harms, worth, strict=True)]
    costs = [cost[options] for cost, options in zip(costs, worth, strict=True)]
    left = np.concatenate([np.cumsum(bounds[::-1])[::-1], [0.0]])  # of all that come after, priced
    least = np.concatenate([np.cumsum([float(cost.min()) for cost in costs][::-1])[::-1], [0.0]])
    state_costs, state_harms = np.zeros(1), np.zeros(1)
    history: list[tuple[np.ndarray, np.ndarray]] = []
    for place, (harm, cost) in enumerate(zip(harms, costs, strict=True)):
        total_cost = (state_costs[:, None] + cost).ravel()
        total_harm = (state_harms[:, None] + harm).ravel()
        reach = total_harm + price * (total_cost - limit) + left[place + 1]
        alive = np.flatnonzero((total_cost + least[place + 1] <= limit) & (reach <= best + slack))
        if width is not None and len(alive) > width:
            alive = alive[np.argpartition(reach[alive], width)[:width]]
        order = alive[np.lexsort((total_harm[alive], total_cost[alive]))]
        lowest = np.minimum.accumulate(total_harm[order])
        first = np.concatenate([[True], total_harm[order][1:] < lowest[:-1]]) if len(order) else np.zeros(0, bool)
        order = order[first]  # no state has both a higher cost and no lower harm
        if not len(order):
            return known
        state_costs, state_harms = total_cost[order], total_harm[order]
        history.append((order // len(harm), order % len(harm)))
    state = int(np.argmin(state_harms))
    chosen = []
    for (parents, options), kept in zip(reversed(history), reversed(worth), strict=True):
        chosen.append(int(kept[options[state]]))
        state = int(parents[state])
    return chosen[::-1]


def _multiplier(harms: Sequence[np.ndarray], costs: Sequence[np.ndarray], limit: float) -> float:
    """The price of a unit of cost at which the cheapest options together just keep the limit."""
    low, high = 0.0, 1.0
    while _priced(harms, costs, high) > limit and high < 1e30:
        low, high = high, 4 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _priced(harms, costs, middle) > limit else (low, middle)
    return high


def _priced(harms: Sequence[np.ndarray], costs: Sequence[np.ndarray], price: float) -> float:
    """What the options cost that are best at a price (the cheaper one of two that are equally good)."""
    total = 0.0
    for harm, cost in zip(harms, costs, strict=True):
        value = harm + price * cost
        total += float(cost[value <= value.min() + 1e-12 * max(1.0, abs(float(value.min())))].min())
    return total


def _feasible(harms: Sequence[np.ndarray], costs: Sequence[np.ndarray], limit: float, price: float) -> list[int]:
    """Some combination that keeps the limit: the best at the price, then improved one by one."""
    chosen = [int(np.lexsort((cost, harm + price * cost))[0]) for harm, cost in zip(harms, costs, strict=True)]
    spent = sum(float(cost[option]) for cost, option in zip(costs, chosen, strict=True))
    if spent > limit:
        chosen = [int(np.lexsort((harm, cost))[0]) for harm, cost in zip(harms, costs, strict=True)]
        spent = sum(float(cost[option]) for cost, option in zip(costs, chosen, strict=True))
    better = True
    while better:
        better = False
        for place, (harm, cost) in enumerate(zip(harms, costs, strict=True)):
            room = limit - spent + cost[chosen[place]]
            fits = np.flatnonzero(cost <= room)
            option = int(fits[np.argmin(harm[fits])]) if len(fits) else chosen[place]
            if harm[option] < harm[chosen[place]]:
                spent += float(cost[option] - cost[chosen[place]])
                chosen[place], better = option, True
    return chosen


def _several(
    harms: Sequence[np.ndarray], costs: Sequence[Sequence[np.ndarray]], limits: Sequence[float]
) -> list[int] | None:
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    sizes = [len(each) for each in harms]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    objective = np.concatenate(harms).astype(float)
    scale = max(float(np.abs(objective).max()), 1e-30)
    rows = np.repeat(np.arange(len(sizes)), sizes)
    one = csr_array((np.ones(starts[-1]), (rows, np.arange(starts[-1]))), shape=(len(sizes), starts[-1]))
    units = [max(abs(limit), max(float(np.abs(each).max()) for each in table), 1e-30)
             for table, limit in zip(costs, limits, strict=True)]  # fmt: skip
    table = np.stack([np.concatenate(each).astype(float) / unit for each, unit in zip(costs, units, strict=True)])
    most = np.array([limit / unit for limit, unit in zip(limits, units, strict=True)])
    solution = milp(
        objective / scale,
        constraints=[LinearConstraint(one, 1, 1), LinearConstraint(table, -np.inf, most)],
        integrality=np.ones(starts[-1]),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0, "time_limit": 60.0},
    )
    if solution.status == 2:  # infeasible
        return None
    if solution.x is None:
        raise ArchscoutError(f"the choice of options could not be made: {solution.message}")
    return [int(np.argmax(solution.x[start:end])) for start, end in pairwise(starts)]
