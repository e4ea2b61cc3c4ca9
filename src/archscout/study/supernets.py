"""How far inherited weights can be trusted on a space whose truth is known: a supernet's ranking against a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from archscout.core import options
from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError, nearest
from archscout.core.seeds import derive, stream
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.methods import spos
from archscout.study.metrics import spearman
from archscout.study.record import Record, carry_out, setting_of
from archscout.study.summary import with_interval
from archscout.supernets.distributions import Distribution
from archscout.supernets.evaluate import losses
from archscout.supernets.phases import Phase, Settings, fit
from archscout.supernets.plans import Plan
from archscout.supernets.ranking import rank_report
from archscout.supernets.scattered import grouped
from archscout.supernets.supernet import Supernet
from archscout.supernets.weights import WeightRule, everything, fixed_backbone
from archscout.tables.table import Table

PATHS: dict[str, tuple[Plan, WeightRule] | None] = {
    **{name: (plan, everything) for name, plan in spos.PATHS.items()},
    "fixed": (grouped, fixed_backbone),
    "untrained": None,
}
"""How paths are drawn in training, and which weights learn from them: `fixed` are grouped ones with a fixed backbone,
`untrained` is the control."""

CONTROLS = ("params", "macs", "random")
MEASURES = ("spearman", "kendall", "spearman_top", "precision", "best_of_top", "pick", "percentile")
COLUMNS: dict[str, type] = {
    "paths": str, "repeat": int, "undefined": int, "bias": dict, "scores": list,
    **dict.fromkeys((*MEASURES, "train_seconds", "rank_seconds"), float),
}  # fmt: skip
"""The types of what stands in a row."""


@dataclass(frozen=True)
class Supernets:
    """What is compared, and how.

    Args:
        paths: of `PATHS`.
        passes: of a batch through the supernet in training: a step of `fair` takes several, of the others one.
        batch: examples a pass.
        repeats: supernets of each kind, with other weights, orders and paths each time.
        metric: of the table.
        sample: architectures that are ranked (each network once); all where None.
        examples: of validation, on which they are scored.
        rate: the learning rate at the beginning.
        seed: of all random decisions.
    """

    paths: tuple[str, ...]
    passes: int
    batch: int
    repeats: int
    metric: str
    sample: int | None = None
    examples: int = 256
    rate: float = 0.1
    seed: int = 0


def compare(
    table: Table,
    space: Space,
    task: Task,
    plan: Supernets,
    folder: Path,
    *,
    workers: int = 0,
    fresh: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Train and rank every supernet, in `folder`; the same call again goes on where it was stopped.

    Args:
        table: the truth.
        space: the table's, or a narrower one of the same architectures, of which the supernet is made.
        task: what the supernet is trained on. Where it is not what the table is about, the ranking is of what carries
            over.
        plan: what is compared.
        folder: of the study.
        workers: processes; 0 for this one.
        fresh: whether a study that the folder holds is set aside, for this one to begin anew.
        progress: told how many supernets of how many are done.

    Returns:
        One row a supernet, with the numbers of a `RankReport`, `bias`, `train_seconds`, `rank_seconds` (of CPU time)
        and the `scores` themselves; and one a control (`params`, `macs`, `random`).

    Raises:
        UsageError: for unknown paths, a space without the table's architectures, and a folder of another study.
    """
    workers = options.workers(workers)
    plan = replace(
        plan,
        paths=tuple(options.several(plan.paths, "paths")),
        passes=options.whole(plan.passes, "the number of passes", 1),
        batch=options.whole(plan.batch, "the batch", 2),
        repeats=options.whole(plan.repeats, "the number of repeats", 1),
        sample=None if plan.sample is None else options.whole(plan.sample, "the number of networks to rank", 3),
        seed=options.seed(plan.seed),
    )
    if not plan.paths:
        raise UsageError("nothing is compared: name paths (--with uniform,fair).")
    for name in plan.paths:
        if name not in PATHS:
            raise UsageError(f"paths of a supernet cannot be '{name}': {nearest(name, PATHS)}")
    space.check_task(task)
    texts, _ = ranked_networks(table, plan)
    try:
        space.parse(texts[0])
    except UsageError as error:
        raise UsageError(
            f"space '{space.name}' does not have the architectures of table '{table.name}', which are of space "
            f"'{table.space.name}': name a form of that one (--space {table.space.name})."
        ) from error
    about = {"table": table.name, "content": table.digest}
    setting = setting_of(space, task, "supernets", asdict(plan), ("paths",)) | about
    with Record.open(folder, setting, fresh) as record:
        jobs = [(name, repeat) for repeat in range(plan.repeats) for name in plan.paths]
        jobs += [(name, 0) for name in CONTROLS]
        return carry_out(record, jobs, (table, space, task, plan), measure, workers, progress, COLUMNS)


