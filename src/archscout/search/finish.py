"""The ending: measure the finalists, take the best that keeps every limit, test it once, export it, report it."""

from __future__ import annotations

import os
import platform
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from archscout import __version__
from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.errors import ArchscoutError
from archscout.core.estimator import Setting
from archscout.core.registry import create, parse_name
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.core.trial import Trial
from archscout.costs.machine import processor
from archscout.estimators.trained import weights_file
from archscout.networks.pick import build
from archscout.networks.tracing import trace
from archscout.search import elsewhere
from archscout.search.budget import Budget
from archscout.search.costs import meets
from archscout.search.progress import Progress
from archscout.search.result import Result, write_json
from archscout.search.run import SearchRun
from archscout.strategies.pareto import pareto_front
from archscout.training.export import export_onnx
from archscout.training.trainer import predict

REPORTED = ("params", "macs", "latency", "peak_memory")
"""What every result says of its winner, whatever was constrained."""

_FINALISTS = 3

_SPARE = 2.0
"""Of the seconds kept back for the ending, what measuring further finalists may take."""
_MISTAKES = 12

_CONSIDERED = 200
"""Trained networks that are looked at in the end, the best ones."""


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
    # Whatever was trained can win, for however long: its validation accuracy is that of the weights that are kept.
    trained = _trained(run) or (_train_some(run, candidates) and _trained(run))
    if not trained:
        raise ArchscoutError(_no_network(run))
    # Once times have come back from a device, what wins has been measured there.
    timed = [trial for trial in trained if trial.canonical in ending.times]
    winner, finalists, measured = _choose(run, timed if ending.times else trained, ending.times)
    network = _weights(run.space, ending.task, winner, run.folder).eval()
    # Something to set accuracy against, also where no cost was asked for.
    counted = [] if run.book.costs else [create("cost", "macs")]
    rows = run.book.screened([trial.architecture for trial in trained], counted)
    everything = [replace(trial, costs=row) for trial, row in zip(trained, rows, strict=True)]
    waiting = run.store.notes(run.name).get("measure_next", [])
    if ending.times:
        known = {key for found in ending.times.values() for key in found}
        kept, waiting = timed, [each for each in waiting if each["key"] not in known]
    else:
        kept, waiting = elsewhere.write(run, trained, winner, folder)
    if waiting or ending.times:
        run.note("measure_next", waiting)
    axes = list(run.objectives) or [c.key for c in run.constraints] or ["macs"]
    extra = {
        "run": run.name,
        "method": ending.method,
        "estimator": run.estimator,
        "objectives": [ending.task.metric, *run.objectives],
        "constraints": [{"name": c.cost, "key": c.key, "limit": c.limit} for c in run.constraints],
        "budget": str(ending.budget),
        "epochs": winner.fidelity,
        "conditions": dict(ending.conditions),
        "finalists": finalists,
        "measure_next": waiting,
        "devices": {cost.key: about for cost in run.book.costs if (about := cost.about(run.book.setting))},
        "pareto": [
            {"architecture": t.architecture.text, "value": t.value, "costs": dict(t.costs)}
            for t in pareto_front(everything, axes)
        ],
        **_counts(run),
        "rejected": run.rejected,
        "feasibility": run.store.decisions(run.name).get("feasibility"),
        "notes": run.store.notes(run.name),
    }
    result = _package(folder, run.space, ending.task, winner, network, measured, run.seed, extra, run)
    run.note("finished", True)
    _clear(run.folder, {weights_file(run.folder, trial.canonical, trial.fidelity or 0) for trial in kept})
    return result


def _clear(folder: Path, kept: set[Path]) -> None:
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
    import time

    from archscout.training.recipe import default_epochs

    torch.set_num_threads(1)
    began = time.monotonic()
    epochs = epochs or default_epochs(task)
    work = folder / "work"
    work.mkdir(exist_ok=True)
    setting = Setting(space, task.sealed(), seed=seed, device=device, folder=work)
    progress.say(f"training for {epochs} epochs.")
    estimate = create("estimator", "trained").estimate([architecture], setting, fidelity=epochs)[0]
    seconds = time.monotonic() - began
    trial = Trial(
        number=0, architecture=architecture, canonical=space.canonical(architecture), estimator="trained",
        fidelity=epochs, status="completed", value=estimate.value, seconds=seconds, curve=estimate.curve, seed=seed,
    )  # fmt: skip
    if not trial.defined:
        raise ArchscoutError(f"the network could not be trained: {estimate.reason}")
    network = _weights(space, task, trial, work).eval()
    measured = {cost.key: cost.measure(architecture, setting) for cost in map(_cost, REPORTED)}
    extra = {
        "run": name, "method": "train", "estimator": "trained", "objectives": [task.metric], "constraints": [],
        "budget": "", "epochs": epochs, "conditions": conditions(1, device), "finalists": [], "pareto": [],
        "trials": 1, "failed_trials": 0, "scored": 0, "failures": [], "rejected": 0, "feasibility": None, "notes": {},
        "seconds": {"final training": seconds},
    }  # fmt: skip
    result = _package(folder, space, task, trial, network, measured, seed, extra, None)
    shutil.rmtree(work, ignore_errors=True)
    return result


