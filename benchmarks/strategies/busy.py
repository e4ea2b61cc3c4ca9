"""How busy many workers are kept, and what the longer lag that this takes costs the search.

    python -m benchmarks.strategies.busy

64 workers on a simulated clock search the cells that were trained on digits. A training takes time in proportion to the
multiply-adds of its network, give or take a tenth; proposals take none. Proposal k sees the trials up to k - lag, in
the order of asking, so that who is quicker changes nothing; a worker whose proposal waits for such a trial has nothing
to do. Busy is the share of the workers' time, until the last training begins, in which they train. Writes
docs/results/strategies_busy.json and .md.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.files import write_text
from archscout.core.seeds import stream
from archscout.core.strategy import Strategy
from archscout.core.trial import Trial
from archscout.methods.asha import ASHA, Promotion
from archscout.methods.strategy import resolve_method
from archscout.search.replay import Proposals, Replay
from archscout.study.summary import interval
from archscout.tables.load import load
from archscout.tables.table import Table
from archscout.tables.within import within
from benchmarks.common import RESULTS, Rows, arguments, read_result

FILE = RESULTS / "strategies_busy.json"
METRIC = "valid_accuracy"
WORKERS, TRAININGS = 64, 1500
LAGS = (None, 2 * WORKERS, 4 * WORKERS, 8 * WORKERS)
"""The strategy's own where None."""

STRATEGIES = ("random", "evolution", "reinforce", "asha")
RUNGS = (1, 4, 12)
"""Epochs of the rungs of asha."""

PARTS = 4
"""As many times more of its trainings, which are parts."""


class Clocked(Replay):
    """Workers on a clock that is simulated."""

    def __init__(self, table: Table, seed: int) -> None:
        self.table, self.space, self.seed, self.workers = table, within(table, METRIC), seed, WORKERS
        self.work = np.asarray(table.values("macs")) / np.nanmean(table.values("macs"))

    def admit(self, architectures: Iterable[Architecture], count: int) -> list[Architecture]:
        return list(architectures)[:count]

    def seconds_left(self) -> float:
        return math.inf

    def run(self, name: str, lag: int | None) -> tuple[int, float, float]:
        """The lag of a strategy, how busy the workers were, and the best value found in a full training."""
        strategy = strategy_of(name, lag)
        longest = RUNGS[-1]
        paused: dict[str, int] = {}
        proposals = Proposals(self, strategy, TRAININGS * (PARTS if name == "asha" else 1))
        running: list[tuple[float, int, str, Trial]] = []
        answered: dict[str, Trial] = {}
        spans: list[tuple[float, float]] = []
        now = 0.0
        while not proposals.ended or running:
            if not proposals.ended and len(running) < self.workers and not proposals.wait(answered):
                one = proposals.next(lambda key, architecture: answered[key])
                if one is None:
                    proposals.end()
                    continue
                form, epochs = self.space.canonical(one), proposals.fidelity(one, longest) or longest
                key = f"{epochs}|{form}"
                known = key in proposals.keys
                proposals.ask(key, one, epochs)
                if known:  # not trained again
                    continue
                number = self.table.numbers[form]
                share = (epochs - paused.get(form, 0)) / longest
                paused[form] = epochs
                seconds = float(share * self.work[number] * self.rng("time", len(spans)).uniform(0.9, 1.1))
                value = float(self.table.values(METRIC, epochs=epochs)[number])
                trial = Trial(len(spans), one, form, "trained", epochs, "completed", value)
                spans.append((now, now + seconds))
                heapq.heappush(running, (now + seconds, len(spans), key, trial))
            else:
                now, _, key, trial = heapq.heappop(running)
                answered[key] = trial
        stop = max(start for start, _ in spans)
        trained = sum(min(end, stop) - start for start, end in spans)
        full = [trial.value for trial in answered.values() if trial.fidelity == longest]
        return strategy.lag, trained / (self.workers * stop), max(full)


def strategy_of(name: str, lag: int | None) -> Strategy:
    if name == "asha":
        method = ASHA(lag=lag) if lag else ASHA()
        return Promotion(method.strategy, RUNGS, method.eta, method.lag)
    return resolve_method(f"{name}:lag={lag}" if lag else name, ()).strategy  # type: ignore[attr-defined,no-any-return]


def page(rows: Sequence[dict[str, object]]) -> str:
    lines = [
        "# How busy many workers are kept",
        "",
        f"Made by `benchmarks/strategies/busy.py`: {WORKERS} simulated workers, {TRAININGS} trainings (of asha "
        f"{PARTS * TRAININGS:,} parts of trainings, to {', '.join(map(str, RUNGS[:-1]))} or {RUNGS[-1]} epochs) of "
        "cells that were trained on digits, each as long as its multiply-adds say, give or take a tenth. Busy: the "
        "share of their time, until the last training begins, in which workers train. Regret: points between the best "
        "that was found and the best of the table. Means over repeats with 95 % bootstrap intervals. Proposals take no "
        "time here; what they take is on [another page](strategies_proposing.md).",
        "",
        "| strategy | lag | repeats | busy | regret |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        busy, regret = (interval(row[key]) for key in ("busy", "regret"))  # type: ignore[arg-type]
        lines.append(
            f"| {row['strategy']} | {row['lag']} | {len(row['busy'])} "  # type: ignore[arg-type]
            f"| {busy[0]:.1%} [{busy[1]:.1%}, {busy[2]:.1%}] | {regret[0]:.2f} [{regret[1]:.2f}, {regret[2]:.2f}] |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    table = load("nasbench201-digits")
    best = float(np.nanmax(table.values(METRIC)))
    rows = Rows(FILE, ("strategy", "lag"))
    for name in STRATEGIES:
        for lag in LAGS:
            runs = [
                Clocked(table, int(stream(0, "busy", repeat).integers(2**31))).run(name, lag)
                for repeat in range(options.repeats)
            ]
            rows.add(
                {
                    "strategy": name,
                    "lag": runs[0][0],
                    "busy": [round(busy, 5) for _, busy, _ in runs],
                    "regret": [round(100 * (best - value), 3) for _, _, value in runs],
                }
            )
    write_text(FILE.with_suffix(".md"), page(read_result(FILE)["rows"]))


if __name__ == "__main__":
    main()