def ranked_networks(table: Table, plan: Supernets) -> tuple[list[str], np.ndarray]:
    """One architecture a network and its truth, higher is better."""
    truth = np.asarray(table.values(plan.metric)) * (1.0 if table.metric(plan.metric).higher else -1.0)
    known = np.flatnonzero(np.isfinite(truth))
    if plan.sample is not None and plan.sample < len(known):
        known = np.sort(stream(plan.seed, "study", "networks").permutation(known)[: plan.sample])
    rows = table.first_rows[known]
    return [table.architectures[row] for row in rows], truth[known]


def measure(payload: tuple[Table, Space, Task, Supernets], name: str, repeat: int) -> list[dict[str, Any]]:
    """The row of one supernet or control."""
    table, space, task, plan = payload
    texts, truth = ranked_networks(table, plan)
    architectures = [space.parse(text) for text in texts]
    began = time.process_time()
    if name in CONTROLS:
        scores, trained = control(name, space, task, architectures, plan.seed), began
    else:
        seed = derive(plan.seed, "study", "supernet", repeat)
        supernet = trained_supernet(space, task, plan, name, seed)
        trained = time.process_time()
        scores = inherited_scores(supernet, architectures, plan.examples)
    report = asdict(rank_report(architectures, scores, truth.tolist()))
    seconds = {"train_seconds": trained - began, "rank_seconds": time.process_time() - trained}
    return [{"paths": name, "repeat": repeat, **report, **seconds, "scores": scores}]


def trained_supernet(space: Space, task: Task, plan: Supernets, name: str, seed: int) -> Supernet:
    """A supernet trained by paths of a kind, in so many passes of a batch."""
    supernet, kind = Supernet(space, task, seed=seed), PATHS[name]
    if kind is not None:
        paths, weights = kind
        each = max(len(choice.options) for choice in space.choices) if name == "fair" else 1
        phase = Phase(plan=paths, weights=weights, rate=(plan.rate, 0.0))
        settings = Settings(steps=max(1, plan.passes // each), batch_size=plan.batch)
        fit(supernet, Distribution(space), [phase], settings, seed=seed)
    return supernet


def inherited_scores(supernet: Supernet, architectures: Sequence[Architecture], examples: int) -> list[float]:
    """Minus the mean loss of each on the first validation examples, in batches of about 128."""
    x, y = supernet.task.tensors(supernet.task.valid.head(examples))
    count = max(1, round(len(x) / 128))
    parts = zip(x.tensor_split(count), y.tensor_split(count), strict=True)
    values: list[float] = (-torch.stack([losses(supernet, architectures, part) for part in parts]).mean(0)).tolist()
    return values


def control(name: str, space: Space, task: Task, architectures: Sequence[Architecture], seed: int) -> list[float]:
    """What needs no supernet: parameters, multiply-adds, chance."""
    from archscout.core.estimator import Setting
    from archscout.core.registry import create

    if name == "random":
        draws: list[float] = stream(seed, "study", "random").random(len(architectures)).tolist()
        return draws
    cost, setting = create("cost", name), Setting(space, task)
    return [float(cost.measure(architecture, setting).value) for architecture in architectures]


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry a kind of paths: means over supernets with 95 % bootstrap intervals, and `stability`, the mean Spearman
    correlation between the scores of two supernets (NaN for one)."""
    entries = []
    for name in dict.fromkeys(row["paths"] for row in rows):
        own = [row for row in rows if row["paths"] == name]
        entry: dict[str, Any] = {
            "paths": name,
            "supernets": len(own),
            "undefined": sum(row["undefined"] for row in own),
        }
        for key in (*MEASURES, "train_seconds", "rank_seconds"):
            entry |= with_interval(key, [row[key] for row in own])
        pairs = [
            spearman(np.asarray(one["scores"]), np.asarray(other["scores"])) for one, other in combinations(own, 2)
        ]
        entry["stability"] = float(np.mean(pairs)) if pairs else float("nan")
        entry["bias"] = {option: float(np.mean([row["bias"][option] for row in own])) for option in own[0]["bias"]}
        entries.append(entry)
    return entries
