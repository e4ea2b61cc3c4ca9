"""The search itself: from a space, data and limits to a trained, measured and exported network."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from archscout.core import options, seeds
from archscout.core.architecture import Architecture
from archscout.core.budget import Budget, BudgetTooSmall
from archscout.core.cost import Constraint, Cost, Limits
from archscout.core.digest import digest
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.estimator import TRAINING, Estimator, Setting
from archscout.core.identity import identity
from archscout.core.method import Method
from archscout.core.progress import Progress
from archscout.core.registry import create
from archscout.core.space import Space
from archscout.core.strategy import Strategy
from archscout.core.task import Task
from archscout.costs import feasibility
from archscout.costs.book import CostBook
from archscout.costs.machine import conditions
from archscout.methods.strategy import resolve_method
from archscout.search import elsewhere, planning
from archscout.search.continuing import (
    SEARCH,
    SINGLE,
    STORE,
    claim,
    claimed,
    go_on,
    refusals_noted,
    start_afresh,
)  # fmt: skip
from archscout.search.finish import Ending, deliver, train_alone
from archscout.search.result import Result
from archscout.search.run import CALIBRATION, SearchRun
from archscout.search.start import Source, Start, begin, read_start, with_start
from archscout.spaces.load import AUTO, SCRATCH, automatic_space
from archscout.spaces.load import load as load_space
from archscout.store import database
from archscout.store.clock import Clock
from archscout.store.folder import default_name, run_folder
from archscout.store.lease import run_lease
from archscout.store.store import Store, run_lock
from archscout.training import asked
from archscout.training.rehearsal import is_foreign, rehearse
from archscout.workers.device import check_device
from archscout.workers.engine import TrialTimeout
from archscout.workers.engines import engine as make_engine

_FEASIBILITY_SHARE, _KNOWN_SHARE = 0.03, 0.005
"""Of a time budget, what looking for architectures that keep the limits may take: while none is found, and after."""

_RESERVE_SHARE, _RESERVE_MOST = 0.15, 9.0
"""Of a time budget, kept for measuring, testing, exporting and reporting the winner (seconds at most)."""


def search(
    space: str | Space | Any,
    data: str | Path | Task,
    *,
    method: str | Method | Strategy = "cascade",
    estimator: str | Estimator = TRAINING,
    maximum: Limits | None = None,
    objectives: str | Cost | Sequence[str | Cost] = (),
    budget: str | float | timedelta | Budget | None = "5m",
    seed: int = 0,
    workers: int | None = None,
    engine: str = "local",
    device: str = "cpu",
    store: str | Path | None = None,
    name: str | None = None,
    out: str | Path = "runs",
    epochs: int | None = None,
    recipe: Any = None,
    times: Mapping[str, str | Path] | None = None,
    start: Source | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
    began: float | None = None,
) -> Result:
    """Find, train, measure and export a network. The same call resumes a search that was interrupted.

    `archscout.api.search` says what the options are, and what is raised; `began` is when the budget of time began, by
    `time.monotonic`.
    """
    began = time.monotonic() if began is None else began
    watch = options.watch(progress)
    budget = Budget.read(budget)
    seed = options.seed(seed)
    workers = None if workers is None and engine == "ray" else options.workers(workers)
    device, out = check_device(device), options.path(out, "the folder of runs")
    options.text(engine, "the engine")
    store = store if store is None or isinstance(store, Path) else options.text(_of_path(store), "the store")
    times = options.mapping(times, "the times of finalists", '{"board": "times.csv"}')
    costs, constraints, keys = _limits(maximum, objectives)
    judge = resolve_estimator(estimator)
    recipe, epochs = asked.read(recipe, options.epochs(epochs), getattr(judge, "recipe", asked.DEFAULT))
    task = asked.of_task(resolve_task(data, watch), recipe, epochs)
    the_space = automatic_space(task) if isinstance(space, str) and space in (AUTO, SCRATCH) else load_space(space)
    the_space.check_task(task)
    try_task(the_space, task, seed)
    begun_with = read_start(start, the_space, task)
    for cost in costs:
        cost.check(Setting(the_space, task.sealed(), seed=seed, device=device))
    the_method = resolve_method(method, keys)
    objects = _unnamed(the_method, lambda name: resolve_method(name, keys)) + _unnamed(judge, resolve_estimator)
    method = method if isinstance(method, str) else the_method.name
    name = default_name(the_space, task, method, seed) if name is None else name
    if times and not (out / name / "metrics.json").is_file():
        raise UsageError(f"there is no finished run '{name}' in '{out}' whose finalists have times: search first.")
    folder = run_folder(out, name)
    config = identity(
        the_space,
        task,
        method=method,
        estimator=judge.name,
        maximum={c.key: c.limit for c in constraints},
        objectives=list(keys),
        budget=str(budget),
        seed=seed,
        epochs=epochs,
        objects=objects,
        **({"recipe": task.recipe} if task.recipe else {}),
        **({"start": begun_with.digest} if begun_with.architectures else {}),
    )
    if options.switch(fresh, "fresh"):
        start_afresh(folder, name, store, watch)
        run_folder(out, name)

    with ExitStack() as stack:
        stack.enter_context(run_lock(folder))
        claim(folder, SEARCH, {"store": "in its own folder" if store is None else database.shown(store)})
        kept = stack.enter_context(Store.open(store or folder / STORE))
        kept.begin(name, config)
        stack.enter_context(run_lease(kept, name))
        go_on(kept, name, config, watch)
        stack.enter_context(refusals_noted(kept, name))
        if kept.notes(name).get("finished") and (folder / "metrics.json").is_file() and not times:
            watch.say(f"run '{name}' is finished: this is its result (a larger --budget goes on; --fresh starts anew).")
            return Result.read(folder)
        clock = Clock(kept, name, since=began)
        if clock.before:
            watch.say(f"resuming run '{name}' after {clock.before:.0f} s and {kept.count(name)} evaluations.")
        sealed = task.sealed()
        setting = Setting(the_space, sealed, seed=seed, device=device)
        pool = stack.enter_context(
            make_engine(engine, 0 if times else workers, (the_space, sealed, device), device=device)
        )
        book = CostBook(costs, setting, kept, name, pool)
        run = SearchRun(
            name=name,
            space=the_space,
            task=sealed,
            seed=seed,
            store=kept,
            engine=pool,
            book=book,
            constraints=constraints,
            objectives=keys,
            budget=budget,
            clock=clock,
            progress=watch,
            estimator=judge,
            folder=folder / "work",
            device=device,
            reserve=min(_RESERVE_SHARE * budget.seconds, _RESERVE_MOST) if math.isfinite(budget.seconds) else 0.0,
        )
        if times:
            clock.enter("finish")
            found_there = elsewhere.read(run, times, folder)
            ending = Ending(run, task, method, budget, conditions(pool.workers, device), found_there)
            return deliver(ending, [], folder)
        (folder / "work").mkdir(exist_ok=True)
        if not clock.before:
            clock.enter("rehearsal")
            for sentence in rehearse(the_space, sealed, seed=seed, device=device, costs=costs, workers=pool.workers):
                watch.say(sentence)
        if constraints:
            clock.enter("feasibility")
            meeting = run.decide("feasibility", lambda: _feasible(run))
            run.share = meeting["share"]
            looked_at = feasibility.sample(the_space, book, seeds.stream(seed, "feasibility"))
            book.learn(looked_at[: meeting["sampled"]])
            watch.say(
                f"{meeting['meeting']} of {meeting['sampled']} sampled architectures meet "
                + ", ".join(str(constraint) for constraint in constraints)
                + ("." if meeting["meeting"] else f"; '{meeting['closest']}' does, so the search starts near it.")
            )
        first = begun_with if _is_planned(run, epochs) and the_method.plans_final else Start()
        _plan(run, epochs, the_method, first.architectures)
        trials = [] if first.architectures else begin(run, begun_with)
        candidates = with_start(run, trials, the_method.search(run))
        clock.enter("finish")
        ending = Ending(run=run, task=task, method=method, budget=budget, conditions=conditions(pool.workers, device))
        return deliver(ending, candidates, folder)


def train(
    space: str | Space | Any,
    architecture: str | Architecture,
    data: str | Path | Task,
    *,
    epochs: int | None = None,
    recipe: Any = None,
    seed: int = 0,
    out: str | Path = "runs",
    name: str | None = None,
    device: str = "cpu",
    fresh: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Train one architecture (its text, or the name of a reference) fully, and measure, export and report it.

    `archscout.api.train` says what the options are, and what is raised.
    """
    seed, device = options.seed(seed), check_device(device)
    recipe, epochs = asked.read(recipe, options.epochs(epochs))
    out, watch = options.path(out, "the folder of runs"), options.watch(progress)
    the_space, task = load_space(space), asked.of_task(resolve_task(data, progress), recipe, epochs)
    the_space.check_task(task)
    try_task(the_space, task, seed)
    parsed = the_space.named(
        architecture.text if isinstance(architecture, Architecture) else options.text(architecture, "the architecture")
    )
    default = default_name(the_space, task, f"train-{digest(the_space.canonical(parsed))[:6]}", seed)
    name = default if name is None else name
    folder = run_folder(out, name)
    if options.switch(fresh, "fresh"):
        start_afresh(folder, name, None, watch)
        run_folder(out, name)
    how = {"recipe": task.recipe} if task.recipe else {}
    about = identity(the_space, task, architecture=parsed.text, epochs=epochs, seed=seed, **how)
    with claimed(folder, SINGLE, about) as there:
        if there and (folder / "metrics.json").is_file():
            watch.say(f"run '{name}' is finished: this is its result (--fresh trains anew).")
            return Result.read(folder)
        return train_alone(the_space, parsed, task, folder, name, epochs, seed, device, watch)


