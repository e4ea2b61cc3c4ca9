"""What a budget of time buys, planned backwards: the final training of the winner first, the search with the rest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archscout.core.architecture import Architecture
from archscout.core.budget import BudgetTooSmall
from archscout.core.errors import ArchscoutError
from archscout.core.method import Candidate
from archscout.costs import feasibility
from archscout.estimators.prior import Data, Network, Prior
from archscout.networks.tracing import trace_architecture
from archscout.search.run import SearchRun
from archscout.training.recipe import full_epochs
from archscout.training.timing import time_job, work
from archscout.workers.engine import TrialTimeout

LONGER = 3
"""By what factor the final training may be longer than a full one; beyond that it hardly pays."""

FINAL = (0.3, 0.85)
"""Share of a time budget that is kept for the final training, where many trainings fit into it and where hardly one."""

FINAL_OF_OTHERS = 0.4
"""The same for methods that do not plan with the length of a training."""

SAMPLED = 8
"""Architectures that are drawn where a space names no references, or hardly one that keeps the limits."""

FEW = 3
"""References that keep the limits, below which others are looked for."""

MUCH_LEFT = 0.8
"""Share of a budget that is left for training; less than that is said."""

TIMED = 6
"""Architectures whose training is timed at most, before the search."""

TIMING_SHARE, LEAST_TIMING_SHARE = 0.08, 0.1
"""Of the budget, what timing may take; of a small one, as much as that, up to three seconds."""

LOOKING_SHARE = 0.25
"""Of the budget, what holding references and samples against the limits may take on a machine that is too busy."""

GRACE = 3.0
"""Seconds that a look or a timing may take even where the budget has ended, so that what is enough can be said."""


@dataclass(frozen=True)
class Plan:
    """What the budget is spent on.

    Args:
        epochs: of a full training within the search.
        trainings: how many full trainings of the first candidate would fit into the whole budget.
        final: seconds that are kept for the final training.
        candidates: what is known before the search, the most promising first.
    """

    epochs: int
    trainings: float
    final: float
    candidates: tuple[Candidate, ...]

    def advice(self, run: SearchRun) -> str:
        """What the budget buys, in one line."""
        first, epochs = self.candidates[0], full_epochs(run.task)
        count = f"{self.trainings:.0f}" if self.trainings >= 2 else f"{self.trainings:.1f}"
        left = self.trainings * epochs * first.seconds
        short = left < MUCH_LEFT * run.budget.seconds
        payer = f"{left:.0f} s of {run.budget} are left for training and" if short else str(run.budget)
        line = (
            f"{payer} pay for about {count} full trainings ({epochs} epochs of "
            f"{first.seconds:.2g} s) of '{first.name}': {self.final:.0f} s are kept for the final training"
        )
        if self.trainings >= 1:
            return line + "."
        whole = epochs * first.seconds
        minutes = math.ceil((run.budget.seconds + (1 - self.trainings) * whole) / 60)
        return f"{line}; about {minutes}m would pay for a full one."


def plan(run: SearchRun, plans_final: bool, first: Sequence[Architecture] = ()) -> Plan:
    """Time what could be trained and divide the budget. What depends on the clock is decided once.

    Args:
        run: of a search with a budget of time.
        plans_final: whether the method leaves the final training as much as it needs.
        first: architectures that the user begins with: candidates before all others.

    Raises:
        BudgetTooSmall: where not one epoch of the quickest network fits, or not even its timing.
    """
    began = run.clock.elapsed()

    def left() -> float:
        """Seconds for holding what could be trained against the limits, after which it is tried with what is known."""
        return max(GRACE, began + LOOKING_SHARE * run.budget.seconds - run.clock.elapsed())

    try:
        with run.book.within(left):
            candidates = _candidates(run, first)
    except TrialTimeout as error:
        raise _too_small(run, began, run.clock.elapsed() - began) from error
    if not candidates:
        raise ArchscoutError("no architecture that keeps the limits was found to begin with: raise a limit.")
    decided: Mapping[str, Any] = run.decide("plan", lambda: _decide(run, candidates, plans_final, len(first)))
    known = {text: architecture for _, text, architecture in candidates}
    return Plan(
        epochs=decided["epochs"],
        trainings=decided["trainings"],
        final=decided["final"],
        candidates=tuple(
            Candidate(
                row["name"],
                # A resumed run may have been quicker, and found others.
                known.get(row["architecture"]) or run.space.parse(row["architecture"]),
                row["seconds"],
                row["macs"],
                row["timed"],
            )
            for row in decided["candidates"]
        ),
    )


def _too_small(run: SearchRun, before: float, step: float) -> BudgetTooSmall:
    """Seconds went into what comes before, and into a step that was not enough."""
    needed = math.ceil(run.clock.elapsed() + run.reserve + 3 * step)
    return BudgetTooSmall(
        f"a budget of {run.budget} ended before the training of one network was timed ({before:.1f} s went into "
        f"what comes before): give at least {needed}s, or take smaller networks, or less data."
    )


def _candidates(run: SearchRun, first: Sequence[Architecture]) -> list[tuple[str, str, Architecture]]:
    """What the user begins with, references that keep the limits, and samples where these are few: name, text,
    architecture."""
    references = dict(run.space.references())
    admitted = run.admit(references.values(), len(references)) if references else []
    if references and len(admitted) < FEW:
        small = dict(run.space.small_references())
        references |= small
        admitted += run.admit(small.values(), len(small)) if small else []
    names = {architecture.text: name for name, architecture in reversed(references.items())}
    rows = [(names[architecture.text], architecture.text, architecture) for architecture in admitted]
    if len(rows) < FEW:
        try:
            rows += [(a.text, a.text, a) for a in _others(run, set(names) - {row[1] for row in rows}, bool(rows))]
        except TrialTimeout:
            if not rows:
                raise
    looked_at = run.store.decisions(run.name).get("feasibility")
    if len(rows) < FEW and looked_at:
        closest = run.space.parse(looked_at["closest"])
        rows.append((closest.text, closest.text, closest))
    rows = [*((names.get(one.text, one.text), one.text, one) for one in first), *rows]
    unique = {run.space.canonical(row[2]): row for row in reversed(rows)}
    return list(reversed(unique.values()))


def _others(run: SearchRun, broken: Collection[str], any_before: bool) -> list[Architecture]:
    """Up to `SAMPLED` that keep the limits: references that break them, made smaller, and samples.

    Without a candidate they are looked for while there is time, otherwise for a share of it.
    """
    ends = run.clock.elapsed() + TIMING_SHARE * run.budget.seconds

    def going() -> bool:
        return run.clock.elapsed() < ends

    reduced = _reduced(run, broken, going)
    if reduced and not going():
        return reduced
    rng = run.rng("candidates")
    drawn: Iterable[Architecture] = (run.space.simplify(run.space.sample(rng)) for _ in range(1000))
    if any_before or reduced:
        drawn = itertools.takewhile(lambda _: going(), drawn)
    return [*reduced, *run.admit(drawn, SAMPLED - len(reduced))]


def _reduced(run: SearchRun, references: Collection[str], going: Callable[[], bool]) -> list[Architecture]:
    """The nearest to the limits of these designs, brought within them; none where costs are no counts, but timed."""
    if not run.constraints or not all(cost.exact for cost in run.book.costs):
        return []
    designs = [run.space.parse(text) for text in sorted(references)]
    costs = [run.book.at_most(design) for design in designs]
    order = sorted(range(len(designs)), key=lambda i: feasibility.excess(costs[i], run.constraints))
    rng = run.rng("references within limits")
    reduced = []
    for place in order[: SAMPLED // 2]:
        lower = feasibility.brought_within(
            run.space, run.book, run.constraints, run.margins, designs[place], rng, going
        )
        reduced += [run.space.simplify(lower)] if lower is not None else []
    return reduced


def _decide(
    run: SearchRun, candidates: Sequence[tuple[str, str, Architecture]], plans_final: bool, leading: int
) -> dict[str, Any]:
    """`leading` is how many of the candidates, at the beginning, go before all others."""
    began = run.clock.elapsed()
    limit = began + max(min(3.0, LEAST_TIMING_SHARE * run.budget.seconds), TIMING_SHARE * run.budget.seconds)
    works: list[float] = []
    networks: list[Network] = []
    for _, _, architecture in candidates:
        if len(works) >= max(1, leading) and run.clock.elapsed() > limit:
            break  # so large that to look at each takes too long
        graph = trace_architecture(run.space, architecture, run.task)
        works.append(work(graph))
        networks.append(Network.of(run.space, architecture, run.task, graph))
    candidates = candidates[: len(works)]
    # The rule of thumb alone: on data sets left out, the table that comes along is no better (docs/results/prior.md).
    data, prior = Data.of(run.task), Prior([])
    full = full_epochs(run.task)
    seconds: dict[int, float] = {}
    failures: list[str] = []
    tried: set[int] = set()

    def guess(i: int) -> float:
        if i in seconds:
            return seconds[i]
        nearest = min(seconds, key=lambda k: abs(math.log(works[k] / works[i])))
        return float(seconds[nearest] * (works[i] / works[nearest]) ** 0.8)

    def ranked() -> list[int]:
        left = max(1.0, run.budget.seconds - run.reserve - run.clock.elapsed())
        return prior.rank(data, networks, [guess(i) for i in range(len(candidates))], left)

    order = sorted(range(len(candidates)), key=lambda i: works[i])
    upcoming = order[len(order) // 3]
    while len(tried) < min(TIMED, len(candidates)):
        tried.add(upcoming)
        allowed = max(GRACE, run.budget.seconds - run.clock.elapsed())
        try:
            timing = run.engine.submit(time_job, candidates[upcoming][2], run.seed, timeout=allowed)
            seconds[upcoming] = timing.result()
        except TrialTimeout:
            break
        except ArchscoutError as error:
            failures.append(str(error))
        run.show("timing", len(tried))
        rest = ranked() if seconds else order
        # Until the most promising one has been timed.
        late = run.clock.elapsed() > (limit if seconds else run.budget.seconds)
        if rest[0] in seconds or late or len(tried) == len(candidates):
            break
        upcoming = next(i for i in rest if i not in tried)
    if not seconds and not failures:
        raise _too_small(run, began, max(began, allowed))
    if not seconds:
        raise ArchscoutError(f"the first networks could not be trained: {failures[0]}")
    left = run.budget.seconds - run.reserve - run.clock.elapsed()
    quickest = min(guess(i) for i in range(len(candidates)))
    if left < 1.5 * quickest:
        needed = math.ceil(run.clock.elapsed() + run.reserve + 3 * quickest)
        raise BudgetTooSmall(
            f"a budget of {run.budget} does not pay for one trained network (an epoch takes {quickest:.2g} s here, and "
            f"{run.clock.elapsed():.1f} s went into what comes before): "
            f"give at least {needed}s, or less data."
        )
    ranking = sorted((i for i in ranked() if i in seconds or i not in tried), key=lambda i: i >= leading)
    first = guess(ranking[0])
    trainings = left / (full * first)
    low, high = FINAL
    share = min(high, max(low, 1.5 / trainings)) if plans_final else FINAL_OF_OTHERS
    final = share * left
    within = left - final
    # In the search a full training is as long as lets several be compared.
    epochs = max(1, min(full, int(0.1 * within * run.workers / first)))
    return {
        "epochs": epochs,
        "trainings": trainings,
        "final": final,
        "candidates": [
            {
                "name": candidates[i][0],
                "architecture": candidates[i][1],
                "seconds": guess(i),
                "macs": networks[i].macs,
                "timed": i in seconds,
            }
            for i in ranking
        ],
    }
