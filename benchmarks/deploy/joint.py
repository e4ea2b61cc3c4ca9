"""Architecture, bits and N:M sparsity under one limit in bytes: all at once against one after the other, in equal time.

    python -m benchmarks.deploy.joint

Digits (1,797 images of 8 x 8), space `compressed` over NAS-Bench-201 of width 4 with one cell a stage, weights of
8,000 bytes at most. Candidates are trained for three epochs with their bits and zeros, and proposed by regularised
evolution: at once, on the whole space; one after the other, on architectures of whole weights of 8 bits, then on the
bits of the best of them, then on its sparsity. The first of these steps is within once, twice or four times the bytes
(nobody knows beforehand how much compression will give), and both others close half of the gap, as factors. Every way
has the same processor seconds, a third for each step; what a step leaves goes to the next. The winner is trained in
full and tested. Rows go to docs/results/joint.json, and a run that was stopped goes on.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import archscout
from archscout.core.architecture import Architecture
from archscout.core.choice import Option
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.strategy import AskTell
from archscout.core.subspace import SubSpace
from archscout.core.task import Task
from archscout.core.trial import Trial
from archscout.costs.weight_bytes import stored_bytes
from archscout.estimators.trained import Trained
from archscout.networks.pick import build
from archscout.networks.tracing import blueprint
from archscout.spaces.compressed import Compressed
from archscout.strategies.evolution import RegularisedEvolution
from archscout.study.quantisation import metric_of
from archscout.study.summary import interval
from archscout.training.recipe import Recipe
from archscout.training.trainer import train
from benchmarks.common import RESULTS, Rows, arguments, machine

FILE = RESULTS / "joint.json"
LIMIT, EPOCHS, FULL = 8_000, 3, 15
WAYS: Mapping[str, int | None] = {"at once": None, "1 x": 1, "2 x": 2, "4 x": 4}
"""By name, how many times the bytes the architecture alone may take, where it is chosen first."""

ENOUGH = 3
"""Seeds, below which no difference is called one."""

_REPEATED = 100
"""Proposals in a row that are known: a part of the space that has no other."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=40.0, help="of the processor, for the search of each way")
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    about = {"version": archscout.__version__, **machine(), "task": "digits", "limit": LIMIT}
    rows = Rows(options.results, ("way", "seed"), {**about, "seconds": options.seconds}, sort=True)
    space, task = Compressed(create("space", "nasbench201:width=4,cells=1")), archscout.task("digits")
    for seed in range(options.seeds):
        for way, times in WAYS.items():
            if not rows.has(way=way, seed=seed):
                rows.add({"way": way, "seed": seed, **measured(Search(space, task, seed), times, options.seconds)})


class Search:
    """Parts of a space, one after the other, each searched under its own limit for its own time."""

    def __init__(self, space: Compressed, task: Task, seed: int) -> None:
        self.space, self.task, self.seed = space, task, seed
        self.trained = self.rejected = 0

    def best(self, alive: Mapping[str, Collection[Option]], limit: float, ends: float) -> Trial | None:
        """The best of what is alive and keeps a limit, among what evolution proposes until that processor second."""
        part = SubSpace(self.space, alive)
        loop, repeated = AskTell(RegularisedEvolution(10, 3), part, seed=self.seed), 0
        while time.process_time() < ends and repeated < _REPEATED:
            architecture = loop.ask()
            repeated = repeated + 1 if part.canonical(architecture) in loop.history.seen else 0
            if not repeated:
                loop.tell(self.trial(architecture, part.canonical(architecture), limit, len(loop.history)))
        return min((trial for trial in loop.history if trial.defined), key=lambda trial: trial.rank, default=None)

    def trial(self, architecture: Architecture, canonical: str, limit: float, number: int) -> Trial:
        """What a short training comes to; none where a limit is broken."""
        if stored_bytes(blueprint(self.space, architecture, self.task)) > limit:
            self.rejected += 1
            return Trial(number, architecture, canonical, "trained", EPOCHS, "rejected")
        self.trained += 1
        (told,) = Trained(EPOCHS).estimate([architecture], Setting(self.space, self.task.sealed(), self.seed))
        return Trial(number, architecture, canonical, "trained", EPOCHS, "completed", told.value, curve=told.curve)


