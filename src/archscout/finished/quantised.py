"""A finished run in integers: its network is quantised, tested, and told of in the run's metrics and on its page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.core.files import read_json, well_formed, write_bytes, write_json
from archscout.core.metric import Metric
from archscout.core.panel import Table
from archscout.core.task import Split, Task
from archscout.core.written import significant
from archscout.deploy.quantise import Quantisation, Quantised
from archscout.deploy.quantised_onnx import steps_apart, to_onnx
from archscout.finished.algorithms import check_images, to_integers
from archscout.finished.examples import EXAMPLES, calibration, stored
from archscout.search.result import METRICS, REPORT, RESTORE, Result
from archscout.tasks.meters import meter_of
from archscout.training.export import session

FILE = "network-int8.onnx"
TITLE = "The network in integers"
"""Of the panel on the page of a run."""

_BATCH = 256
_COMPARED = 64


@dataclass(frozen=True)
class Int8:
    """A quantised network and its ONNX file."""

    quantised: Quantised
    content: bytes

    def measure(self, task: Task, split: Split) -> float:
        """The metric over a split, by ONNX Runtime."""
        runtime, meter = session(self.content), meter_of(task)
        for start in range(0, len(split), _BATCH):
            part = Split(split.x[start : start + _BATCH], split.y[start : start + _BATCH])
            outputs = runtime.run(None, {"input": stored(task, part).numpy()})[0]
            meter.update(torch.from_numpy(outputs), task.tensors(part)[1])
        return meter.value()

    def apart(self, x: Tensor) -> int:
        """By how many steps of the output grid ONNX Runtime and the integer reference differ at most."""
        outputs = session(self.content).run(None, {"input": x.numpy()})[0]
        return int(steps_apart(self.quantised, x, outputs).max())


def int8(
    network: nn.Module,
    task: Task,
    how: Quantisation,
    form: str,
    count: int,
    seed: int,
    *,
    algorithm: str = "nearest",
    epochs: int | None = None,
) -> Int8:
    """Quantise the deployed network of a task. Raises as `to_integers` does."""
    quantised = to_integers(network, task, how, algorithm=algorithm, epochs=epochs, count=count, seed=seed)
    return Int8(quantised, to_onnx(quantised, form))


def quantise_run(
    folder: Path,
    network: nn.Module,
    task: Task,
    how: Quantisation,
    *,
    form: str = "qdq",
    algorithm: str = "nearest",
    epochs: int | None = None,
    count: int = EXAMPLES,
    seed: int = 0,
) -> Result:
    """Write the int8 network of a run beside the float one, and what it came to into `metrics.json`.

    Args:
        folder: of the run, which holds a result.
        network: its deployed network, inputs as they are stored.
        task: with data: ranges are taken from training examples, the metric is of validation and test examples.
        how: schemes, observer and corrections.
        form: of the ONNX file, `qdq` or `qoperator`.
        algorithm: of `archscout.finished.algorithms.ALGORITHMS`.
        epochs: of one that trains.
        count: training examples that ranges are taken from.
        seed: which these are.

    Raises:
        UsageError: no result lies in the folder, it cannot be written, or the network cannot be quantised.
    """
    result = Result.read(folder)
    if not os.access(folder, os.W_OK):
        raise UsageError(f"'{folder}' cannot be written, where the int8 network goes: copy the run to where you may.")
    check_images(task)
    integers = int8(network, task, how, form, count, seed, algorithm=algorithm, epochs=epochs)
    splits = {"valid": task.valid, "test": task.test}
    preset = how.preset
    metric = task.metric
    values = {f"{name}_{metric}": integers.measure(task, split) for name, split in splits.items() if split is not None}
    record = {
        "file": FILE,
        "form": form,
        "algorithm": algorithm,
        "scheme": how.scheme,
        "weight_bits": preset.weights.bits,
        "activation_bits": preset.activations.bits,
        **({"recipe": task.recipe} if task.recipe else {}),
        "observer": how.observer,
        "bias_correction": how.bias_correction,
        "examples": min(count, len(task.train)),
        "seed": seed,
        "layer_bits": [how.of(o).weights.bits for o in integers.quantised.program.operators if o.weight is not None],
        "input_bits": integers.quantised.input_bits,
        **values,
        "weight_bytes": integers.quantised.weight_bytes,
        "bit_operations": integers.quantised.bit_operations,
        "steps_from_reference": integers.apart(calibration(task, _COMPARED, seed)),
    }
    with well_formed(folder / METRICS, RESTORE):
        table = panel(record, metric, result.metrics)
    report = _told(folder, table)
    write_bytes(folder / FILE, integers.content)
    write_json(folder / METRICS, {**result.metrics, "quantised": record})
    if report is not None:
        write_json(folder / REPORT, report)
    return Result.read(folder)


def panel(record: Mapping[str, Any], metric: Metric, metrics: Mapping[str, Any]) -> Table:
    """What the page of a run says of its network in integers.

    Args:
        record: of `metrics.json` under `quantised`.
        metric: of the task.
        metrics: of the run.
    """
    rows = [("bits of weights, of activations", f"{record['weight_bits']}, {record['activation_bits']}")]
    for split, name in (("valid", "validation"), ("test", "test")):
        value, before = record.get(f"{split}_{metric}"), metrics.get(f"{split}_{metric}")
        if value is not None:
            plain = "" if before is None else f" ({metric.text(before)} in floating point)"
            rows.append((f"{metric.title} on {name}", metric.text(value) + plain))
    rows.append(("bytes of weights", f"{record['weight_bytes']:,}"))
    for limit in metrics.get("constraints", ()):
        cost = metrics["costs"].get(limit["key"])
        if "int8" in limit["key"] and cost is not None:
            rows.append((limit["key"], f"{significant(cost, 4)}, of {significant(limit['limit'], 4)} at most"))
    return Table(TITLE, ("", ""), [*rows, ("file", str(record["file"]))])


def _told(folder: Path, table: Table) -> dict[str, Any] | None:
    """A run's report with a panel, instead of an earlier one of its title; None where it has none."""
    source = folder / REPORT
    if not source.is_file():
        return None
    report = read_json(source, RESTORE)
    with well_formed(source, RESTORE):
        notes = report.get("notes") or {}
        others = [each for each in notes.get("panels") or [] if each.get("title") != table.title]
        return {**report, "notes": {**notes, "panels": [*others, table.as_json()]}}
