"""Which ranges activations should get: observers by bits, on digits, and ONNX Runtime's own quantisation beside ours.

    python -m benchmarks.deploy.observers

Three networks (residual, depthwise, and one of NAS-Bench-201), 3 trainings of each, weights of 8 bits. `lost` are
points of accuracy on the test split, `changed` the share of test images with another answer than in floating point,
`noise` the mean squared error of the outputs by their variance. Form `integers` is the integer arithmetic, `qoperator`
the file that ONNX Runtime runs, `onnxruntime` what its `quantize_static` makes in QOperator form by default.
Rows go to docs/results/quantisation_observers.json, and a run that was stopped goes on.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import archscout
from archscout.core.registry import create
from archscout.core.task import Task
from archscout.deploy.observers import OBSERVERS
from archscout.deploy.quantise import Quantisation, quantise
from archscout.deploy.quantised_onnx import to_onnx
from archscout.deploy.reading import read
from archscout.finished.examples import calibration, span, stored
from archscout.networks.pick import build
from archscout.training.export import export_onnx, session
from archscout.training.recipe import Recipe
from archscout.training.trainer import train
from benchmarks.common import RESULTS, Rows, arguments, machine
from benchmarks.deploy.quantisation import NETWORKS

FILE = RESULTS / "quantisation_observers.json"
CASES = {
    **{name: ("classic", text) for name, text in NETWORKS.items()},
    "nasbench201": (
        "nasbench201:width=8,cells=1",
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|",
    ),
}
BITS = (8, 6, 4, 3)
KEYS = ("network", "seed", "form", "bits", "observer")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(options.results, KEYS, {"version": archscout.__version__, **machine(), "task": "digits"}, sort=True)
    task = archscout.task("digits")
    for seed in range(options.seeds):
        for name in CASES:
            if not rows.has(network=name, seed=seed, form="onnxruntime"):
                for row in measured(trained(name, task, seed), task, seed):
                    rows.add({"network": name, "seed": seed, **row})


def trained(name: str, task: Task, seed: int) -> nn.Module:
    space_name, text = CASES[name]
    space = create("space", space_name)
    network = build(space, space.parse(text), task, seed=seed)
    train(network, task, Recipe.default(task, 12), seed=seed)
    deployed: nn.Module = task.deploy(network.eval())
    return deployed.eval()


def measured(network: nn.Module, task: Task, seed: int) -> Iterator[dict[str, Any]]:
    program, examples = read(network, task.input_shape), calibration(task, 256, seed)
    assert task.test is not None
    x, y = stored(task, task.test), torch.from_numpy(task.test.y)
    with torch.no_grad():
        exact = program.run(x)
    for observer in OBSERVERS:
        for bits in BITS:
            quantised = quantise(
                program, examples, Quantisation(activation_bits=bits, observer=observer), span=span(task)
            )
            yield {"form": "integers", "bits": bits, "observer": observer, **compared(exact, quantised.run(x), y)}
            if bits == 8 and observer in ("min_max", "mse"):
                outputs = answers(to_onnx(quantised, "qoperator"), x)
                yield {"form": "qoperator", "bits": bits, "observer": observer, **compared(exact, outputs, y)}
    outputs = answers(by_onnxruntime(network, task, examples), x)
    yield {"form": "onnxruntime", "bits": 8, "observer": "min_max", **compared(exact, outputs, y)}


def compared(exact: Tensor, outputs: Tensor, y: Tensor) -> dict[str, float]:
    truth, answer = exact.argmax(1), outputs.argmax(1)
    return {
        "lost": 100 * float((truth == y).float().mean() - (answer == y).float().mean()),
        "changed": float((truth != answer).float().mean()),
        "noise": float((outputs - exact).pow(2).mean() / exact.var()),
    }


def answers(content: bytes, x: Tensor) -> Tensor:
    return torch.from_numpy(session(content).run(None, {"input": x.numpy()})[0])


def by_onnxruntime(network: nn.Module, task: Task, examples: Tensor) -> bytes:
    """What ONNX Runtime makes of the network in floating point by itself, from the same examples."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(np.split(examples.numpy(), 8))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"input": batch}

    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        plain, integers = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        export_onnx(network, task.input_shape, plain)
        quantize_static(plain, integers, Reader(), quant_format=QuantFormat.QOperator)
        return integers.read_bytes()


def section(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the page says of it."""
    by: dict[tuple[str, str, int, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        by.setdefault((row["network"], row["form"], row["bits"], row["observer"]), []).append(row)
    lost = {key: float(np.mean([row["lost"] for row in own])) for key, own in by.items()}
    noise = {key: float(np.mean([row["noise"] for row in own])) for key, own in by.items()}
    names = [name for name in CASES if any(key[0] == name for key in by)]
    heads = ["network", "bits", *OBSERVERS]
    table = ["| " + " | ".join(heads) + " |", "| " + " | ".join(["---"] + ["---:"] * (len(heads) - 1)) + " |"]
    for name in names:
        for bits in BITS:
            cells = [
                f"{lost[name, 'integers', bits, o]:.2f} ({noise[name, 'integers', bits, o]:.4f})" for o in OBSERVERS
            ]
            table.append(f"| {name} | {bits} | " + " | ".join(cells) + " |")
    best = {
        bits: min(OBSERVERS, key=lambda o, b=bits: np.mean([noise[n, "integers", b, o] for n in names]))
        for bits in BITS
    }
    forms = [
        f"{name}: {lost[name, 'qoperator', 8, 'mse']:.2f} points, by ONNX Runtime's own defaults "
        f"{lost[name, 'onnxruntime', 8, 'min_max']:.2f}"
        for name in names
    ]
    worst = max(lost[name, "qoperator", 8, "mse"] for name in names)
    repeats = max(len(own) for own in by.values())
    return [
        "## Ranges of activations",
        f"Points that are lost (and the noise of the outputs, by their variance), by observer and bits of activations, "
        f"weights of 8 bits, means of {repeats} trainings, by `benchmarks.deploy.observers`.",
        "\n".join(table),
        "Least noise: " + ", ".join(f"{best[bits]} at {bits} bits" for bits in BITS) + ". The default is `mse`.",
        "The file in QOperator form, run by ONNX Runtime, loses " + "; ".join(forms) + ". At most half a point: "
        f"{'holds' if worst <= 0.5 else 'does not hold'}.",
    ]


if __name__ == "__main__":
    main()
