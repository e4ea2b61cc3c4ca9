"""The files of a result: weights, architecture, ONNX file, metrics and report; the winner is tested once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from archscout import __version__
from archscout.core.cost import Measurement
from archscout.core.errors import ArchscoutError
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.core.trial import Trial
from archscout.estimators.final import FINAL, final_weights
from archscout.estimators.trained import weights_file
from archscout.networks.pick import build
from archscout.networks.tracing import trace_architecture
from archscout.search.result import Result, write_json
from archscout.search.run import SearchRun
from archscout.training import checkpoint
from archscout.training.export import export_onnx
from archscout.training.trainer import predict

_MISTAKES = 12


def trained_network(space: Space, task: Task, trial: Trial, folder: Path) -> nn.Module:
    """The trained network of a trial, from the weights that its training kept."""
    from safetensors.torch import load_file

    place = final_weights if trial.estimator == FINAL else weights_file
    file = place(folder, trial.canonical, trial.fidelity or 0)
    if not file.is_file():
        raise ArchscoutError(
            f"the weights of the winner are gone: '{file}' is missing; delete the run and search again."
        )
    network = build(space, trial.architecture, task)
    network.load_state_dict(load_file(file))
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
    graph = trace_architecture(space, winner.architecture, task)
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
        "metric": str(metric),
        "metric_details": metric.as_json(),
        "seed": seed,
        "seconds": seconds,
        "version": __version__,
    }
    metrics = {
        "architecture": winner.architecture.text,
        f"valid_{metric}": metric.oriented(winner.value),
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
            f"valid_{metric}": metric.oriented(winner.value),
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