def conditions(workers: int, device: str) -> dict[str, Any]:
    """What the figures depend on besides the seed."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": 1,
        "workers": workers,
        "device": device,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "system": platform.system(),
    }


# -- the winner -------------------------------------------------------------------------------------------------------


def _is_training(estimator: str) -> bool:
    return parse_name(estimator)[0] == "trained"


def _cost(name: str) -> Cost:
    made: Cost = create("cost", name)
    return made


def _train_some(run: SearchRun, candidates: Sequence[Trial]) -> list[Trial]:
    """Where a search ended before anything was trained: the best of what it found, as long as time allows."""
    best = [trial.architecture for trial in candidates[: run.workers]]
    return [t for t in run.evaluate(best, "trained", fidelity=run.epochs, phase="final training") if t.defined]


def _no_network(run: SearchRun) -> str:
    failures = _counts(run)["failures"]
    if failures:
        return f"no network was trained: {failures[0]['count']} trainings failed, first with: {failures[0]['reason']}"
    return f"the budget of {run.budget} ended before a network was trained: give more, or fewer --epochs."


def _choose(
    run: SearchRun, trained: Sequence[Trial], times: elsewhere.Times
) -> tuple[Trial, list[dict[str, Any]], dict[str, Measurement]]:
    """The best that keeps every limit when measured again; with what was measured of the finalists."""
    finalists: list[dict[str, Any]] = []
    winner: Trial | None = None
    found: dict[str, Measurement] = {}
    for trial in trained:
        enough = len(finalists) >= _FINALISTS or run.seconds_left() < -_SPARE
        if winner is not None and enough and not times:
            break
        measured = run.book.measured(trial.architecture) | times.get(trial.canonical, {})
        values = {key: measurement.value for key, measurement in measured.items()}
        kept = meets({key: measurement.at_most for key, measurement in measured.items()}, run.constraints, {})
        finalists.append(
            {
                "architecture": trial.architecture.text,
                "value": trial.value,
                "costs": values,
                "meets": kept,
                "details": {key: dict(measurement.details) for key, measurement in measured.items()},
            }
        )
        if kept and winner is None:
            winner, found = trial, measured
    if winner is None:
        limits = ", ".join(str(constraint) for constraint in run.constraints)
        closest = min(finalists, key=lambda f: max(f["costs"][c.key] / c.limit for c in run.constraints))
        raise ArchscoutError(
            f"none of {len(finalists)} trained networks keeps {limits} when measured again; the closest has "
            + ", ".join(f"{c.key} = {closest['costs'][c.key]:.4g}" for c in run.constraints)
            + (": raise the limit, or repeat on a quieter machine." if not times else ": search under a lower limit.")
        )
    missing = [cost for cost in map(_cost, REPORTED) if cost.key not in found]
    found = found | {k: m for k, m in run.book.measured(winner.architecture, missing).items() if k not in found}
    return winner, finalists, found


def _weights(space: Space, task: Task, trial: Trial, folder: Path) -> nn.Module:
    """The trained network of a trial, from the weights that its training kept."""
    from safetensors.torch import load_file

    file = weights_file(folder, trial.canonical, trial.fidelity or 0)
    if not file.is_file():
        raise ArchscoutError(
            f"the weights of the winner are gone: '{file}' is missing; delete the run and search again."
        )
    network = build(space, trial.architecture, task)
    network.load_state_dict(load_file(file))
    return network


def _trained(run: SearchRun) -> list[Trial]:
    """The best of the trained networks, whose weights are kept, best first; the best training of each."""
    rows = [
        row
        for row in run.store.trials(run.name)
        if row.status == "completed"
        and (_is_training(row.estimator) or weights_file(run.folder, row.canonical, row.fidelity or 0).is_file())
    ]
    unread = [row.trial(Architecture(row.architecture, ())) for row in rows]
    best: dict[str, Trial] = {}
    for trial in sorted((trial for trial in unread if trial.defined), key=lambda trial: trial.rank):
        best.setdefault(trial.canonical, trial)
    return [replace(t, architecture=run.space.parse(t.architecture.text)) for t in list(best.values())[:_CONSIDERED]]


def _counts(run: SearchRun) -> dict[str, Any]:
    rows = run.store.trials(run.name)
    failed = Counter(row.reason for row in rows if row.status == "failed")
    return {
        "trials": sum(row.estimator == run.estimator and row.phase != "calibration" for row in rows),
        "scored": len({row.canonical for row in rows}),
        "failed_trials": sum(failed.values()),
        "failures": [{"reason": reason, "count": count} for reason, count in failed.most_common(5)],
    }


# -- the files --------------------------------------------------------------------------------------------------------


def _package(
    folder: Path,
    space: Space,
    task: Task,
    winner: Trial,
    network: nn.Module,
    measured: Mapping[str, Measurement],
    seed: int,
    extra: Mapping[str, Any],
    run: SearchRun | None,
) -> Result:
    """Write network, architecture, ONNX file, metrics and report."""
    from safetensors.torch import save

    metric = task.metric
    deployed = task.deploy(network).eval()
    partial = folder / f".network.{os.getpid()}"
    partial.write_bytes(save({name: tensor.contiguous() for name, tensor in deployed.state_dict().items()}))
    partial.replace(folder / "network.safetensors")
    values = {c: winner.architecture[c] for c in winner.architecture}
    write_json(
        folder / "architecture.json",
        {
            "format": 1,
            "space": space.name,
            "architecture": winner.architecture.text,
            "choices": values,
            "task": task.describe(),
            "version": __version__,
        },
    )
    difference = export_onnx(deployed, task.input_shape, folder / "network.onnx")
    tested = _test(task, network)
    graph = trace(build(space, winner.architecture, task, device="meta"), task.input_shape)
    if run is not None:
        run.clock.write()
        seconds = dict(run.store.spent(run.name))
        seconds["total"] = sum(seconds.values())
    else:
        seconds = dict(extra["seconds"])
        seconds["total"] = sum(seconds.values())
    # Counts are whole numbers, and look like it.
    costs = {k: int(m.value) if not m.spread and m.value.is_integer() else m.value for k, m in measured.items()}
    common = {
        **{key: value for key, value in extra.items() if key != "notes"},
        "space": space.name,
        "task": task.name,
        "metric": metric,
        "seed": seed,
        "seconds": seconds,
        "version": __version__,
    }
    metrics = {
        "architecture": winner.architecture.text,
        f"valid_{metric}": winner.value,
        f"test_{metric}": tested.get("value"),
        "costs": costs,
        "spread": {key: measurement.spread for key, measurement in measured.items()},
        "cost_details": {key: dict(measurement.details) for key, measurement in measured.items()},
        "onnx_difference": difference,
        **common,
    }
    report = {
        **common,
        "notes": extra["notes"],
        "winner": {
            "architecture": winner.architecture.text,
            "costs": costs,
            "spread": metrics["spread"],
            f"valid_{metric}": winner.value,
            f"test_{metric}": tested.get("value"),
            "graph": {
                "nodes": [{"label": n.label, "group": n.group, "size": n.size, "macs": n.macs} for n in graph.nodes],
                "edges": [list(edge) for edge in graph.edges],
            },
            "curve": [dict(row) for row in winner.curve],
        },
        "class_names": list(task.class_names),
        "confusion": tested.get("confusion"),
        "mistakes": tested.get("mistakes", []),
    }
    write_json(folder / "report.json", report)
    write_json(folder / "metrics.json", metrics)
    return Result.read(folder)


def _test(task: Task, network: nn.Module) -> dict[str, Any]:
    """The one look at the test split: the metric, and for classes the confusion matrix and the worst mistakes."""
    if task.test is None or not len(task.test):
        return {}
    outputs = predict(network, task, task.test)
    targets = torch.as_tensor(task.test.y)
    result: dict[str, Any] = {"value": task.measure(outputs, targets)}
    if not task.class_names or outputs.ndim != 2:
        return result
    probabilities = outputs.softmax(dim=1)
    confidence, predicted = probabilities.max(dim=1)
    confusion = np.zeros((task.outputs, task.outputs), dtype=int)
    np.add.at(confusion, (targets.numpy(), predicted.numpy()), 1)
    wrong = (predicted != targets).nonzero().flatten()
    worst = wrong[confidence[wrong].argsort(descending=True)][:_MISTAKES].tolist()
    picture = getattr(task, "picture", None)
    result["confusion"] = confusion.tolist()
    result["mistakes"] = [
        {
            "image": picture(task.test.x[i]) if picture else "",
            "true": task.class_names[int(targets[i])],
            "predicted": task.class_names[int(predicted[i])],
            "confidence": float(confidence[i]),
        }
        for i in worst
    ]
    return result
