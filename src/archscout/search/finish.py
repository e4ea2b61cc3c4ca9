"""The ending: measure the finalists, take the best that keeps every limit, test it once, export it, report it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from archscout.core.architecture import Architecture
from archscout.core.budget import Budget
from archscout.core.cost import Cost, Measurement
from archscout.core.errors import ArchscoutError
from archscout.core.estimator import TRAINING, Setting
from archscout.core.metric import Metric
from archscout.core.progress import Progress
from archscout.core.registry import create
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.core.trial import Trial
from archscout.costs import mirroring
from archscout.costs.machine import conditions
from archscout.costs.reported import REPORTED, measure_each, named_cost
from archscout.estimators.final import FINAL, FinalTraining, untouched
from archscout.estimators.trained import weights_file
from archscout.search import elsewhere
from archscout.search.choose import (
    choose,
    counts,
    no_network,
    train_some,
    trained_networks,
)
from archscout.search.final import train_winner, training_panel, training_summary
from archscout.search.package import earlier_network, package, trained_network, trained_weights
from archscout.search.reserve import ending_seconds
from archscout.search.result import Result
from archscout.search.run import SearchRun
from archscout.strategies.pareto import pareto_front


@dataclass(frozen=True)
class Ending:
    """What the ending needs to know of the search."""

    run: SearchRun
    task: Task
    method: str
    budget: Budget
    conditions: Mapping[str, Any]
    times: elsewhere.Times = field(default_factory=dict)
    """What was measured of finalists on devices that are elsewhere; then one of these wins."""


def deliver(ending: Ending, candidates: Sequence[Trial], folder: Path) -> Result:
    """Turn the candidates, best first, into the files of a result.

    Raises `ArchscoutError` where none was trained, or none keeps the limits when measured again.
    """
    run = ending.run
    trained = trained_networks(run, candidates)
    final: Trial | None = None
    if run.planned and not ending.times and (candidates or trained):
        winner, finalists, measured = choose(run, candidates or trained, {})
        run.reserve = ending_seconds(run, winner, ending.task)
        final = train_winner(run, winner)
        run.clock.enter("finish")
        if final is not None:
            winner = final
            trained = [final, *(trial for trial in trained if trial.canonical != final.canonical)]
    if final is None:
        trained = trained or (train_some(run, candidates) and trained_networks(run, candidates))
        if not trained:
            raise ArchscoutError(no_network(run))
        # Once times have come back from a device, what wins has been measured there.
        timed = [trial for trial in trained if trial.canonical in ending.times]
        winner, finalists, measured = choose(run, timed if ending.times else trained, ending.times)
    network = _winning_network(ending, winner, folder).eval()
    # Something to set accuracy against, also where no cost was asked for.
    counted = [] if run.book.costs else [create("cost", "macs")]
    try:
        rows = run.book.screened([trial.architecture for trial in trained], counted)
    except ArchscoutError:
        if not counted:
            raise
        counted = [create("cost", "params")]
        rows = run.book.screened([trial.architecture for trial in trained], counted)
    everything = [replace(trial, costs=row) for trial, row in zip(trained, rows, strict=True)]
    waiting = run.store.notes(run.name).get("measure_next", [])
    if ending.times:
        known = {key for by_key in ending.times.values() for key in by_key}
        kept, waiting = (
            [t for t in trained if t.canonical in ending.times],
            [each for each in waiting if each["key"] not in known],
        )
    else:
        kept, waiting = elsewhere.write(run, trained, winner, folder)
    if waiting or ending.times:
        run.note("measure_next", waiting)
    form = _form(ending, winner, network, measured, waiting)
    axes = list(run.objectives) or [c.key for c in run.constraints] or [cost.key for cost in counted]
    extra = {
        "run": run.name,
        "method": ending.method,
        "estimator": run.estimator,
        "objectives": [str(ending.task.metric), *run.objectives],
        "constraints": [{"name": c.cost, "key": c.key, "limit": c.limit} for c in run.constraints],
        "budget": str(ending.budget),
        "epochs": winner.extra.get("epochs", winner.fidelity),
        "full_epochs": run.epochs,
        "training": (training := training_summary(run, winner)),
        "conditions": dict(ending.conditions),
        "finalists": finalists,
        "measure_next": waiting,
        "devices": {cost.key: about for cost in run.book.costs if (about := cost.about(run.book.setting))},
        "pareto": [
            {"architecture": t.architecture.text, "value": ending.task.metric.oriented(t.value), "costs": dict(t.costs)}
            for t in pareto_front(everything, axes)
        ],
        **counts(run),
        "rejected": run.rejected,
        "feasibility": run.store.decisions(run.name).get("feasibility"),
        "notes": _with_panel(notes := run.store.notes(run.name), training, ending.task.metric, form.about),
        "missing": notes.get("missing", {}),
        **({} if form.about is None else {"mirrored": form.about}),
    }
    shipped = replace(winner, value=form.value)
    result = package(folder, run.space, form.task, shipped, network, form.measured, run.seed, extra, run)
    run.note("finished", True)
    _clear(run.folder, {weights_file(run.folder, trial) for trial in kept})
    return result


def _form(
    ending: Ending, winner: Trial, network: nn.Module, measured: Mapping[str, Measurement], waiting: Sequence[Any]
) -> mirroring.Delivery:
    """In which form the winner is delivered; tried once for each budget."""
    run, task = ending.run, ending.task
    # Who looks at a front, or waits for times of another device, wants the costs that were shown.
    shown = bool(waiting or ending.times or run.objectives)
    if shown or not mirroring.in_question(task, run.book.costs, run.constraints):
        return mirroring.delivery(task, winner.value, measured, None)

    def measure(cost: Cost, answering: Task) -> Measurement:
        return cost.measure(winner.architecture, replace(run.setting, task=answering.sealed()))

    def make() -> dict[str, Any]:
        return mirroring.tried(
            run.task, network, measured, run.book.costs, run.constraints, untouched(run.task, winner, run.seed),
            measure, tests=0 if task.test is None else len(task.test),
            seconds=run.budget.seconds - run.clock.elapsed(),
        )  # fmt: skip

    return mirroring.delivery(task, winner.value, measured, run.decide("mirrored", make))


def _winning_network(ending: Ending, winner: Trial, folder: Path) -> nn.Module:
    """The winner's network: as its training kept it, as an earlier result of the run has it, or trained again.

    A run that has ended keeps the network that it delivered alone; with a larger budget it may go on nevertheless.
    """
    run = ending.run
    file = trained_weights(winner, run.folder)
    if file is None or not file.is_file():
        earlier = earlier_network(folder, run.space, ending.task, winner)
        if earlier is not None:
            return earlier
        run.say(f"'{winner.architecture}' is trained again, for its weights were not kept.")
        setting = replace(run.setting, folder=run.folder)
        known = winner if winner.extra.get("cross_validated") else None
        final = FinalTraining(everything="valid" in run.task.drawn, known=known)
        estimator = final if winner.estimator == FINAL else None
        again = estimator or create("estimator", winner.estimator)
        again.estimate([winner.architecture], setting, fidelity=winner.fidelity)
    return trained_network(run.space, ending.task, winner, run.folder)


def _with_panel(
    notes: Mapping[str, Any], training: Mapping[str, Any], metric: Metric, form: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The notes of a run, with a panel about the training of its winner after those of the method."""
    return {**notes, "panels": [*(notes.get("panels") or []), training_panel(training, metric, form).as_json()]}


