"""Which cuts keep the limits at the least harm: options rated alone, chosen together, rated whole, chosen again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.core.written import significant
from archscout.shrink.accounts import Accounts
from archscout.shrink.knapsack import choose
from archscout.shrink.rating import additive, harm_of, hidden, ignorance
from archscout.spaces.trained import DROP, TrainedSpace
from archscout.training.speed import fast_layout, laid_out

Measure = Callable[[Architecture], Mapping[str, float]]
"""What an architecture costs in truth, by the names of the limits."""

CANDIDATES, ROUNDS = 16, 3
"""Architectures that are rated whole in a round, and rounds."""

_STEPS = 10
_CLOSE = 0.97
_SHAVED = 0.9
"""Of a cost, what is left at least before it is measured again: one measurement may be far too high."""


@dataclass(frozen=True)
class Plan:
    """What is cut: the architecture, the harm before recovery (divergence), costs, how many were rated whole."""

    architecture: Architecture
    harm: float
    costs: Mapping[str, float]
    rated: int


def plan(
    network: nn.Module,
    space: TrainedSpace,
    accounts: Accounts,
    harms: Mapping[str, np.ndarray],
    limits: Mapping[str, float],
    measure: Measure,
    x: Tensor,
    *,
    seed: int,
    rounds: int = ROUNDS,
    going: Callable[[], bool] = lambda: True,
) -> Plan:
    """The architecture of least harm under limits.

    Harms of options add up as if no two met (`archscout.shrink.rating.additive`); costs are those of `accounts`, linear
    around the present architecture and calibrated by measuring it, so that the choice is made again where it has led
    (`_reach`). Then the interaction: architectures near the choice are rated whole, each choice's harm is weighed anew
    so that the sums tell those ratings (non-negative least squares towards 1), and the choice is made once more.

    Args:
        network: the whole network, in evaluation mode.
        space: what can be cut of it.
        accounts: what its layers cost.
        harms: of each choice, that of each option (`archscout.shrink.rating.harms`).
        limits: by cost.
        measure: the truth about an architecture.
        x: inputs on which whole architectures are rated.
        seed: of the candidates.
        rounds: of the interaction.
        going: whether there is time to look for a better choice than one that keeps the limits.

    Raises:
        UsageError: even the smallest architecture breaks a limit.
    """
    with fast_layout(network, x[:2]) as layout:
        x = x.contiguous(memory_format=layout)
        with torch.no_grad(), hidden(network, space, space.cut_of(space.widest)):
            original = network(x)
    if not bool(torch.isfinite(original).all()):
        raise UsageError("the network's answers to validation examples are not finite (nan or inf): train it anew.")
    check_smallest(space, limits, measure)
    most = ignorance(original)
    harms = {name: additive(row, most) for name, row in harms.items()}
    weights = dict.fromkeys(harms, 1.0)
    rng = stream(seed, "shrink")
    best: Plan | None = None
    rated: dict[str, tuple[Architecture, float]] = {}

    def rate(architecture: Architecture) -> float:
        if architecture.text not in rated:
            with laid_out(network, layout):
                rated[architecture.text] = architecture, harm_of(network, space, architecture, x, original)
        return rated[architecture.text][1]

    for turn in range(rounds + 1):
        weighed = {name: harm * weights[name] for name, harm in harms.items()}
        proposal, costs = _reach(space, accounts, weighed, limits, measure, going)
        harm = rate(proposal)
        if best is None or harm < best.harm:
            best = Plan(proposal, harm, costs, len(rated))
        if turn == rounds or not going() or all(value == 0 for row in harms.values() for value in row):
            break
        ratios = _ratios(accounts, best.architecture, best.costs)
        for _ in range(CANDIDATES):
            if not going():
                break
            noisy = {name: row * np.exp(rng.normal(0, 0.5)) for name, row in weighed.items()}
            candidate = _solve(space, accounts, noisy, limits, ratios, best.architecture)
            if candidate is not None:
                rate(candidate)
        weights = _weights(harms, space, [(each, float(additive(np.array(v), most))) for each, v in rated.values()])
        for candidate, value in sorted(rated.values(), key=lambda pair: pair[1]):
            if value >= best.harm or not going():
                break
            true = measure(candidate)
            if all(true[name] <= limit for name, limit in limits.items()):
                best = Plan(candidate, value, true, len(rated))
                break
    assert best is not None
    return Plan(best.architecture, best.harm, best.costs, len(rated))


def shave(
    space: TrainedSpace,
    accounts: Accounts,
    harms: Mapping[str, np.ndarray],
    limits: Mapping[str, float],
    measure: Measure,
    around: Architecture,
) -> Plan:
    """An architecture that nearly keeps its limits, and of it as little less as keeps them.

    Options go down one at a time, each time the one whose harm is least for what it saves; measured between.

    Raises:
        UsageError: nothing more can be cut.
    """
    current, true = around, measure(around)
    while any(true[name] > limit for name, limit in limits.items()):
        name = max(limits, key=lambda name: true[name] / limits[name])
        proxy, begun = _proxy(name), accounts.costs(current)
        target = begun[proxy] * max(_SHAVED, 0.99 * limits[name] / true[name])
        while (over := accounts.costs(current)[proxy] - target) > 0:
            lower = _lower(space, accounts, harms, current, proxy, over)
            if lower is None:
                raise UsageError("no cut of this network keeps the limits: raise them, or give smaller images.")
            current = lower
        true = measure(current)
    return Plan(current, _sum(space, harms, current), true, 0)


def _lower(
    space: TrainedSpace,
    accounts: Accounts,
    harms: Mapping[str, np.ndarray],
    current: Architecture,
    proxy: str,
    wanted: float,
) -> Architecture | None:
    """One option lower in one choice, where that harms least for what it saves, up to what is wanted."""
    here, costs = accounts.costs(current)[proxy], accounts.alternatives(current)
    best: tuple[float, Architecture] | None = None
    for choice in space.choices:
        place = choice.index(current[choice.name])
        if place + 1 == len(choice.options):
            continue
        saved = here - costs[choice.name][place + 1][proxy]
        if saved <= 0:
            continue
        row = np.nan_to_num(harms[choice.name], nan=1e9, posinf=1e9)
        price = float(row[place + 1] - row[place]) / min(saved, wanted)
        if best is None or price < best[0]:
            best = price, space.simplify(space.architecture({**current, choice.name: choice.options[place + 1]}))
    return None if best is None else best[1]


def check_smallest(
    space: TrainedSpace, limits: Mapping[str, float], measure: Measure, keys: Mapping[str, str] | None = None
) -> None:
    """Raise `UsageError` where even the smallest architecture breaks a limit; `keys` name costs with their units."""
    smallest = space.simplify(
        space.architecture({c.name: DROP if DROP in c.options else c.options[-1] for c in space.choices})
    )
    costs = measure(smallest)
    for name, limit in limits.items():
        if costs[name] > limit:
            raise UsageError(
                f"no cut of this network keeps {(keys or {}).get(name, name)} <= {significant(limit, 4)}: the smallest "
                f"one has {significant(costs[name], 4)}; raise the limit, give smaller images, or begin with "
                "a smaller network."
            )


def _proxy(name: str) -> str:
    """Which of the accounts a cost follows."""
    kind = name.partition(":")[0].partition("@")[0]
    return {"params": "params", "weight_bytes": "params", "macs": "macs", "latency": "latency"}.get(kind, "latency")


def _ratios(accounts: Accounts, at: Architecture, true: Mapping[str, float]) -> dict[str, float]:
    counted = accounts.costs(at)
    return {name: counted[_proxy(name)] / max(value, 1e-12) for name, value in true.items()}


def _solve(
    space: TrainedSpace,
    accounts: Accounts,
    harms: Mapping[str, np.ndarray],
    limits: Mapping[str, float],
    ratios: Mapping[str, float],
    around: Architecture,
) -> Architecture | None:
    """The knapsack with costs that are linear around an architecture; None where nothing keeps the limits."""
    choices = space.choices
    here, costs = accounts.costs(around), accounts.alternatives(around)
    tables: dict[str, list[np.ndarray]] = {name: [] for name in limits}
    present = dict.fromkeys(limits, 0.0)
    for choice in choices:
        for name in limits:
            table = np.array([row[_proxy(name)] for row in costs[choice.name]]) - here[_proxy(name)]
            tables[name].append(table)
            present[name] += float(table[choice.index(around[choice.name])])
    room = [limit * ratios[name] - here[_proxy(name)] + present[name] for name, limit in limits.items()]
    chosen = choose([harms[choice.name] for choice in choices], [tables[name] for name in limits], room)
    if chosen is None:
        return None
    values = {choice.name: choice.options[option] for choice, option in zip(choices, chosen, strict=True)}
    return space.simplify(space.architecture(values))


def _reach(
    space: TrainedSpace,
    accounts: Accounts,
    harms: Mapping[str, np.ndarray],
    limits: Mapping[str, float],
    measure: Measure,
    going: Callable[[], bool],
) -> tuple[Architecture, Mapping[str, float]]:
    """Choose, measure, and choose again around what was chosen, until the limits are kept and nearly used up."""
    current = space.widest
    true = measure(current)
    best: tuple[float, Architecture, Mapping[str, float]] | None = None
    tightness = 1.0
    for _ in range(_STEPS):
        keeps = all(true[name] <= limit for name, limit in limits.items())
        if keeps:
            harm = _sum(space, harms, current)
            if best is None or harm < best[0]:
                best = harm, current, true
            if harm == 0 or not going() or any(true[name] >= _CLOSE * limit for name, limit in limits.items()):
                break
        else:
            tightness *= 0.99 if going() else 0.9  # where time is short, surely rather than closely
        targets = {name: limit * tightness for name, limit in limits.items()}
        proposal = _solve(space, accounts, harms, targets, _ratios(accounts, current, true), current)
        if proposal is None:  # around here it looks impossible: begin again from further down
            proposal = _smaller(space, current)
        if proposal == current:
            if keeps:
                break
            tightness *= 0.95
            continue
        current, true = proposal, measure(proposal)
    if best is None:
        while not all(true[name] <= limit for name, limit in limits.items()):
            smaller = _smaller(space, current)
            if smaller == current:
                raise UsageError("no cut of this network keeps the limits: raise them, or give smaller images.")
            current, true = smaller, measure(smaller)
        return current, true
    return best[1], best[2]


def _sum(space: TrainedSpace, harms: Mapping[str, np.ndarray], architecture: Architecture) -> float:
    return sum(float(harms[c.name][c.index(architecture[c.name])]) for c in space.choices)


def _smaller(space: TrainedSpace, architecture: Architecture) -> Architecture:
    """Every width and kernel one option smaller."""
    values = dict(architecture)
    for choice in space.choices:
        if choice.ordinal:
            values[choice.name] = choice.options[min(choice.index(values[choice.name]) + 1, len(choice.options) - 1)]
    return space.architecture(values)


def _weights(
    harms: Mapping[str, np.ndarray], space: TrainedSpace, rated: Sequence[tuple[Architecture, float]]
) -> dict[str, float]:
    """How often each choice's harm counts, so that sums of harms tell how whole architectures were rated."""
    from scipy.optimize import nnls

    names = [choice.name for choice in space.choices]
    rows = np.array([[float(harms[c.name][c.index(a[c.name])]) for c in space.choices] for a, _ in rated])
    values = np.array([value for _, value in rated])
    finite = np.isfinite(values) & np.isfinite(rows).all(1)
    rows, values = rows[finite], values[finite]
    scale = max(float(values.mean()) if len(values) else 0.0, 1e-12)
    # Towards one weight for all: what the ratings do not tell apart keeps its proportions.
    common = float(values.sum() / max(float(rows.sum()), 1e-12)) if len(values) else 1.0
    size = rows / scale
    pull = 0.3 * np.sqrt((size**2).sum(0) + 1e-6)
    design = np.vstack([size, np.diag(pull)])
    solution, _ = nnls(design, np.concatenate([values / scale, pull * common]))
    return dict(zip(names, np.maximum(solution, 0.05 * common).tolist(), strict=True))
