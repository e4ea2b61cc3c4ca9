"""The files of a result: weights, architecture, ONNX file, metrics and report; the winner is tested once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from archscout import __version__
from archscout.core.cost import Measurement
from archscout.core.errors import ArchscoutError, DataError, reason_of
from archscout.core.files import write_json
from archscout.core.graph import Graph
from archscout.core.panel import Panel, Text
from archscout.core.space import Space
from archscout.core.task import Answers, Task
from archscout.core.trial import Trial
from archscout.costs.device_table import device_table, panel
from archscout.costs.measured_form import measured_form, worth
from archscout.deploy.form import form
from archscout.estimators.final import FINAL, final_weights, untouched
from archscout.estimators.trained import weights_file
from archscout.networks.pick import build
from archscout.networks.tracing import trace_architecture
from archscout.search.result import Result
from archscout.search.run import SearchRun
from archscout.store.intact import check, checksums
from archscout.tasks.meters import meter_of
from archscout.training import asked, checkpoint
from archscout.training.export import export_onnx
from archscout.training.rehearsal import is_foreign
from archscout.training.trainer import answers


def trained_network(space: Space, task: Task, trial: Trial, folder: Path) -> nn.Module:
    """The trained network of a trial, from the weights that its training kept."""
    from safetensors.torch import load_file

    file = trained_weights(trial, folder)
    if file is None or not file.is_file():
        raise ArchscoutError(
            f"the weights of the winner are gone: '{file or folder}' is missing; delete the run and search again."
        )
    network = build(space, trial.architecture, task)
    network.load_state_dict(load_file(file))
    return network


def trained_weights(trial: Trial, folder: Path) -> Path | None:
    """Where the training of a trial keeps its weights; None where it keeps none."""
    if trial.estimator == FINAL:
        return final_weights(folder, trial.canonical, trial.fidelity or 0)
    return weights_file(folder, trial)


def earlier_network(folder: Path, space: Space, task: Task, trial: Trial) -> nn.Module | None:
    """The network of a trial from the result that lies in a folder; None where that is of another trial, damaged, or
    none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not (folder / "metrics.json").is_file() or not (folder / "network.safetensors").is_file():
        return None
    metrics = Result.read(folder).metrics
    value, form = metrics.get(f"valid_{task.metric}"), metrics.get("mirrored") or {}
    deploying = task
    if form.get("chosen"):  # what the trial knows is the value of one pass
        value, deploying = form["trained"], replace(task, mirrored=True)  # type: ignore[call-arg]
    if (metrics["architecture"], value) != (trial.architecture.text, task.metric.oriented(trial.value)):
        return None
    network = build(space, trial.architecture, task)
    try:
        check(folder / "network.safetensors")
        deploying.deploy(network).load_state_dict(load_file(folder / "network.safetensors"))
    except (DataError, SafetensorError, RuntimeError):
        return None
    return network


def package(
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
    metric = task.metric
    deployed = task.deploy(network).eval()
    checkpoint.write(folder / "network.safetensors", deployed.state_dict(), {})
    # A module of the user's own may do what ONNX or the tracing cannot: that takes away the file, not the result.
    missing = dict(extra.get("missing", {}))
    difference: float | None = None
    folded = form(deployed, task.deployed_shape)
    try:
        quick = not is_foreign(space)  # what code from outside does for other inputs, only the slow exporter can tell
        difference = export_onnx(folded, task.deployed_shape, folder / "network.onnx", quick=quick)
    except ArchscoutError as error:
        missing["network.onnx"] = reason_of(error)
        (folder / "network.onnx").unlink(missing_ok=True)
    (folder / "network-int8.onnx").unlink(missing_ok=True)  # of the network that was here before
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
            "sha256": checksums(folder),
        },
    )
    tested, panels = _test(task, network)
    try:
        graph = trace_architecture(space, winner.architecture, task)
    except ArchscoutError as error:
        missing["graph"] = reason_of(error)
        graph = Graph((), ())
    if run is not None:
        run.clock.write()
        seconds = dict(run.store.spent(run.name))
        seconds["total"] = sum(seconds.values())
    else:
        seconds = dict(extra["seconds"])
        seconds["total"] = sum(seconds.values())
    figures = device_table(space, task, winner.architecture, folded, graph, measured,
                           seconds["total"])  # fmt: skip
    panels = [*panels, panel(figures)]
    # Counts are whole numbers, and look like it.
    costs = {k: int(m.value) if not m.spread and m.value.is_integer() else m.value for k, m in measured.items()}
    common = {
        **{key: value for key, value in extra.items() if key != "notes"},
        "space": space.name,
        "task": task.name,
        "recipe": task.recipe or asked.DEFAULT,
        "metric": str(metric),
        "metric_details": metric.as_json(),
        "seed": seed,
        "seconds": seconds,
        "version": __version__,
        "missing": missing,
        "own_module": space.own_module,
    }
    described = measured_form(measured, [limit["key"] for limit in extra.get("constraints", ())])
    apart = untouched(task, winner, seed)
    in_form = None if apart is None else worth(network, task, apart, described)
    metrics = {
        "architecture": winner.architecture.text,
        f"valid_{metric}": metric.oriented(winner.value),
        f"test_{metric}": tested,
        "costs": costs,
        "spread": {key: measurement.spread for key, measurement in measured.items()},
        "cost_details": {key: dict(measurement.details) for key, measurement in measured.items()},
        "form": described if in_form is None else {**described, f"valid_{metric}": in_form},
        "device_table": figures,
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
            "cost_details": metrics["cost_details"],
            f"valid_{metric}": metric.oriented(winner.value),
            f"test_{metric}": tested,
            "graph": {
                "nodes": [{"label": n.label, "group": n.group, "size": n.size, "macs": n.macs} for n in graph.nodes],
                "edges": [list(edge) for edge in graph.edges],
            },
            "curve": [dict(row) for row in winner.curve],
        },
        "class_names": list(task.class_names),
        "panels": [each.as_json() for each in panels],
    }
    write_json(folder / "report.json", report)
    write_json(folder / "metrics.json", metrics)
    return Result.read(folder)


def _test(task: Task, network: nn.Module) -> tuple[float | None, list[Panel]]:
    """The one look at the test split: the metric, and what the task says of the answers."""
    test = task.test
    if test is None or not len(test):
        return None, []
    meter = meter_of(task)

    def measured() -> Iterator[Answers]:
        for outputs, targets, stored in answers(network, task, test):
            meter.update(outputs, targets)
            yield outputs, targets, stored

    batches = measured()
    try:
        panels = list(task.review(batches))
    except Exception as error:  # a review may be anybody's code, and all has been paid for
        said = f"What was to be said of the answers failed: {type(error).__name__}: {error}"
        panels = [Text("The answers", [said])]
        batches = measured()
        meter = meter_of(task)
    for _ in batches:
        pass
    return meter.value(), panels