def _of_path(place: Any) -> Any:
    """A path as text, in whatever object it is."""
    return os.fspath(place) if isinstance(place, os.PathLike) else place


def try_task(space: Space, task: Task, seed: int) -> None:
    """Try the task on two examples with an untrained network. Raises `UsageError` for what it cannot do."""
    from archscout.networks.pick import build
    from archscout.tasks.attempt import attempt

    try:
        network = build(space, space.sample(seeds.stream(seed, "attempt")), task)
    except Exception:
        if not is_foreign(space):
            raise
        return  # networks from outside are rehearsed, architecture by architecture, and what they raise is told there
    attempt(task, network, space.name)


def resolve_task(data: Any, progress: Progress | None = None) -> Task:
    """A task from its name, its path or data at hand, or as it is; `progress` sees how many examples are decoded."""
    if isinstance(data, Task):
        return data
    from archscout.tasks.load import load

    watch = options.watch(progress)
    return load(data, watch=lambda done, total: watch.update("reading data", done, total, None, None))


def resolve_estimator(estimator: str | Estimator) -> Estimator:
    """An estimator by name, or as it is. Raises `UsageError`."""
    if isinstance(estimator, Estimator):
        return estimator
    instance: Estimator = create("estimator", options.text(estimator, "the estimator"))
    return instance


