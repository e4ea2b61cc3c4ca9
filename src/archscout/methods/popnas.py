"""POPNAS: cells grow block by block along a Pareto front of expected accuracy and training time."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from archscout.core.architecture import Architecture
from archscout.core.estimator import Setting
from archscout.core.fresh import fresh
from archscout.core.method import Method, Run
from archscout.core.registry import create, register
from archscout.core.space import Space
from archscout.core.trial import Trial
from archscout.estimators.encodings.graphs import ZERO
from archscout.estimators.predictors.base import LEAST
from archscout.estimators.predictors.training_time import TrainingTime
from archscout.methods.strategy import check_trains, ranked
from archscout.methods.training_free import whole

LOOKED_AT = 1000
"""Candidates of a step, the most accurate ones by prediction, whose costs are asked for."""

TRIES = 200
"""Random cells that are looked at where growth cannot begin."""

ENOUGH, ENOUGH_OF_ONE = 8, 4
"""The score that an explorer needs where operations and inputs are under-used, and where only one of them is."""


@register("method", "popnas")
class POPNAS(Method):
    """Cells grow block by block; those on the expected Pareto front of accuracy and time are trained (POPNASv3).

    Source: Falanti, Lomurno, Ardagna, Matteucci 2023, arXiv 2212.06735. Cells of one block are trained first. Then,
    step by step: an accuracy and a time predictor learn from all trained cells; every cell of the last step gets every
    possible further block; what no other candidate beats in expected accuracy, expected training time and every exact
    cost that is an objective is trained, and with it some cells of operations and inputs that this front hardly uses.

    Reconstructed: the accuracy predictor is `scout`, and not the published recurrent one (`predictor=gin` is a graph
    network, as in the later code); inputs are told apart by how deep in the cell they lie. The published selection
    among sizes of the whole network in the end is left out: here these are parameters of spaces, and not choices.

    Args:
        keep: most cells of a step's Pareto front.
        explore: most cells of its exploration front.
        first: most cells of one block.
        time: whether training time counts. Without it and without objectives this is PNAS: the top `keep` by accuracy.
        predictor: of accuracy, an estimator that learns from the architecture alone.
    """

    def __init__(
        self,
        keep: int = 32,
        explore: int = 4,
        first: int = 24,
        time: bool = True,
        predictor: str = "scout",
    ) -> None:
        self.name = "popnas"
        self.keep, self.first = whole(keep, "keep"), whole(first, "first")
        self.explore = whole(explore, "explore", 0)
        self.time, self.predictor = time, predictor

    def search(self, run: Run) -> list[Trial]:
        check_trains(run, self.name)
        seen: set[str] = set()
        quality: list[dict[str, float]] = []
        step = self._train(run, self._beginning(run, seen), "cells of 1 block")
        trials = list(step)
        for blocks in itertools.count(2):
            candidates = self._candidates(run, step, seen)
            if not candidates or run.trials_left() < 1:
                break
            beliefs = self._beliefs(run, trials, candidates)
            chosen = self._fronts(run, beliefs)
            seen |= {run.space.canonical(one) for one in chosen}
            step = self._train(run, chosen, f"cells of {blocks} blocks")
            quality.append(_quality(beliefs, step, blocks))
            trials += step
            if len(step) < len(chosen):
                break  # the budget is spent
        run.note("predictors by step", quality)
        return ranked(run, trials)

    def _train(self, run: Run, architectures: Sequence[Architecture], phase: str) -> list[Trial]:
        return run.evaluate(architectures, run.estimator, fidelity=run.epochs, phase=phase)

    def _beginning(self, run: Run, seen: set[str]) -> list[Architecture]:
        """Cells of one block: those of one operation first, small before large, for they tell its time; then others.

        Random cells where no cell of one block is in the space, or keeps the limits.
        """
        cells = run.admit(fresh(run.space, self._simple(run.space, run.space.grown()), set()), 100_000)
        if not cells:
            rng = run.rng("larger than one block")
            sampled = (run.space.sample(rng) for _ in range(TRIES))
            cells = run.admit(fresh(run.space, self._simple(run.space, sampled), set()), self.first)
        plain = [operations(run.space, cell) for cell in cells]
        order = run.rng("first").permutation(len(cells))
        best = sorted(order, key=lambda n: (len(set(plain[n])) > 1, len(plain[n]) if len(set(plain[n])) < 2 else 0))
        most = self.first if np.isinf(run.trials_left()) else min(self.first, max(LEAST, int(run.trials_left() // 3)))
        chosen = [cells[int(number)] for number in best[:most]]
        seen |= {run.space.canonical(cell) for cell in chosen}
        return chosen

    def _candidates(self, run: Run, step: Sequence[Trial], seen: set[str]) -> list[Architecture]:
        """Every cell of a step with every further block, each network once, as far as it keeps the limits."""
        grown = itertools.chain.from_iterable(run.space.grown(t.architecture) for t in step if t.defined)
        return run.admit(fresh(run.space, self._simple(run.space, grown), set(seen)), 100_000)

    def _simple(self, space: Space, cells: Iterable[Architecture]) -> Iterator[Architecture]:
        return (space.simplify(cell) for cell in cells)

    def _beliefs(self, run: Run, trials: Sequence[Trial], candidates: Sequence[Architecture]) -> Beliefs:
        """What both predictors expect; random values where there is nothing to learn accuracy from."""
        known = [trial for trial in trials if trial.defined]
        setting = Setting(run.space, run.task, run.seed, run.device)
        if len(known) < LEAST or len({trial.value for trial in known}) < 2:
            values = run.rng("nothing known", len(trials)).random(len(candidates))
        else:
            estimator = create("estimator", self.predictor)
            estimator.fit(known, setting)
            values = np.asarray([estimate.value for estimate in estimator.estimate(candidates, setting)])
        seconds = None
        if self.time and len(known) >= LEAST:
            timed = TrainingTime(run.space).fit([t.architecture for t in known], [t.seconds for t in known])
            seconds = timed.predict(candidates)
        return Beliefs(tuple(candidates), values, seconds)

    def _fronts(self, run: Run, beliefs: Beliefs) -> list[Architecture]:
        """The Pareto front, then the exploration front: as many as are wanted."""
        order = np.argsort(-beliefs.values, kind="stable")[:LOOKED_AT]
        columns = [beliefs.seconds[order][:, None]] if beliefs.seconds is not None else []
        if run.objectives:
            exact = run.screened([beliefs.candidates[int(place)] for place in order])
            columns.append(np.asarray([[costs.get(key, np.inf) for key in run.objectives] for costs in exact]))
        if not columns:
            return [beliefs.candidates[int(place)] for place in order[: self.keep]]
        costs = np.concatenate(columns, axis=1)
        front = pareto_scan(costs, range(len(order)), self.keep)
        candidates = [beliefs.candidates[int(place)] for place in order]
        used = [parts(run.space, candidate) for candidate in candidates] if self.explore else []
        explorers = exploration(used, front, costs, self.explore) if used else []
        return [candidates[place] for place in (*front, *explorers)]


@dataclass(frozen=True)
class Beliefs:
    """What is expected of candidates: values (N,), higher is better, and seconds (N,) where they count."""

    candidates: tuple[Architecture, ...]
    values: np.ndarray
    seconds: np.ndarray | None


def pareto_scan(costs: np.ndarray, places: Iterable[int], most: int) -> list[int]:
    """Of rows (N, C) in the order of falling value the first `most` among `places` that no better one undercuts.

    >>> pareto_scan(np.asarray([[3.0], [4.0], [2.0], [2.0]]), range(4), 9)
    [0, 2]
    """
    front: list[int] = []
    for place in places:
        if len(front) == most:
            break
        if not any((costs[kept] <= costs[place]).all() for kept in front):
            front.append(place)
    return front


def exploration(
    used: Sequence[Counter[tuple[str, str]]], front: Sequence[int], costs: np.ndarray, most: int
) -> list[int]:
    """Places of cells of what the front hardly uses: an operation or input in less than a fifth of its fair share.

    A cell scores 1 for each use of such a part, 2 more where explorers so far use it no more than the average of the
    parts, and 1 more where it is of the kind (operation or input) that they use less. Those that score enough are
    scanned by falling score, as the Pareto front is.
    """
    kinds = {kind: sorted({part for one in used for part in one if part[0] == kind}) for kind in ("operation", "input")}
    totals: Counter[tuple[str, str]] = sum((used[place] for place in front), Counter())
    rare: set[tuple[str, str]] = set()
    for known in kinds.values():
        total = sum(totals[part] for part in known)
        rare |= {part for part in known if totals[part] < total / (5 * len(known))}
    if not rare:
        return []
    enough = ENOUGH if len({kind for kind, _ in rare}) > 1 else ENOUGH_OF_ONE
    explored: Counter[tuple[str, str]] = Counter()
    taken: list[int] = []
    while len(taken) < most:
        average = sum(explored.values()) / len(rare)
        by_kind = Counter({kind: sum(n for part, n in explored.items() if part[0] == kind) for kind in kinds})
        fewer = min(kinds, key=lambda kind: by_kind[kind])
        worth = {part: 1 + 2 * (explored[part] <= average) + (part[0] == fewer) for part in rare}
        scores = [sum(n * worth.get(part, 0) for part, n in one.items()) for one in used]
        free = [place for place in range(len(used)) if scores[place] >= enough and place not in {*front, *taken}]
        free = [
            place for place in free if not any((costs[kept] <= costs[place]).all() and kept < place for kept in taken)
        ]
        if not free:
            break
        best = max(free, key=lambda place: (scores[place], -place))
        taken.append(best)
        explored += Counter({part: n for part, n in used[best].items() if part in rare})
    return taken


def operations(space: Space, architecture: Architecture) -> list[str]:
    """The labels of the nodes of a cell that are neither its ends nor nothing."""
    return [label for label in space.graph(architecture).labels if _computes(label)]


def parts(space: Space, architecture: Architecture) -> Counter[tuple[str, str]]:
    """How often a cell uses each operation and each input; inputs by name, or by how deep in the cell they lie."""
    graph = space.graph(architecture)
    depth = [0] * len(graph.nodes)
    used: Counter[tuple[str, str]] = Counter()
    for node, label in enumerate(graph.labels):
        live = [
            s for s in graph.predecessors(node) if _computes(graph.labels[s]) or graph.labels[s].startswith("input")
        ]
        depth[node] = 1 + max((depth[source] for source in live), default=0) if live else 0
        if _computes(label):
            used["operation", label] += 1
            for source in live:
                named = graph.labels[source]
                used["input", named if named.startswith("input") else f"depth {depth[source]}"] += 1
    return used


def _computes(label: str) -> bool:
    return label not in ZERO and not label.startswith(("input", "output"))


def _quality(beliefs: Beliefs, step: Sequence[Trial], blocks: int) -> dict[str, float]:
    """How well both predictors ranked the cells of a step, and how far off the times were, as a share."""
    place = {one.text: number for number, one in enumerate(beliefs.candidates)}
    known = [(place[trial.architecture.text], trial) for trial in step if trial.defined]
    numbers = [number for number, _ in known]
    row: dict[str, float] = {"blocks": blocks, "cells": len(known)}
    pairs = {"accuracy": (beliefs.values, [trial.value for _, trial in known])}
    if beliefs.seconds is not None:
        pairs["time"] = beliefs.seconds, [trial.seconds for _, trial in known]
    for name, (expected, measured) in pairs.items():
        if len(known) > 2 and len(set(measured)) > 1 and len(set(expected[numbers])) > 1:
            row[f"{name} spearman"] = float(spearmanr(expected[numbers], measured).statistic)
    if beliefs.seconds is not None and known and min(trial.seconds for _, trial in known) > 0:
        seconds = np.asarray([trial.seconds for _, trial in known])
        row["time off by"] = float(np.mean(np.abs(beliefs.seconds[numbers] - seconds) / seconds))
    return row
