"""Why ONNX Runtime's own quantisation loses what it loses: its settings one by one, and each operator left alone.

    python -m benchmarks.deploy.onnxruntime_default

The network of NAS-Bench-201 of `benchmarks.deploy.observers` on digits. `default` is what `quantize_static` makes in
QOperator form; the others change one thing: signed activations, scales by channel, seven bits (`reduce_range`), the QDQ
form, other calibration, or all operators of one type, or one operator alone, left in floating point. Rows go to
docs/results/onnxruntime_default.json, and a run that was stopped goes on.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

import archscout
from archscout.deploy.reading import read
from archscout.finished.examples import calibration, stored
from archscout.training.export import export_onnx
from benchmarks.common import RESULTS, Rows, arguments, machine
from benchmarks.deploy.observers import answers, compared, trained

FILE = RESULTS / "onnxruntime_default.json"
NETWORK = "nasbench201"
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "signed activations": {"activation_type": QuantType.QInt8},
    "scales by channel": {"per_channel": True},
    "seven bits": {"reduce_range": True},
    "QDQ": {"quant_format": QuantFormat.QDQ},
    "entropy": {"calibrate_method": CalibrationMethod.Entropy},
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger().setLevel(logging.ERROR)
    about = {"version": archscout.__version__, **machine(), "task": "digits", "network": NETWORK}
    rows = Rows(options.results, ("seed", "what", "name"), about, sort=True)
    task = archscout.task("digits")
    assert task.test is not None
    x, y = stored(task, task.test), torch.from_numpy(task.test.y)
    for seed in range(options.seeds):
        if rows.has(seed=seed, what="done", name=""):
            continue
        network, examples = trained(NETWORK, task, seed), calibration(task, 256, seed)
        with torch.no_grad():
            exact = read(network, task.input_shape).run(x)
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "float.onnx"
            export_onnx(network, task.input_shape, plain)
            nodes = onnx.load(plain).graph.node
            types = sorted({node.op_type for node in nodes})
            cases = [
                *(("setting", name, settings) for name, settings in SETTINGS.items()),
                *(
                    ("type left alone", kind, {"op_types_to_quantize": [t for t in types if t != kind]})
                    for kind in types
                ),
                *(("operator left alone", node.name, {"nodes_to_exclude": [node.name]}) for node in nodes),
            ]
            for what, name, settings in cases:
                if rows.has(seed=seed, what=what, name=name):
                    continue
                content = quantised(plain, examples.numpy(), settings)
                kind = {node.name: node.op_type for node in nodes}.get(name, "")
                rows.add({"seed": seed, "what": what, "name": name, "type": kind, "relus": relus(content),
                          **compared(exact, answers(content, x), y)})  # fmt: skip
        rows.add({"seed": seed, "what": "done", "name": ""})


def relus(content: bytes) -> int:
    """How many ReLUs a file has."""
    return sum(node.op_type == "Relu" for node in onnx.load_from_string(content).graph.node)


def quantised(plain: Path, examples: np.ndarray, settings: Mapping[str, Any]) -> bytes:
    """What ONNX Runtime makes of a file by itself."""

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(np.split(examples, 8))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"input": batch}

    integers = plain.with_name("int8.onnx")
    quantize_static(plain, integers, Reader(), **{"quant_format": QuantFormat.QOperator, **settings})
    return integers.read_bytes()


def section(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the page says of it."""
    lost: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["what"] != "done":
            lost.setdefault((row["what"], row["name"]), []).append(row["lost"])
    if not lost:
        return []
    means = {key: float(np.mean(values)) for key, values in lost.items()}
    default = means["setting", "default"]
    lines = ["| changed | points lost | n |", "| --- | ---: | ---: |"]
    shown = [key for key in means if key[0] != "operator left alone" or means[key] < 0.5 * default]
    for what, name in sorted(shown, key=lambda key: (key[0] != "setting", key[0], means[key])):
        label = name if what == "setting" else f"{what}: {name}"
        lines.append(f"| {label} | {means[what, name]:.2f} | {len(lost[what, name])} |")
    left = {(row["what"], row["name"]): row["relus"] for row in rows if "relus" in row}
    counts = (
        f"of {left['type left alone', 'Relu']} ReLUs the file in QOperator form has {left['setting', 'default']}, "
        "for one goes where its input is in integers, also where these go below zero; in QDQ form there are "
        f"{left['setting', 'QDQ']}"
    )
    cure = min((key for key in means if key[0] == "type left alone"), key=lambda key: means[key])
    return [
        "## What ONNX Runtime's own quantisation loses, and where",
        "The network of NAS-Bench-201 on digits, by `benchmarks.deploy.onnxruntime_default`: one thing changed. "
        f"By default {default:.2f} points are lost; with operators of type {cure[1]} left in floating point "
        f"{means[cure]:.2f}. Neither ranges nor scales are the cause: {counts}. Single operators are listed where "
        "leaving one alone halves the loss.",
        "\n".join(lines),
    ]


if __name__ == "__main__":
    main()
