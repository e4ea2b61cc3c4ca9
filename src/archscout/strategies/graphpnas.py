"""GraphPNAS: learns a distribution of good graphs, and tries what it draws from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError, nearest
from archscout.core.registry import register
from archscout.core.seeds import derive
from archscout.core.space import Space
from archscout.core.strategy import Strategy, unseen
from archscout.core.trial import History
from archscout.strategies.graph_generator import Drawing, GraphGenerator, fitted

DRAWS, ROUNDS = 32, 4
"""Graphs that are drawn at once, and how often, until one is new."""

SCHEDULES: Mapping[str, Callable[[int, int], float]] = {
    "first": lambda known, first: float(known < first),
    "harmonic": lambda known, first: 2 / (known / first + 2),
    "halving": lambda known, first: 2 ** (-known / first / 2),
}
"""By name the chance that a proposal is random, by how many trials are known; `first` is the length of an iteration."""


@register("strategy", "graphpnas")
class GraphPNAS(Strategy):
    """GraphPNAS: draws from a generator of graphs that has learned the best (Li et al. 2022, arXiv 2211.15155).

    A new generator (`archscout.strategies.graph_generator`) learns the 15 best networks, each weighted by its empirical
    rank among them, and what it draws that is new is tried. Some proposals are random architectures, by a schedule: the
    first 30 (`first`), or ever fewer (`harmonic`: 2 / (t + 2), `halving`: 2 ^ (-t / 2), t in iterations of 30).

    Different from the published code: random architectures are samples of the space, and not Erdos-Renyi graphs of
    which the valid ones are taken; a generator is learned anew after every fifth trial, not after each.

    Args:
        first: random architectures before it learns, or those of an iteration of a schedule.
        schedule: `first`, `harmonic` or `halving`.
        keep: best networks that it learns.
        batch: trials after which it learns anew.
        epochs: that it learns them for.
    """

    def __init__(
        self, first: int = 30, schedule: str = "first", keep: int = 15, batch: int = 5, epochs: int = 100
    ) -> None:
        if min(first, batch, epochs) < 1 or keep < 2:
            raise UsageError(
                "strategy 'graphpnas' needs first, batch and epochs of 1 or more and to keep 2 or more, not "
                f"first={first}, batch={batch}, epochs={epochs}, keep={keep}."
            )
        if schedule not in SCHEDULES:
            raise UsageError(f"strategy 'graphpnas' has no schedule '{schedule}': {nearest(schedule, SCHEDULES)}")
        self.name = "graphpnas"
        self.first, self.schedule, self.keep, self.batch, self.epochs = first, schedule, keep, batch, epochs
        self._learned: tuple[tuple[tuple[str, float], ...], GraphGenerator] | None = None

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        drawing = Drawing(space)
        explores = rng.random() < SCHEDULES[self.schedule](len(history), self.first)
        generator = None if explores else self._generator(drawing, history)
        known = history.seen | {pending.canonical for pending in history.pending}
        for _ in range(ROUNDS if generator is not None else 0):
            assert generator is not None
            for architecture in map(space.nearest, generator.sample(DRAWS, rng)):
                if space.canonical(architecture) not in known:
                    return architecture
        return unseen(lambda: space.sample(rng), space, history)

    def _generator(self, drawing: Drawing, history: History) -> GraphGenerator | None:
        """What has learned the best of the first trials, all whole batches; None where too few came to a value."""
        lesson = [trial for trial in history[: len(history) // self.batch * self.batch] if trial.defined]
        networks = {trial.canonical: trial for trial in reversed(lesson)}
        best = sorted(networks.values(), key=lambda trial: trial.rank)[: self.keep]
        if len(best) < 2:
            return None
        content = tuple((trial.architecture.text, trial.value) for trial in best)
        if self._learned is None or self._learned[0] != content or self._learned[1].drawing.space is not drawing.space:
            values = np.asarray([trial.value for trial in best])
            rewards = [float((values <= value).mean()) for value in values]
            seed = derive(0, "graphpnas", *(text for text, _ in content)) % 2**31
            generator = fitted(
                drawing, [drawing.space.simplify(t.architecture) for t in best], rewards, self.epochs, seed
            )
            self._learned = content, generator  # the last one is kept: it follows from these alone
        return self._learned[1]