def _limits(
    maximum: Limits | None, objectives: str | Cost | Sequence[str | Cost]
) -> tuple[list[Cost], list[Constraint], list[str]]:
    costs: dict[str, Cost] = {}

    def known(given: str | Cost) -> Cost:
        text = options.name_of(given, "a cost", Cost)
        cost = costs.setdefault(text, given if isinstance(given, Cost) else create("cost", text))
        if isinstance(given, Cost) and (type(given), repr(vars(given))) != (type(cost), repr(vars(cost))):
            raise UsageError(f"two costs are named '{text}': give each a `name` and a `key` of its own.")
        other = next((name for name, one in costs.items() if one.key == cost.key and type(one) is not type(cost)), None)
        if other is not None:
            raise UsageError(
                f"the costs '{other}' and '{text}' have one key, '{cost.key}', under which results carry their values: "
                f"give one of the classes another (key = {text!r})."
            )
        return cost

    constraints: list[Constraint] = []
    for given, limit in options.mapping(maximum, "the limits", '{"params": "100k"}').items():
        cost = known(given)
        name = options.name_of(given, "a cost", Cost)
        if any(constraint.key == cost.key for constraint in constraints):
            raise UsageError(f"the cost '{name}' is limited twice: give one limit.")
        constraints.append(Constraint(name, cost.key, cost.quantity(limit, name)))
    wanted = [each for each in options.several(objectives, "objectives", Cost) if each not in ("accuracy", "value")]
    keys = [known(each).key for each in wanted]
    if len(set(keys)) < len(keys):
        raise UsageError(
            f"the objective '{next(key for key in keys if keys.count(key) > 1)}' is named twice: name it once."
        )
    return list(costs.values()), constraints, keys


