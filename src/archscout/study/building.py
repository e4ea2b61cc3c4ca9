"""Building a table: every network of a space, or a random sample of them, really trained.

Networks are taken in a random order that depends on the seed alone, so that an unfinished table is a uniform sample.
Each job trains a stack of them (`archscout.training.batched`) and leaves its results in a file of its own beside the
table; the same command goes on from these, and from the table itself, which is all that has to be kept. All networks of
one training seed see the same batches.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core import options
from archscout.core.architecture import Architecture
from archscout.core.errors import ArchscoutError, DataError, UsageError
from archscout.core.estimator import Setting
from archscout.core.files import read_json, well_formed, write_text
from archscout.core.identity import differences, identity, sentence
from archscout.core.progress import Progress, Silent
from archscout.core.registry import create
from archscout.core.seeds import derive, stream
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.networks.pick import build
from archscout.store.lock import run_lock
from archscout.tables.metric import Metric
from archscout.tables.table import Table, write
from archscout.training import asked
from archscout.training.batched import train_many
from archscout.workers.engines import Engine

STACK = 32
"""Networks a job."""

ENUMERATED = 100_000
"""Larger spaces are not listed but sampled."""

KEPT = 50
"""Measurements after which they are written down."""

COUNTED = ("params", "macs")
"""Costs that are counted of each network."""

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Plan:
    """What a table is to hold.

    Args:
        epochs: of each training.
        seeds: trainings of each of the first `several` networks of the random order; the others have one.
        several: how many these are.
        networks: how many networks, at most; all of the space where None.
        seed: of everything random.
        recipe: of the trainings (`archscout.training.asked`); None for `default`.
    """

    epochs: int = 12
    seeds: int = 1
    several: int = 0
    networks: int | None = None
    seed: int = 0
    recipe: str | None = None

    def checked(self) -> Plan:
        """The plan in plain numbers. Raises `UsageError` where one makes no sense."""
        return Plan(
            recipe=asked.without_epochs(self.recipe, "--epochs says how long") or None,
            epochs=options.epochs(self.epochs) or 12,
            seeds=options.whole(self.seeds, "the number of training seeds", 1),
            several=options.whole(self.several, "the number of networks trained several times"),
            networks=None if self.networks is None else options.whole(self.networks, "the number of networks", 1),
            seed=options.seed(self.seed),
        )


_AGAIN = "remove it, and the same command makes it again."


@dataclass(frozen=True)
class Job:
    """Some networks, trained with one seed."""

    name: str
    training_seed: int
    architectures: tuple[Architecture, ...]

    def without(self, known: Mapping[tuple[str, int], Any]) -> Job:
        """What is left of the job where these networks and seeds are known."""
        left = [one for one in self.architectures if (one.text, self.training_seed) not in known]
        return replace(self, architectures=tuple(left))


def build_table(
    space: Space,
    task: Task,
    plan: Plan,
    *,
    file: Path,
    engine: Engine,
    name: str = "",
    source: str = "",
    measured: Sequence[str] = (),
    progress: Progress | None = None,
) -> Table:
    """Train what is not trained yet, and write the table of all that is.

    Args:
        space: what the networks are of.
        task: what they are trained for; validation and test split are measured after each epoch.
        plan: which ones, how long, how often.
        file: the Parquet file; results lie in the folder `<file>.parts` until you delete it.
        engine: workers with the payload (space, task, device).
        name: of the table; the file's where empty.
        source: what the table says of where it comes from.
        measured: names of costs (`latency`) to measure of each network afterwards, in this process.
        progress: who is told how it goes.

    Raises:
        UsageError: a folder of parts that belongs to another plan, or one that cannot be written; a space too large to
            be listed where the plan does not say how many networks.
    """
    watch, plan = progress or Silent(), plan.checked()
    parts = file.with_name(file.name + ".parts")
    with run_lock(parts, "build"):
        _claim(parts, file, space, task, plan)
        return _build(space, task, plan, parts, file, engine, name, source, measured, watch)


def _build(
    space: Space, task: Task, plan: Plan, parts: Path, file: Path, engine: Engine, name: str, source: str,
    measured: Sequence[str], watch: Progress,
) -> Table:  # fmt: skip
    before = _rows_of(file, space, task) if file.is_file() else {}
    watch.say(f"listing the networks of space '{space.name}' ...")
    whole = schedule(order_of(space, plan), plan)
    total = sum(len(job.architectures) for job in whole)
    jobs = [job.without(before) for job in whole]
    waiting = deque(job for job in jobs if job.architectures and not (parts / job.name).is_file())
    done = already = total - sum(len(job.architectures) for job in waiting)
    if already:
        watch.say(f"{already:,} of {total:,} trainings are there already.")
    flying: dict[Future[list[dict[str, Any]]], Job] = {}
    failed: list[str] = []
    began = time.monotonic()
    try:
        while waiting or flying:
            while waiting and len(flying) < max(1, engine.workers) + 1:
                job = waiting.popleft()
                flying[engine.submit(train_job, job.architectures, job.training_seed, plan)] = job
            finished, _ = wait(flying, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in finished:
                job = flying.pop(future)
                try:
                    _keep(parts / job.name, future.result())
                except ArchscoutError as error:  # the others go on; what is missing is named at the end
                    failed.append(f"{job.name} of {len(job.architectures)} networks ({error})")
                    total -= len(job.architectures)
                    continue
                done += len(job.architectures)
            left = (time.monotonic() - began) / (done - already) * (total - done) if done > already else None
            watch.update("training", done, total, None, left)
        for cost in measured:
            _measure(space, task, plan, cost, parts, [job.architectures for job in whole], watch)
    finally:
        for part in (parts / job.name for job in jobs):
            if part.is_file():
                with well_formed(part, _AGAIN):
                    before |= {(row["architecture"], row["seed"]): row for row in _read(part)}
        table = _assemble(space, task, plan, list(before.values()), parts, file, name, source)
    if failed:
        raise ArchscoutError(
            f"{len(failed)} jobs of the table failed, the first of them {failed[0].rstrip('.')}: '{file}' has all "
            "others; the same command tries these again."
        )
    if table is None:
        raise UsageError(f"space '{space.name}' has no network to train: ask for one at least.")
    return table


def train_job(
    payload: Any, architectures: Sequence[Architecture], training_seed: int, plan: Plan
) -> list[dict[str, Any]]:
    """Runs in a worker: trains networks together; a row for each."""
    space, task, device = payload
    seed = derive(plan.seed, "table", training_seed)
    networks = [build(space, architecture, task, seed=seed, device=device) for architecture in architectures]
    recipe = asked.recipe_for(asked.of_task(task, plan.recipe or ""), plan.epochs)
    wall, processor = time.perf_counter(), time.process_time()
    outcomes = train_many(
        networks, task, recipe, seeds=[seed] * len(networks), device=device, measured={"test": task.test}
    )
    # Processor time, which hardly depends on what else the machine is doing.
    busy = (time.process_time() - processor) / (time.perf_counter() - wall)
    setting = Setting(space, task, seed=seed, device=device)
    exact = [create("cost", name) for name in COUNTED]
    rows = []
    for architecture, outcome in zip(architectures, outcomes, strict=True):
        marks = [0.0, *(row["seconds"] for row in outcome.curve)]
        row = {
            "architecture": architecture.text,
            "seed": training_seed,
            "reason": outcome.reason,
            "seconds": (busy * np.diff(marks)).round(5).tolist(),
            **{cost.key: cost.measure(architecture, setting).value for cost in exact},
        }
        for name in curves(task):
            row[name] = [float(np.float32(point[name])) for point in outcome.curve]
        rows.append(row)
    return rows


def curves(task: Task) -> list[str]:
    """What is kept of each epoch."""
    return [f"{split}_{what}" for split in SPLITS for what in (task.metric, "loss")]


def _measure(
    space: Space, task: Task, plan: Plan, cost: str, parts: Path, stacks: Sequence[Sequence[Architecture]],
    watch: Progress,
) -> None:  # fmt: skip
    """Measure a cost of each network, one at a time, and keep what is measured."""
    instance = create("cost", cost)
    file = parts / f"cost-{instance.key}.json"
    known = _measured(file) if file.is_file() else {}
    texts = {architecture.text: architecture for stack in stacks for architecture in stack}
    waiting = [architecture for text, architecture in texts.items() if text not in known]
    setting = Setting(space, task, seed=plan.seed)
    began = time.monotonic()
    try:
        for done, architecture in enumerate(waiting, start=1):
            known[architecture.text] = instance.measure(architecture, setting).value
            if done % KEPT == 0:
                _keep(file, known)
            left = (time.monotonic() - began) / done * (len(waiting) - done)
            watch.update(f"measuring {instance.key}", len(texts) - len(waiting) + done, len(texts), None, left)
    finally:
        _keep(file, known)


def order_of(space: Space, plan: Plan) -> list[Architecture]:
    """The networks of a table in random order: one architecture each, without its dead parts."""
    rng = stream(plan.seed, "table", "order")
    if space.size() <= ENUMERATED:
        forms = {space.canonical(architecture): architecture for architecture in reversed(list(space))}
        chosen = [forms[form] for form in sorted(forms)]
        ordered = [chosen[int(i)] for i in rng.permutation(len(chosen))]
        return [space.simplify(architecture) for architecture in ordered[: plan.networks]]
    if plan.networks is None:
        raise UsageError(f"space '{space.name}' has {space.size():.3g} architectures: say how many to train.")
    by_form: dict[str, Architecture] = {}
    for architecture in islice((space.sample(rng) for _ in iter(int, 1)), 100 * plan.networks):
        by_form.setdefault(space.canonical(architecture), space.simplify(architecture))
        if len(by_form) == plan.networks:
            break
    return list(by_form.values())


def schedule(architectures: Sequence[Architecture], plan: Plan) -> list[Job]:
    """The jobs of a table, in an order in which every training seed has come equally far at any time."""
    jobs: list[tuple[float, Job]] = []
    for training_seed in range(max(1, plan.seeds)):
        mine = list(architectures if training_seed == 0 else architectures[: plan.several])
        stacks = [mine[start : start + STACK] for start in range(0, len(mine), STACK)]
        for place, some in enumerate(stacks):
            job = Job(f"seed{training_seed}-{place:05}.json", training_seed, tuple(some))
            jobs.append((place / len(stacks), job))
    return [job for _, job in sorted(jobs, key=lambda entry: entry[0])]


# -- files ------------------------------------------------------------------------------------------------------------


def _identity(space: Space, task: Task, plan: Plan) -> dict[str, Any]:
    how = {name: value for name, value in asdict(plan).items() if name != "recipe" or value}
    return identity(space, task, **how)


def _claim(parts: Path, file: Path, space: Space, task: Task, plan: Plan) -> None:
    """Make the folder of the parts; see that it and the table, where they are there, belong to this plan."""
    mine = _identity(space, task, plan)
    note = parts / "plan.json"
    plans = {file: Table.open(file, space).metadata.get("plan", {})} if file.is_file() else {}
    if note.is_file():
        plans[parts] = _read(note)
    for place, other in plans.items():
        if not isinstance(other, dict):
            raise DataError(f"'{note}' is damaged (it says nothing of what was asked): {_AGAIN}")
        if other != mine:
            raise UsageError(
                f"'{place}' was begun with {sentence(differences(other, mine))}: delete it, or name another --out."
            )
    try:
        parts.mkdir(parents=True, exist_ok=True)
        _keep(note, mine)
    except OSError as error:
        raise UsageError(f"cannot write into '{parts}': {error.strerror or error}; name another --out.") from error


def _rows_of(file: Path, space: Space, task: Task) -> dict[tuple[str, int], dict[str, Any]]:
    """The trainings in a table that was built, by architecture and seed."""
    table = Table.open(file, space)
    names = {**{curve: f"{curve}_curve" for curve in curves(task)}, "seconds": "seconds"}
    stored = {name: table.lists(column) for name, column in names.items()}
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for i, (text, seed) in enumerate(zip(table.architectures, table.texts("seed"), strict=True)):
        row: dict[str, Any] = {name: values[i] or [] for name, values in stored.items()}
        row |= {"architecture": text, "seed": int(str(seed))}
        row |= {cost.name: float(table.column(cost.name)[i]) for cost in map(table.metric, table.metrics)
                if cost.kind == "cost"}  # fmt: skip
        rows[row["architecture"], row["seed"]] = row
    return rows


def _read(file: Path) -> Any:
    return read_json(file, _AGAIN)


def _measured(file: Path) -> dict[str, float]:
    with well_formed(file, _AGAIN):
        return {str(text): float(value) for text, value in _read(file).items()}


def _keep(file: Path, content: Any) -> None:
    write_text(file, json.dumps(content))


def _assemble(
    space: Space, task: Task, plan: Plan, rows: Sequence[Mapping[str, Any]], parts: Path, file: Path, name: str,
    source: str,
) -> Table | None:  # fmt: skip
    """Write the table of these trainings, with the costs that were measured."""
    if not rows:
        return None
    columns: dict[str, Any] = {
        "architecture": [row["architecture"] for row in rows],
        "seed": np.asarray([row["seed"] for row in rows], dtype=np.int16),
    }
    metrics: list[Metric] = []
    for curve in curves(task):
        split = curve.partition("_")[0]
        kind = "loss" if curve.endswith("_loss") else "accuracy" if task.metric.percentage else "score"
        higher = kind != "loss" and task.metric.direction == "higher"
        values = [row[curve] if len(row[curve]) == plan.epochs else None for row in rows]  # None: it diverged
        columns[curve] = np.asarray([math.nan if each is None else each[-1] for each in values], dtype=np.float32)
        columns[f"{curve}_curve"] = [None if each is None else np.asarray(each, dtype=np.float32) for each in values]
        metrics.append(Metric(curve, kind=kind, split=split, epochs=plan.epochs, higher=higher))
        metrics.append(Metric(f"{curve}_curve", kind=kind, split=split, epochs=plan.epochs, higher=higher))
    columns["seconds"] = [
        np.asarray(row["seconds"], dtype=np.float32) if len(row["seconds"]) == plan.epochs else None for row in rows
    ]
    metrics.append(Metric("seconds", kind="seconds", epochs=plan.epochs))
    costs: dict[str, Any] = {cost: [row[cost] for row in rows] for cost in COUNTED}
    known = {file.stem.removeprefix("cost-"): _measured(file) for file in parts.glob("cost-*.json")}
    others = {key for row in rows for key in row} - {
        "architecture",
        "seed",
        "seconds",
        "reason",
        *curves(task),
        *COUNTED,
    }
    for key in sorted(others | set(known)):
        fresh = known.get(key, {})
        of_rows = [fresh.get(row["architecture"], row.get(key, math.nan)) for row in rows]
        costs[key] = np.asarray(of_rows, dtype=np.float32)
    for cost, values in costs.items():
        columns[cost] = values
        metrics.append(Metric(cost, kind="cost"))
    order = sorted(range(len(rows)), key=lambda i: (rows[i]["architecture"], rows[i]["seed"]))
    columns = {key: [values[i] for i in order] for key, values in columns.items()}
    return write(
        file, space, columns, metrics, default=f"test_{task.metric}", name=name, task=task.name, source=source,
        plan=_identity(space, task, plan),
    )  # fmt: skip
