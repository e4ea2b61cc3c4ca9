"""How well shared weights tell what NAS-Bench-201 says: inherited scores of SPOS, and what each method picks.

    python benchmarks/supernets_ranking.py --data cifar10_jpeg.npz --table accuracy.parquet --seeds 5

Data: CIFAR-10, reduced to 16 x 16 by the mean of 2 x 2 pixels, 20,000 training and 2,000 validation images. Supernet:
width 4, one cell a stage. Truth: the table's test accuracies after 200 epochs (width 16, five cells, 32 x 32), so that
what is reported is how well the ranking carries over. The 6,466 published classes are scored, one architecture each.

For each seed: SPOS's supernet, its ranking, that of the untrained supernet, and parameter counts; then every method's
pick with its true accuracy, and how many plain connections it has by step. Results are kept as they come, and a run
that was stopped goes on. Writes docs/results/supernets_ranking.json and .md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from archscout.core import seeds
from archscout.core.registry import create
from archscout.core.task import Split
from archscout.methods.weight_sharing import inherited, one_thread
from archscout.supernets.ranking import rank_report
from archscout.supernets.supernet import Supernet
from archscout.tasks.images import ImageClassification
from archscout.tasks.load import load

RESULTS = Path(__file__).parents[1] / "docs" / "results"
METHODS = {
    "spos": "spos:steps={n}", "random_sharing": "random_sharing:steps={n}", "fp_nas": "fp_nas:steps={q}",
    "parsec": "parsec:steps={e}", "gdas": "gdas:steps={n}", "proxyless": "proxyless:steps={n}",
    "setn": "setn:steps={h}", "darts": "darts:steps={q}", "darts2": "darts:steps={e},order=2",
    "rf_darts": "rf_darts:steps={q}", "balenas": "balenas:steps={q}", "bn_nas": "bn_nas:steps={q}",
}  # fmt: skip


class Stand:
    """As much of a run as a search with shared weights asks for: nothing is trained at the end."""

    constraints, objectives, workers, estimator, epochs, share, device = (), (), 1, "trained", 1, 1.0, "cpu"

    def __init__(self, space, task, seed, folder):
        self.space, self.task, self.seed, self.folder = space, task, seed, folder
        self.found, self.notes = [], {}

    def rng(self, *keys):
        return seeds.stream(self.seed, *keys)

    def evaluate(self, architectures, estimator, **_):
        self.found = list(architectures)
        return []

    def admit(self, architectures, count):
        return list(itertools.islice(architectures, count))

    def seconds_left(self):
        return math.inf

    def decide(self, key, make):
        return make()

    def note(self, key, value):
        self.notes[key] = value

    def show(self, phase, done, total=None):
        pass

    def say(self, text):
        print("   ", text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4000, help="of SPOS's supernet in the ranking")
    parser.add_argument("--search-steps", type=int, default=2000, help="of single paths in the searches")
    parser.add_argument("--classes", type=int, default=6466, help="of the published ones, how many are ranked")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--out", type=Path, default=RESULTS / "supernets_ranking.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    space, task = create("space", "nasbench201:width=4,cells=1"), small_cifar(options.data)
    truth, classes, params = read_table(options.table)
    classes = dict(itertools.islice(classes.items(), options.classes))
    rows = json.loads(options.out.read_text())["rows"] if options.out.is_file() else []
    done = {(row["kind"], row["seed"], row["steps"]) for row in rows}

    def keep(row):
        rows.append(row)
        options.out.write_text(json.dumps({"task": task.name, "rows": rows}, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(report(rows), encoding="utf-8")
        print({key: value for key, value in row.items() if key not in ("history", "bias")}, flush=True)

    for seed in range(options.seeds):
        for kind, steps in (("untrained", 0), ("spos ranking", options.steps)):
            if (kind, seed, steps) not in done:
                keep(ranking(space, task, truth, classes, params, kind, seed, steps))
        for name in filter(None, options.methods.split(",")):
            n = options.search_steps
            if (name, seed, n) not in done:
                text = METHODS[name].format(n=n, h=n // 2, q=n // 4, e=n // 8)
                keep(search(space, task, truth, name, text, seed, n))
    print(options.out.with_suffix(".md").read_text())


def small_cifar(path: str) -> ImageClassification:
    """20,000 training and 2,000 validation images of 16 x 16, the first of each split."""
    whole = load(path)

    def reduced(split: Split, count: int) -> Split:
        x = split.x[:count].astype(np.float32).reshape(-1, 16, 2, 16, 2, 3).mean((2, 4)).round().astype(np.uint8)
        return Split(x, split.y[:count].astype(np.int64))

    train, valid = reduced(whole.train, 20_000), reduced(whole.valid, 2_000)
    return ImageClassification("cifar10 at 16x16", (3, 16, 16), 10, train, valid, None, flip=True, shift=2)


def read_table(path: str) -> tuple[dict[str, float], dict[str, str], dict[str, float]]:
    """By architecture: test accuracy (percent), published class, parameters (millions)."""
    import pyarrow.parquet as parquet

    rows = parquet.read_table(path, columns=["arch", "iso_class", "c10_test_200", "params_M_c10"]).to_pydict()
    truth = dict(zip(rows["arch"], rows["c10_test_200"], strict=True))
    params = dict(zip(rows["arch"], rows["params_M_c10"], strict=True))
    one_each: dict[str, str] = {}
    for architecture, group in zip(rows["arch"], rows["iso_class"], strict=True):
        one_each.setdefault(str(group), architecture)
    return truth, one_each, params


def ranking(space, task, truth, classes, params, kind, seed, steps) -> dict:
    supernet = Supernet(space, task, seed=seed)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder, one_thread():
        run = Stand(space, task, seed, Path(folder))
        if steps:
            supernet, _ = create("method", f"spos:steps={steps}")._train(run)
        trained = time.process_time() - began
        texts = list(classes.values())
        architectures = [space.parse(text) for text in texts]
        scores = inherited(run, supernet, examples=128, batch=64)(architectures)
    true = [truth[text] for text in texts]
    found = asdict(rank_report(architectures, scores, true))
    size = asdict(rank_report(architectures, [params[text] for text in texts], true))
    return {
        "kind": kind, "seed": seed, "steps": steps, "train_seconds": trained,
        "rank_seconds": time.process_time() - began - trained, "report": found,
        "params": {key: size[key] for key in ("spearman", "kendall", "spearman_top", "pick", "precision")},
    }  # fmt: skip


def search(space, task, truth, name, text, seed, steps) -> dict:
    accuracies = np.asarray(list(truth.values()))
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run = Stand(space, task, seed, Path(folder))
        create("method", text).search(run)
    note, pick = run.notes["weight_sharing"], run.found[0].text
    return {
        "kind": name, "seed": seed, "steps": steps, "method": text, "pick": pick, "accuracy": truth[pick],
        "percentile": float((accuracies <= truth[pick]).mean()), "paths": note["paths"],
        "seconds": time.process_time() - began, "skips": pick.count("skip_connect"), "nones": pick.count("none"),
        "warning": note["warning"],
        "history": [{key: row.get(key) for key in ("step", "skips", "entropy", "samples")} for row in note["history"]],
    }  # fmt: skip


def mean(values: list[float]) -> str:
    """Mean and standard deviation over seeds."""
    array = np.asarray(values, dtype=float)
    return f"{array.mean():.2f}" + (f" ± {array.std(ddof=1):.2f}" if len(array) > 1 else "")


def report(rows: list[dict]) -> str:
    lines = [
        "# Shared weights against the table of NAS-Bench-201",
        "",
        "Made by `benchmarks/supernets_ranking.py`: supernets of width 4 with one cell a stage on CIFAR-10 at 16 x 16 "
        "(20,000 images), one thread. Truth: the table's CIFAR-10 test accuracy after 200 epochs at full size, so that "
        "correlations are of what carries over. Mean ± standard deviation over seeds; seconds are of CPU.",
        "",
        "## Inherited scores of the 6,466 published classes",
        "",
        "| ranking | seeds | Spearman | Kendall | Spearman, best fifth | P@50 | pick's accuracy | train s | rank s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    kinds = sorted({(row["kind"], row["steps"]) for row in rows if "report" in row})
    for kind, steps in kinds:
        own = [row for row in rows if (row["kind"], row["steps"]) == (kind, steps)]
        cells = [mean([row["report"][key] for row in own]) for key in ("spearman", "kendall", "spearman_top")]
        more = [mean([row["report"][key] for row in own]) for key in ("precision", "pick")]
        times = [mean([row[key] for row in own]) for key in ("train_seconds", "rank_seconds")]
        label = f"SPOS, {steps:,} steps" if steps else "untrained supernet"
        lines.append(f"| {label} | {len(own)} | " + " | ".join([*cells, *more, *times]) + " |")
    if kinds:
        size = next(row for row in rows if "report" in row)["params"]
        cells = [f"{size[key]:.2f}" for key in ("spearman", "kendall", "spearman_top", "precision", "pick")]
        lines.append("| parameter count | – | " + " | ".join(cells) + " | – | – |")
    lines += [
        "", "## What each method picks", "",
        "The first architecture that each derives; percentile: the share of all 15,625 that is truly no better. A "
        "random pick has accuracy 87.06 on average and percentile 0.50.", "",
        "| method | seeds | true accuracy | percentile | paths trained | CPU s | skips of 6 | warned |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for name, steps in dict.fromkeys((row["kind"], row["steps"]) for row in rows if "pick" in row):
        own = [row for row in rows if (row["kind"], row["steps"]) == (name, steps) and "pick" in row]
        cells = [mean([row[key] for row in own]) for key in ("accuracy", "percentile", "paths", "seconds", "skips")]
        warned = sum(row["warning"] is not None for row in own)
        lines.append(f"| `{own[0]['method']}` | {len(own)} | " + " | ".join(cells) + f" | {warned} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
