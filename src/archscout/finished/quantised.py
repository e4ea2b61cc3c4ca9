"""A finished run in integers: its network is quantised after training, tested, and told of in the run's metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.core.files import write_bytes, write_json
from archscout.core.seeds import stream
from archscout.core.task import Split, Task
from archscout.deploy.program import read
from archscout.deploy.quantise import Quantisation, Quantised, quantise
from archscout.deploy.quantised_onnx import steps_apart, to_onnx
from archscout.search.result import Result
from archscout.tasks.image_task import ImageTask
from archscout.tasks.meters import meter_of
from archscout.training.export import session

FILE = "network-int8.onnx"
EXAMPLES = 256
"""Training examples that ranges are taken from, where no other number is given."""

_BATCH = 256
_COMPARED = 64


def stored(task: Task, split: Split) -> Tensor:
    """Images of a split as the deployed network takes them: N x C x H x W, float32, in stored units.

    Raises `UsageError` for a task that is not of images.
    """
    if not isinstance(task, ImageTask):
        raise UsageError(f"integer code is made of networks for images, and task '{task.name}' has none.")
    return torch.from_numpy(np.ascontiguousarray(split.x[:])).permute(0, 3, 1, 2).float().contiguous()


def calibration(task: Task, count: int = EXAMPLES, seed: int = 0) -> Tensor:
    """The inputs of `calibration_split`, as stored."""
    return stored(task, calibration_split(task, count, seed))


def calibration_split(task: Task, count: int = EXAMPLES, seed: int = 0) -> Split:
    """Training examples to take ranges from, drawn by the seed.

    Raises:
        UsageError: the examples are of one class where there are several, or there are none.
    """
    if count < 1:
        raise UsageError(f"ranges are taken from one example or more, not from {count}.")
    rows = np.sort(stream(seed, "calibration").permutation(len(task.train))[:count])
    labels = task.train.y[rows]
    if not len(rows):
        raise UsageError("there is no training example to take ranges from: name data with --data.")
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer) and len(task.class_names) > 1:
        classes = np.unique(labels)
        if len(classes) == 1:
            raise UsageError(
                f"all {len(rows)} calibration examples are of class '{task.class_names[int(classes[0])]}': ranges of "
                "one class do not hold for the others; give more examples, or data with all classes."
            )
    return Split(task.train.x[rows], labels)


def span(task: Task) -> tuple[float, float] | None:
    """The least and the largest number of a stored pixel, where the type of the pixels says it."""
    return (0.0, 255.0) if task.train.x.dtype == np.uint8 else None


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


def int8(network: nn.Module, task: Task, how: Quantisation, form: str, count: int, seed: int) -> Int8:
    """Quantise the deployed network of a task. Raises `UsageError` for operators that integer code does not have."""
    program = read(network, task.input_shape)
    quantised = quantise(program, calibration(task, count, seed), how, span=span(task))
    return Int8(quantised, to_onnx(quantised, form))


def quantise_run(
    folder: Path,
    network: nn.Module,
    task: Task,
    how: Quantisation,
    *,
    form: str = "qdq",
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
        count: training examples that ranges are taken from.
        seed: which these are.

    Raises:
        UsageError: no result lies in the folder, or the network cannot be quantised.
    """
    result = Result.read(folder)
    made = int8(network, task, how, form, count, seed)
    splits = {"valid": task.valid, "test": task.test}
    preset = how.preset
    metric = task.metric
    values = {f"{name}_{metric}": made.measure(task, split) for name, split in splits.items() if split is not None}
    told = {
        "file": FILE,
        "form": form,
        "scheme": how.scheme,
        "weight_bits": preset.weights.bits,
        "activation_bits": preset.activations.bits,
        "observer": how.observer,
        "bias_correction": how.bias_correction,
        "examples": min(count, len(task.train)),
        "seed": seed,
        "layer_bits": [how.of(o).weights.bits for o in made.quantised.program.operators if o.weight is not None],
        **values,
        "weight_bytes": made.quantised.weight_bytes,
        "steps_from_reference": made.apart(calibration(task, _COMPARED, seed)),
    }
    write_bytes(folder / FILE, made.content)
    write_json(folder / "metrics.json", {**result.metrics, "quantised": told})
    return Result.read(folder)
