"""The default predictor where choices are layers, beside its members and a Gaussian process on numbers as written.

    archscout table import nasbench_macro cifar10.parquet --out tables/nasbench_macro.parquet
    python -m benchmarks.predictors.layers --tables tables --data data --repeats 20

Grounds: accuracies of NAS-Bench-Macro, and milliseconds of FBNets and of networks of once-for-all (MobileNetV3 blocks,
at several resolutions) on published devices: `data` holds `fbnet/latency_ms_and_zc.parquet` and
`ofa_mbv3/latency_ms.parquet`. In each repeat others are drawn to learn from, and 1,000 unseen ones are ordered:
Kendall's tau-b. `--only` names the grounds that are run; a run that was stopped goes on. Writes
docs/results/predictors_layers.json and .md.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from torch import nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Condition
from archscout.core.errors import UsageError
from archscout.core.files import write_text
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.estimators.encodings.encode import default_encoding, encode, widths
from archscout.estimators.predictors.base import Predictor
from archscout.estimators.predictors.bayesian_ridge import BayesianRidge
from archscout.estimators.predictors.extra_trees import ExtraTrees
from archscout.estimators.predictors.forest import RandomForest
from archscout.estimators.predictors.gaussian_process import GaussianProcess
from archscout.estimators.predictors.scout import Scout
from archscout.study.metrics import kendall
from archscout.study.summary import interval
from archscout.tables.table import Table
from benchmarks.common import RESULTS, Rows, arguments, machine, read_result

SIZES, TEST = (25, 100, 400), 1000
GROUNDS = (
    "nasbench_macro", "fbnet@pixel3", "fbnet@1080ti_1", "fbnet@raspi4", "ofa@2080ti_1", "ofa@v100_64",
    "ofa@titan_xp_32",
)  # fmt: skip
Ground = tuple[Space, list[Architecture], np.ndarray]
Make = Callable[[tuple[int, ...]], Predictor]
PREDICTORS: dict[str, tuple[str, Make]] = {
    "scout": ("default", lambda blocks: Scout(widths=blocks)),
    "gaussian_process": ("default", lambda blocks: GaussianProcess(widths=blocks)),
    "extra_trees": ("default", lambda blocks: ExtraTrees()),
    "bayesian_ridge": ("default", lambda blocks: BayesianRidge()),
    "random_forest": ("default", lambda blocks: RandomForest()),
    "gaussian_process, one-hot": ("choices", lambda blocks: GaussianProcess(widths=blocks)),
    "gaussian_process, numbers as written": ("written", lambda blocks: GaussianProcess()),
}


class OnceForAll(Space):
    """Choices of the once-for-all network with MobileNetV3 blocks (Cai et al. 2020, arXiv 1908.09791): for latencies.

    Its networks were timed by others; none is built here.
    """

    name = "ofa_mbv3"

    @cached_property
    def choices(self) -> Sequence[Choice]:
        found = [Choice("resolution", tuple(range(128, 228, 4)), ordinal=True)]
        for stage in range(1, 6):
            deep = f"stage{stage}.depth"
            found.append(Choice(deep, (2, 3, 4), ordinal=True))
            for block in range(1, 5):
                runs = Condition(deep, tuple(range(block, 5))) if block > 2 else None
                for name, options in (("kernel", (3, 5, 7)), ("expansion", (3, 4, 6))):
                    found.append(Choice(f"stage{stage}.block{block}.{name}", options, ordinal=True, condition=runs))
        return tuple(found)

    def network(self, task: Task, pick: Pick) -> nn.Module:
        raise UsageError(f"space '{self.name}' has published latencies alone: none of its networks is built here.")

    def published(self, text: str) -> Architecture:
        """From the published form: kernels and expansions of twenty blocks, depths, resolution."""
        about = json.loads(text)
        values = {"resolution": about["r"]} | {f"stage{n}.depth": d for n, d in enumerate(about["d"], start=1)}
        for place, (kernel, expansion) in enumerate(zip(about["ks"], about["e"], strict=True)):
            name = f"stage{place // 4 + 1}.block{place % 4 + 1}"
            values |= {f"{name}.kernel": kernel, f"{name}.expansion": expansion}
        return self.architecture(values)


def ground(name: str, tables: Path, data: Path) -> Ground:
    """A space, architectures and their values, higher is better."""
    kind, _, device = name.partition("@")
    if not device:
        table = Table.open(tables / f"{name}.parquet")
        return table.space, [table.space.parse(text) for text in table.architectures], table.column("mean_acc")
    file = {"fbnet": "fbnet/latency_ms_and_zc.parquet", "ofa": "ofa_mbv3/latency_ms.parquet"}[kind]
    rows = pq.read_table(data / file, columns=["arch", f"lat_ms_{device}"]).to_pydict()
    space = OnceForAll() if kind == "ofa" else create("space", kind)
    read = space.published if isinstance(space, OnceForAll) else space.parse
    return space, [read(text) for text in rows["arch"]], -np.asarray(rows[f"lat_ms_{device}"], dtype=float)


def written(space: Space, architectures: Sequence[Architecture]) -> np.ndarray:
    """Every choice as one number, the place of its option from 1; 0 where it is not made."""
    return np.asarray(
        [[1.0 + c.index(a[c.name]) if c.name in a else 0.0 for c in space.choices] for a in architectures]
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tables", type=Path, default=Path("tables"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--only", default=",".join(GROUNDS), help="these grounds alone, joined by commas")
    options = parser.parse_args()
    file = RESULTS / "predictors_layers.json"
    rows = Rows(file, ("ground", "repeat", "size"), {"test": TEST, **machine()}, sort=True)
    grounds = {name: ground(name, options.tables, options.data) for name in options.only.split(",")}
    for repeat in range(options.repeats):
        for name, (space, architectures, y) in grounds.items():
            for size in SIZES:
                if not rows.has(ground=name, repeat=repeat, size=size):
                    rows.add(
                        {"ground": name, "repeat": repeat, "size": size}
                        | measure(space, architectures, y, repeat, size)
                    )
        write_text(file.with_suffix(".md"), page(read_result(file)))


def measure(space: Space, architectures: list[Architecture], y: np.ndarray, repeat: int, size: int) -> dict[str, Any]:
    """Kendall's tau of each predictor, and scout's processor seconds."""
    order = stream(repeat, "predictors_layers").permutation(len(y))
    train, test = order[:size], order[max(SIZES) : max(SIZES) + TEST]
    found: dict[str, Any] = {}
    for name, (encoding, make) in PREDICTORS.items():
        encoding = default_encoding(space) if encoding == "default" else encoding
        if encoding == "written":
            matrix, blocks = written(space, architectures), ()
        else:
            matrix, blocks = encode(encoding, space, architectures), widths(encoding, space)
        start = time.process_time()
        said = np.asarray(make(blocks).fit(matrix[train], y[train]).predict(matrix[test]))
        found[name] = kendall(y[test], said)
        if name == "scout":
            found["seconds"] = time.process_time() - start
    return found


def page(result: dict[str, Any]) -> str:
    """The tables of a result."""
    lines = [
        "# Where choices are layers",
        "",
        "Made by `benchmarks/predictors/layers.py`. Kendall's tau-b on 1,000 unseen networks, mean over n repeats with "
        "its 95 % bootstrap interval. All but the last two see the default encoding of spaces of layers, "
        "`numbers+choices`; the first four are scout and its members. *Difference*: scout less the best of all others "
        "by the mean. Values that are no accuracies are milliseconds on a device.",
        "",
    ]
    rows = result["rows"]
    for name in dict.fromkeys(row["ground"] for row in rows):
        lines += [f"## {name}", "", "| predictor | " + " | ".join(map(str, SIZES)) + " |"]
        lines += ["| --- |" + " --- |" * len(SIZES)]
        by_size = {size: [r for r in rows if (r["ground"], r["size"]) == (name, size)] for size in SIZES}
        means = {p: [float(np.mean([r[p] for r in by_size[size]])) for size in SIZES] for p in PREDICTORS}
        for predictor in PREDICTORS:
            cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*interval([r[predictor] for r in by_size[s]])) for s in SIZES]
            lines.append(f"| {predictor} | " + " | ".join(cells) + " |")
        gaps = [means["scout"][i] - max(m[i] for p, m in means.items() if p != "scout") for i in range(len(SIZES))]
        lines += ["| *difference* | " + " | ".join(f"{gap:+.3f}" for gap in gaps) + " |"]
        counts = ", ".join(str(len(by_size[size])) for size in SIZES)
        seconds = np.mean([r["seconds"] for r in by_size[SIZES[-1]]])
        lines += ["", f"n: {counts}. Scout on {SIZES[-1]}: {seconds:.1f} s of one thread, with 1,000 predictions.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
