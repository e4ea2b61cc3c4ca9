"""What whole training-free systems find on NAS-Bench-201, on real CIFAR-10 images; published accuracies are the truth.

    python -m benchmarks.zero_cost.nasbench201 --table accuracy.parquet --data cifar10.npz --minutes 60
    python -m benchmarks.zero_cost.systems --table accuracy.parquet --data cifar10.npz

Each system is the method of its name, run as `archscout search --table` runs it: networks of the published size (16
channels, 5 cells a stage), trainings looked up. Scores that the first script has written to `--scores` are taken from
there, with the seconds that they took; others are computed. Where it has scored a random part of the space, a system
that draws at random draws from that part. Samples and batches are smaller than the published ones where the page says
so. `--table` and `--data` are those of the first script. Results are kept by system and seed in `--runs`, from which a
stopped run goes on; `--only` names the systems to run. Writes docs/results/training-free-systems.md and .json.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from archscout.core.architecture import Architecture
from archscout.core.budget import Budget
from archscout.core.files import write_text
from archscout.core.method import Method
from archscout.core.registry import create
from archscout.core.trial import Estimate, Trial
from archscout.estimators.zero_cost.ranks import among
from archscout.methods.training_free import BestOf
from archscout.study.simulated import SimulatedRun
from archscout.tables.draft import Draft
from archscout.tables.published import read
from archscout.tables.table import Table
from archscout.tasks.load import load
from benchmarks.common import RESULTS, arguments, write_result
from benchmarks.zero_cost.report import count_params

TARGETS = {"c10_test_200": "CIFAR-10", "c100_test_200": "CIFAR-100", "in16_test_200": "ImageNet16-120"}


@dataclass(frozen=True)
class System:
    """A system, its settings here, how many seeds, and what its authors report or use."""

    settings: str
    seeds: int
    published: str = ""
    part: str = ""
    """The file of scores whose architectures it draws from; all of the table where it is empty."""


SYSTEMS = {
    "best of 100 by params": System("params", 20),
    "best of 100 by macs": System("macs", 20),
    "best of 100 by log-ranks": System(
        "rank_blend", 20, "ours; its weights were tuned on CIFAR-10 accuracies of 1,000 cells of this table", "views_0",
    ),
    "NASWOT": System(
        "naswot:samples=100,score=naswot:batch=64", 20,
        "batch 128; first version of the paper, by its code: 91.24, 67.12, 40.67", "sample_0",
    ),
    "epsilon": System("epsilon:samples=100,score=epsilon:batch=32", 20, "batch 256"),
    "epsilon in the log domain": System("epsilon:samples=100,score=epsilon_log:batch=16", 20, "ours"),
    "NASGraph": System("nasgraph:samples=200", 20, "217 s on a processor for the 200"),
    "KNAS": System("knas:samples=300,keep=40", 20, "", "sample_0"),
    "Eigen-NAS": System("eigen_nas:samples=100,score=eigen_nas:batch=24", 20, "batch and sample not known", "dear_0"),
    "AZ-NAS": System("az_nas:samples=500,batch=16", 20, "3,000 samples, batch 64: 93.63 by its code", "views_0"),
    "Zen-NAS": System("zen_nas:samples=1000", 5, "480,000 steps"),
    "DAS": System("das:samples=100,keep=4,steps=8,batch=64", 5, "settings not known", "sample_0"),
    "RAN scaling": System("ran:samples=500", 20),
    "largest": System("largest", 1, "control: most parameters of all, found by counting"),
    "FreeDARTS": System(
        "freedarts:signal=synflow", 10, "0.6 s on a GPU; its stored run, with alphas of 1, picks `none` everywhere",
    ),
    "FreeDARTS by SNIP": System("freedarts:signal=snip", 5, "by its code, one seed: 92.24"),
    "FreeDARTS by GraSP": System("freedarts:signal=grasp", 5, "by its code, one seed: 93.53"),
    "FreeDARTS, alphas of 1": System(
        "freedarts:alphas=one,norm=false", 3, "ours: without the random numbers, and normalisation",
    ),
    "TE-NAS, thin network": System(
        "te_nas:network=thin", 5, "3 repeats, one cell of one channel for regions; about 20 minutes on a GPU",
    ),
    "TEG-NAS by reinforcement, thin network": System(
        "teg_nas:batch=16,repeats=1,shared=false", 5,
        "500 steps; batch 64, 3 repeats, one supernet, one cell for regions (as these rows were not run)",
    ),
    "TEG-NAS by evolution, thin network": System(
        "teg_nas:search=evolution,steps=250,population=64,sample=16,batch=16,repeats=1,shared=false", 5,
        "1,000 steps, population 256, sample 64, batch 64, 3 repeats, one supernet, one cell for regions (as these "
        "rows were not run)",
    ),
    "TE-NAS": System("te_nas:batch=24,repeats=1", 2, "batch 72, 3 repeats; about 20 minutes on a GPU"),
    "TEG-NAS by reinforcement": System(
        "teg_nas:steps=100,batch=16,repeats=1,shared=true", 3, "500 steps; batch 64, 3 repeats",
    ),
    "TEG-NAS by evolution": System(
        "teg_nas:search=evolution,steps=60,population=40,sample=10,batch=16,repeats=1,shared=true", 3,
        "1,000 steps, population 256, sample 64, batch 64, 3 repeats",
    ),
    "TEG-NAS by pruning": System(
        "teg_nas:search=supernet,batch=16,repeats=1", 2, "batch 64, 3 repeats",
    ),
}  # fmt: skip

Known = Mapping[str, Mapping[str, tuple[float, float]]]
"""By score and canonical form, value and seconds."""


class Recorded(SimulatedRun):
    """A simulated run that takes scores from files where they are there, and adds up what they took."""

    def __init__(self, table: Table, seed: int, known: Known, **named: Any) -> None:
        super().__init__(table, Budget(trials=100), seed, **named)
        self.known = known
        self.spent = 0.0
        self.asked: set[str] = set()

    def score(
        self, architectures: Sequence[Architecture], names: Sequence[str], *, phase: str = "zero-cost scores"
    ) -> list[list[Trial]]:
        for architecture in architectures:
            form, seconds = self.space.canonical(architecture), []
            for name in names:
                if form in self.known.get(name, ()) and (name, form) not in self._scores:
                    value, took = self.known[name][form]
                    self._keep_score(architecture, name, Estimate(value, took), None, phase)
                    seconds.append(took)
            # Scores of one name but for its end share their passes.
            self.spent += max(seconds, default=0.0)
            self.asked.add(form)
        return super().score(architectures, names, phase=phase)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--scores", type=Path, default=Path("runs/zero_cost_nasbench201"))
    parser.add_argument("--runs", type=Path, default=Path("runs/zero_cost_systems"))
    parser.add_argument("--only", default="", help="names of systems, with commas between them")
    parser.add_argument("--report", action="store_true", help="only write the report of what is there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.runs.mkdir(parents=True, exist_ok=True)
    draft = read("nasbench201", options.table)
    # Published scores are left out: what the methods ask for is computed by this package.
    draft.metrics = [metric for metric in draft.metrics if metric.kind != "score"]
    whole = draft.write(options.runs / "all.parquet")
    file = options.runs / "rows.jsonl"
    rows = stored() + ([json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else [])
    rows = list({(row["system"], row["settings"], row["seed"]): row for row in rows}.values())
    if not options.report:
        done = {(row["system"], row["settings"], row["seed"]) for row in rows}
        known, task = recorded(options.scores, whole), load(options.data)
        for name, system in SYSTEMS.items():
            if options.only and name not in options.only.split(","):
                continue
            table = part(draft, options.scores, system.part, options.runs) if system.part else whole
            for seed in range(system.seeds):
                if (name, system.settings, seed) not in done:
                    row = {"system": name, "settings": system.settings, "seed": seed}
                    row |= found(table, system.settings, seed, known, task)
                    rows.append(row)
                    with file.open("a") as stream:
                        stream.write(json.dumps(row) + "\n")
            print(time.strftime("%H:%M:%S"), name, flush=True)
    current = [row for row in rows if row["system"] in SYSTEMS and SYSTEMS[row["system"]].settings == row["settings"]]
    summed = summary(current, whole)
    write_result(RESULTS / "training-free-systems.json", {"summary": summed, "rows": current})
    write_text(RESULTS / "training-free-systems.md", page(summed, current))


def stored() -> list[dict[str, Any]]:
    """The rows of the last report, for a machine that has none of its own."""
    file = RESULTS / "training-free-systems.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []
    return rows


def recorded(folder: Path, table: Table) -> dict[str, dict[str, tuple[float, float]]]:
    """The scores of the published network in the files of `nasbench201.py`."""
    forms = dict(zip(table.architectures, table.canonical, strict=True))
    known: dict[str, dict[str, tuple[float, float]]] = {}
    for file in (folder / f"{name}.csv" for name in ("exact", "sample_0", "views_0", "dear_0")):
        frame = pd.read_csv(file) if file.is_file() else pd.DataFrame({"architecture": []})
        texts = [forms[text] for text in frame["architecture"]]
        for name in (c for c in frame if c != "architecture" and not c.endswith("_seconds")):
            pairs = zip(frame[name].astype(float), frame[f"{name}_seconds"].astype(float), strict=True)
            known.setdefault(name, {}).update(zip(texts, pairs, strict=True))
    return known


def part(draft: Draft, folder: Path, name: str, runs: Path) -> Table:
    """The table of the architectures alone that a file has scores of."""
    scored = set(pd.read_csv(folder / f"{name}.csv", usecols=["architecture"])["architecture"])
    kept = np.array([text in scored for text in draft.columns["architecture"]])
    columns = {key: np.asarray(values)[kept].tolist() for key, values in draft.columns.items()}
    smaller = Draft(draft.space, columns, draft.metrics, draft.default, name, draft.task, draft.source, draft.origin)
    return smaller.write(runs / f"{name}.parquet")


class LogRanks(BestOf):
    """Of 100 the best by the members and weights of `rank_blend`, ranked among the 100."""

    name = "rank_blend"

    def __init__(self) -> None:
        blend = create("estimator", "rank_blend")
        self.weights = blend.weights
        known = {"near": "near:batch=64", "epsilon": "epsilon:batch=32", "epsilon_log": "epsilon_log:batch=16"}
        super().__init__([known.get(member, member) for member in blend.members], samples=100)

    def rule(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(np.log(among(values)) @ self.weights)


def method(settings: str) -> Method:
    """The method of these settings, or what systems are compared with: the best of 100 by a count, or by `LogRanks`."""
    if settings == LogRanks.name:
        return LogRanks()
    if settings not in ("params", "macs"):
        return create("method", settings)  # type: ignore[no-any-return]
    control = BestOf([settings], samples=100)
    control.name = settings
    return control


def found(table: Table, settings: str, seed: int, known: Known, task: Any) -> dict[str, Any]:
    """One search: its architecture, the truth about it, and what it took."""
    began = time.process_time()
    run = Recorded(table, seed, known, task=task)
    candidates = method(settings).search(run)
    pick = run.trajectory(settings, candidates).winner
    return {
        "architecture": pick.text,
        **{target: 100 * table.value(pick, target) for target in TARGETS},
        "scored": len(run.asked) or None,
        "trained briefly": sum(trial.phase == "brief training" for trial in run.trials),
        "seconds": round(run.spent + time.process_time() - began, 2),
    }


def summary(rows: Sequence[Mapping[str, Any]], table: Table) -> dict[str, Any]:
    """By system: accuracies and percentiles over seeds; and what a random pick comes to."""
    truth = {target: 100 * table.column(target) for target in TARGETS}
    made: dict[str, Any] = {
        "best of the table": {label: float(truth[target].max()) for target, label in TARGETS.items()},
        "random pick": {label: float(truth[target].mean()) for target, label in TARGETS.items()}
        | {"spread": float(truth["c10_test_200"].std()), "percentile": 50.0},
    }
    for name in SYSTEMS:
        mine = [row for row in rows if row["system"] == name]
        if not mine:
            continue
        below = [float((truth["c10_test_200"] < row["c10_test_200"]).mean() * 100) for row in mine]
        values = {target: np.array([row[target] for row in mine]) for target in TARGETS}
        made[name] = {
            "settings": mine[0]["settings"],
            "published": SYSTEMS[name].published,
            "seeds": len(mine),
            **{label: float(values[target].mean()) for target, label in TARGETS.items()},
            "worst and best": [float(values["c10_test_200"].min()), float(values["c10_test_200"].max())],
            "spread": float(values["c10_test_200"].std(ddof=1)) if len(mine) > 1 else None,
            "percentile": float(np.mean(below)),
            "scored": mine[0]["scored"],
            "trained briefly": mine[0]["trained briefly"],
            "seconds": float(np.median([row["seconds"] for row in mine])),
        }
    for name, accuracy in largest_of_as_many(made, table).items():
        made[name]["largest at equal seconds"] = accuracy
    return made


def largest_of_as_many(made: Mapping[str, Any], table: Table) -> dict[str, float]:
    """By system: the accuracy of the network with most parameters of so many random ones as its seconds pay for.

    Expected over draws of that many, without replacement, of the whole table.
    """
    control = made.get("best of 100 by params")
    if control is None:
        return {}
    each = control["seconds"] / control["scored"]
    cells = [[part.partition("~")[0] for part in text.split("|") if "~" in part] for text in table.architectures]
    order = np.argsort([-count_params(cell) for cell in cells], kind="stable")
    accuracy = 100 * table.column("c10_test_200")[order]
    expected = {}
    for name, row in made.items():
        if "settings" in row:
            drawn = int(np.clip(row["seconds"] / each, 1, len(accuracy)))
            # The chance that the k-th largest is the largest drawn: that it is drawn and none before it is.
            left = len(accuracy) - np.arange(len(accuracy))
            none_yet = np.cumprod(np.concatenate([[1.0], np.clip(1 - drawn / left[:-1], 0, 1)]))
            expected[name] = float((none_yet * np.clip(drawn / left, 0, 1)) @ accuracy)
    return expected


def page(made: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown."""
    top, chance = made["best of the table"], made["random pick"]
    lines = [
        "# What whole training-free systems find on NAS-Bench-201",
        "",
        "Made by `benchmarks/zero_cost/systems.py`: networks of the published size, real CIFAR-10 images, published "
        "accuracies after 200 epochs as truth (test; means over seeds of the search). The percentile is the share of "
        "the 15,625 architectures that are worse on CIFAR-10. Seconds are the median of a search, without training: "
        "those that its scores took alone, on a machine shared with other programs. Controls: a random pick, which is "
        "what random search comes to at equal seconds, as no search here takes as long as one training; and at equal "
        "seconds the largest by parameters of as many random architectures as one can count in them (expected accuracy "
        "on CIFAR-10). Systems whose scores take long draw from 1,000 random architectures "
        f"({', '.join(name for name, system in SYSTEMS.items() if system.part)}); what draws half of them or more "
        "finds much the same with every seed. Two of the systems do train: KNAS 40 networks for 12 epochs, by the "
        "validation accuracy in the table (`c10v_valid_200` and its curve), and DAS some networks for a few steps. "
        "`largest` is the network with most parameters, and with most multiply-adds, which no score has to be asked "
        "for.",
        "",
        f"The best of the table: {top['CIFAR-10']:.2f}, {top['CIFAR-100']:.2f}, {top['ImageNet16-120']:.2f}.",
        "",
        "| system | seeds | CIFAR-10 | worst to best | CIFAR-100 | ImageNet16-120 | percentile | scored | seconds | "
        "largest at equal seconds |",
        "| --- " * 10 + "|",
        f"| random pick | all | {chance['CIFAR-10']:.2f} ± {chance['spread']:.2f} | | {chance['CIFAR-100']:.2f} | "
        f"{chance['ImageNet16-120']:.2f} | 50.0 | 0 | 0 | |",
    ]
    for name, row in sorted(
        ((name, row) for name, row in made.items() if "settings" in row), key=lambda item: -item[1]["CIFAR-10"]
    ):
        low, high = row["worst and best"]
        spread = "" if row["spread"] is None or math.isnan(row["spread"]) else f" ± {row['spread']:.2f}"
        scored = "supernet" if row["scored"] is None else str(row["scored"])
        trained = f" + {row['trained briefly']} trained for 12 epochs" if row["trained briefly"] else ""
        lines.append(
            f"| {name} | {row['seeds']} | {row['CIFAR-10']:.2f}{spread} | {low:.2f} to {high:.2f} | "
            f"{row['CIFAR-100']:.2f} | {row['ImageNet16-120']:.2f} | {row['percentile']:.1f} | {scored}{trained} | "
            f"{row['seconds']:.1f} | {row.get('largest at equal seconds', math.nan):.2f} |"
        )
    lines += ["", "## Settings, and the first seed's pick", ""]
    lines += ["| system | method | published | architecture of seed 0 |", "| --- " * 4 + "|"]
    for name, row in made.items():
        if "settings" in row:
            pick = next(each["architecture"] for each in rows if each["system"] == name)
            escaped = pick.replace("|", "\\|")
            lines.append(f"| {name} | `{row['settings']}` | {row['published']} | `{escaped}` |")
    return "\n".join([*lines, "", *_says(made), ""])


def _says(made: Mapping[str, Any]) -> list[str]:
    """What the figures come to, in a sentence each."""
    control = made.get("best of 100 by params")
    systems = {n: row for n, row in made.items() if "settings" in row and not n.startswith("best of")}
    if control is None or not systems:
        return []
    better = [n for n, row in systems.items() if row["CIFAR-10"] > control["CIFAR-10"]]
    lower = [n for n, row in systems.items() if row["percentile"] < 50]
    few = [n for n, row in systems.items() if row["seeds"] < 5]
    beaten = [n for n, row in systems.items() if row["CIFAR-10"] > row["largest at equal seconds"]]
    said = (
        f"The largest of 100 random networks by parameters comes to {control['CIFAR-10']:.2f} on CIFAR-10 without any "
        f"pass; better on average: {', '.join(better) or 'none'}. In the lower half of the table, with these settings: "
        f"{', '.join(lower) or 'none'}. Better than the largest at equal seconds: {', '.join(beaten) or 'none'}."
    )
    if few:
        said += f" {', '.join(few)} have fewer than five seeds: they say little."
    return [said]


if __name__ == "__main__":
    main()