def _clear(folder: Path, kept: set[Path | None]) -> None:
    """Delete what a search leaves, but the weights of those that are to be measured elsewhere and may win yet."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path not in kept:
            path.unlink(missing_ok=True)
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)


def train_alone(
    space: Space,
    architecture: Architecture,
    task: Task,
    folder: Path,
    name: str,
    epochs: int | None,
    seed: int,
    device: str,
    progress: Progress,
) -> Result:
    """Train one architecture in this process and deliver it as a search delivers its winner."""
    from archscout.training.recipe import default_epochs

    torch.set_num_threads(1)
    began = time.monotonic()
    epochs = epochs or default_epochs(task)
    work = folder / "work"
    work.mkdir(exist_ok=True)
    setting = Setting(space, task.sealed(), seed=seed, device=device, folder=work)
    progress.say(f"training for {epochs} epochs.")
    estimate = create("estimator", TRAINING).estimate([architecture], setting, fidelity=epochs)[0]
    seconds = time.monotonic() - began
    trial = Trial(
        number=0, architecture=architecture, canonical=space.canonical(architecture), estimator=TRAINING,
        fidelity=epochs, status="completed", value=estimate.value, seconds=seconds, curve=estimate.curve, seed=seed,
        extra=estimate.extra,
    )  # fmt: skip
    if not trial.defined:
        raise ArchscoutError(f"the network could not be trained: {estimate.reason}")
    network = trained_network(space, task, trial, work).eval()
    wanted = [named_cost(cost) for cost in REPORTED]
    measured, missing = measure_each(wanted, lambda cost: cost.measure(architecture, setting))
    extra = {
        "run": name, "method": "train", "estimator": TRAINING, "objectives": [str(task.metric)], "constraints": [],
        "budget": "", "epochs": epochs, "conditions": conditions(1, device), "finalists": [], "pareto": [],
        "trials": 1, "failed_trials": 0, "scored": 0, "failures": [], "rejected": 0, "feasibility": None, "notes": {},
        "seconds": {"final training": seconds}, "missing": missing,
    }  # fmt: skip
    result = package(folder, space, task, trial, network, measured, seed, extra, None)
    shutil.rmtree(work, ignore_errors=True)
    return result