def measured(search: Search, times: int | None, seconds: float) -> dict[str, Any]:
    """What a way comes to: the winner, its bytes and its accuracy after a full training."""
    began = time.process_time()
    if times is None:
        winner = search.best({}, LIMIT, began + seconds)
    else:
        winner = one_after_the_other(search, times, began, seconds)
    spent = time.process_time() - began
    row = {"trained": search.trained, "rejected": search.rejected, "seconds": spent}
    if winner is None:
        return {**row, "accuracy": None}
    network = build(search.space, winner.architecture, search.task, seed=search.seed)
    size = stored_bytes(network)
    train(network, search.task, Recipe.default(search.task, FULL), seed=search.seed)
    accuracy = metric_of(search.task, network.eval())
    return {**row, "architecture": winner.architecture.text, "bytes": size, "short": winner.value, "accuracy": accuracy}


def one_after_the_other(search: Search, times: int, began: float, seconds: float) -> Trial | None:
    """Architecture, bits, sparsity: what was chosen stays, what comes later is whole until then."""
    whole = {choice.name: (choice.options[-1],) for choice in search.space.choices if choice.name.startswith("part")}
    groups = [
        [choice.name for choice in search.space.of.choices],
        [name for name in whole if name.endswith(".bits")],
        [name for name in whole if name.endswith(".kept")],
    ]
    alive: dict[str, Collection[Option]] = dict(whole)
    winner = None
    for step, group in enumerate(groups):
        limit, now = LIMIT * times ** (1 - step / 2), time.process_time()
        for name in group:
            alive.pop(name, None)
        winner = search.best(alive, limit, now + (began + seconds - now) / (len(groups) - step))
        if winner is None:
            break
        alive |= {name: (winner.architecture[name],) for name in group}
    return winner


def section(result: Mapping[str, Any]) -> list[str]:
    """What the page says of it."""
    rows: Sequence[Mapping[str, Any]] = result.get("rows", [])
    if not rows:
        return []
    lines = [
        "| architecture first, within | test accuracy | bytes | candidates trained | rejected | no result | n |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    by_way = {way: [row for row in rows if row["way"] == way] for way in WAYS}
    for way, own in by_way.items():
        done = [row for row in own if row["accuracy"] is not None]
        if not own:
            continue
        mean, low, high = interval([100 * row["accuracy"] for row in done])
        told = f"{mean:.2f} ({low:.2f} to {high:.2f})" if done else ""
        size = f"{np.mean([row['bytes'] for row in done]):,.0f}" if done else ""
        counts = [f"{np.mean([row[key] for row in own]):.0f}" for key in ("trained", "rejected")]
        cells = ["all at once" if WAYS[way] is None else way, told, size, *counts, str(len(own) - len(done))]
        lines.append("| " + " | ".join([*cells, str(len(own))]) + " |")
    return [
        "## Architecture, bits and sparsity: at once, or one after the other",
        f"Weights of {result['limit']:,} bytes at most, {result['seconds']:.0f} processor seconds of search each, by "
        "`benchmarks.deploy.joint`: space `compressed` over NAS-Bench-201 of width 4, candidates trained for "
        f"{EPOCHS} epochs, the winner for {FULL}. One after the other: the architecture within so many times the "
        "bytes at 8 bits, then bits, then N:M, for a third of the time each. Test accuracy in percent, with 95 % "
        "intervals over seeds.",
        "\n".join(lines),
        verdict(by_way),
    ]


def verdict(by_way: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """What differences by seed between all at once and each other way say."""
    at_once = {row["seed"]: row["accuracy"] for row in by_way["at once"]}
    told = []
    for way, rows in by_way.items():
        both = [(at_once[row["seed"]], row["accuracy"]) for row in rows if row["seed"] in at_once and WAYS[way]]
        pairs = [100 * (joint - other) for joint, other in both if joint is not None and other is not None]
        if pairs:
            mean, low, high = interval(pairs)
            sure = len(pairs) >= ENOUGH
            judged = "better" if sure and low > 0 else "worse" if sure and high < 0 else "not told apart"
            told.append(f"{mean:+.2f} ({low:+.2f} to {high:+.2f}) against {way}: {judged}")
    return f"All at once, in points by seed: {'; '.join(told)}."


if __name__ == "__main__":
    main()
