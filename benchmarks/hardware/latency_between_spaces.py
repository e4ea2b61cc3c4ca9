"""Can a device's latency model carry over from one space to another? From NAS-Bench-201 to FBNet, on published devices.

    python -m benchmarks.hardware.latency_between_spaces --data ../shared/data

For every device that both tables have, at the same batch size: milliseconds are fitted to counts of traced networks
(multiply-adds, bytes moved, operators, and multiply-adds by kind of operator), with weights that are not negative, on
networks of NAS-Bench-201, and FBNet networks are predicted by the same weights. The same model fitted to FBNet networks
is what the counts could do. Writes docs/results/latency_between_spaces.json: it is the reason why a device of one space
gives no number for another.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.optimize import nnls
from scipy.stats import spearmanr

from archscout.core.architecture import Architecture
from archscout.core.graph import Graph
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.costs.memory_traffic import traffic_bytes
from archscout.networks.tracing import trace_architecture
from archscout.testing.tasks import tiny_task
from benchmarks.common import RESULTS, arguments, write_result
from benchmarks.hardware.latency_tables import table

KINDS = ("conv 3x3", "conv 1x1", "depthwise", "grouped")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of published tables")
    parser.add_argument("--networks", type=int, default=300, help="of each space")
    parser.add_argument("--out", type=Path, default=RESULTS / "latency_between_spaces.json")
    options = parser.parse_args()
    columns, latencies = {}, {}
    for name, classes in (("nasbench201", 10), ("fbnet", 100)):
        space, architectures, ms = table(name, options.data)
        rng = stream(0, "between spaces", name)
        alive = [i for i, each in enumerate(architectures) if space.simplify(each).text == each.text]
        picks = rng.permutation(alive)[: options.networks]
        task = tiny_task((3, 32, 32), classes=classes, examples=2 * classes)
        columns[name] = np.stack([counts(space, architectures[i], task) for i in picks])
        latencies[name] = {device: np.asarray(times)[picks] for device, times in ms.items()}

    rows = []
    half = options.networks // 2
    for device in sorted(set(latencies["nasbench201"]) & set(latencies["fbnet"])):
        there, here = latencies["nasbench201"][device], latencies["fbnet"][device]
        carried = predict(columns["nasbench201"], there, columns["fbnet"][half:])
        own = predict(columns["fbnet"][:half], here[:half], columns["fbnet"][half:])
        rows.append({"device": device, "carried_over": judge(carried, here[half:]), "own": judge(own, here[half:])})
        print(device, rows[-1])
    result: dict[str, object] = {"networks": options.networks, "devices": rows}
    for name in ("carried_over", "own"):
        for figure in ("spearman", "median_relative_error", "within_10_percent"):
            result[f"mean_{figure}_{name}"] = float(np.mean([row[name][figure] for row in rows]))  # type: ignore[index]
    write_result(options.out, result)
    print({key: value for key, value in result.items() if key != "devices"})


def counts(space: Space, architecture: Architecture, task: object) -> np.ndarray:
    """One row of what a latency might be a sum of."""
    graph: Graph = trace_architecture(space, architecture, task)  # type: ignore[arg-type]
    macs: dict[str, float] = defaultdict(float)
    for node in graph.nodes:
        kind = next((kind for kind in KINDS if node.label.startswith(kind)), "other")
        macs[kind] += node.macs
    work = [macs[kind] / 1e6 for kind in (*KINDS, "other")]
    return np.asarray([1.0, len(graph.nodes), sum(work), traffic_bytes(graph) / 1e6, *work])


def predict(columns: np.ndarray, ms: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Least squares of relative errors."""
    use = ms > 0.05
    weights, _ = nnls(columns[use] / ms[use, None], np.ones(use.sum()))
    return np.asarray(others @ weights)


def judge(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Rank correlation and relative errors."""
    error = np.abs(predicted / true - 1)
    return {
        "spearman": float(spearmanr(predicted, true).statistic),
        "median_relative_error": float(np.median(error)),
        "within_10_percent": float(np.mean(error <= 0.1)),
    }


if __name__ == "__main__":
    main()