def _unnamed(given: Method | Estimator, named: Callable[[str], Any]) -> list[str]:
    """The digest of an object that is not what its name alone would make; nothing for one that is."""
    with suppress(UsageError):
        if digest(named(given.name)) == digest(given):
            return []
    return [digest(given)]


def _feasible(run: SearchRun) -> dict[str, Any]:
    rng = seeds.stream(run.seed, "feasibility")
    began = run.clock.elapsed()
    ends = began + _FEASIBILITY_SHARE * run.budget.seconds
    looked_at = 0

    def going(done: int, total: int, meeting: int) -> bool:
        nonlocal looked_at
        looked_at = done
        if not all(cost.exact for cost in run.book.costs):  # what is counted is there in a moment
            run.show("feasibility", done, total)
        share = _KNOWN_SHARE if meeting else _FEASIBILITY_SHARE
        return run.clock.elapsed() < began + share * run.budget.seconds

    def left() -> float:
        """Seconds of one look: without the first there is no search, the others may end a little late."""
        now, whole = run.clock.elapsed(), run.budget.seconds - run.clock.elapsed()
        return min(whole, max(planning.GRACE, ends - now)) if looked_at else whole

    try:
        with run.book.within(left):
            return feasibility.check(run.space, run.book, run.constraints, run.margins, rng, going).as_json()
    except TrialTimeout as error:
        spent = run.clock.elapsed()
        raise BudgetTooSmall(
            f"a budget of {run.budget} ended before the first networks were held against the limits: give at least "
            f"{math.ceil(spent + run.reserve + 3 * (spent - began))}s, or repeat on a quieter machine."
        ) from error


def _is_planned(run: SearchRun, wished: int | None) -> bool:
    """Whether the length of trainings follows from the budget."""
    return wished is None and math.isfinite(run.budget.seconds)


def _plan(run: SearchRun, wished: int | None, method: Method, first: Sequence[Architecture]) -> None:
    """What full training is in this search, and what is kept for the winner's final training."""
    if _is_planned(run, wished):
        run.clock.enter("timing")
        planned = planning.plan(run, method.plans_final, first)
        run.epochs, run.final, run.planned = planned.epochs, planned.final, True
        run.candidates, run.trainings = planned.candidates, planned.trainings
        run.say(planned.advice(run))
        return
    from archscout.training.recipe import default_epochs

    run.epochs = wished or default_epochs(run.task)
    if math.isfinite(run.budget.seconds):
        _calibrate(run)


def _calibrate(run: SearchRun) -> None:
    """Learn how long a training takes here. Raises `BudgetTooSmall` where none fits."""
    rng = run.rng("calibration")
    probes = run.admit((run.space.sample(rng) for _ in range(1000)), run.workers)
    trials = run.evaluate(probes, TRAINING, fidelity=2, phase=CALIBRATION) if probes else []
    if trials and not any(trial.status == "completed" for trial in trials):
        raise ArchscoutError(f"the first networks could not be trained: {trials[0].reason}")
    spent = run.clock.elapsed()
    if not trials:
        raise BudgetTooSmall(
            f"a budget of {run.budget} ended before a network was trained ({spent:.1f} s went into what comes before): "
            f"give at least {math.ceil(spent + run.reserve + 3 * run.budget.seconds)}s, or less data."
        )
    epoch = run.expected_seconds(TRAINING, 1)
    if run.seconds_left() < 1.5 * epoch:
        raise BudgetTooSmall(
            f"a budget of {run.budget} does not pay for one trained network (an epoch takes {epoch:.1f} s here, and "
            f"{spent:.1f} s are spent): give at least {math.ceil(spent + run.reserve + 3 * epoch)}s, or less data."
        )
