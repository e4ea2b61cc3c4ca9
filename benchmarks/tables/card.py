"""The card of a table that `archscout table build` made: what is in it, how noisy it is, how its values lie.

    python -m benchmarks.tables.card src/archscout/tables/data/nasbench201-digits.parquet \\
        --command "archscout table ..."

Writes the Markdown file beside the table.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau, spearmanr

from archscout.core.files import write_text
from archscout.core.registry import create
from archscout.tables.table import Table
from benchmarks.common import arguments

MEASURES = ("valid_accuracy", "valid_loss", "test_accuracy", "test_loss")


def by_seed(table: Table, metric: str) -> dict[int, dict[int, float]]:
    """For each training seed, the value of each network (by its number)."""
    seeds = table.texts("seed")
    made: dict[int, dict[int, float]] = {}
    for seed, network, value in zip(seeds, table.networks, table.column(metric), strict=True):
        if np.isfinite(value):
            made.setdefault(int(seed), {})[int(network)] = float(value)
    return made


def agreement(first: dict[int, float], second: dict[int, float]) -> tuple[float, float, float, int]:
    """Kendall's tau-b of two seeds on the networks that both trained, with a 95 % bootstrap interval."""
    common = sorted(first.keys() & second.keys())
    a, b = (np.array([values[network] for network in common]) for values in (first, second))
    rng = np.random.default_rng(0)
    picks = rng.integers(len(common), size=(200, len(common)))
    draws = [kendalltau(a[pick], b[pick]).statistic for pick in picks]
    return float(kendalltau(a, b).statistic), *np.nanpercentile(draws, [2.5, 97.5]), len(common)


def histogram(values: np.ndarray, bins: int = 16) -> list[str]:
    low, high = np.floor(values.min() * 50) / 50, np.ceil(values.max() * 50) / 50
    counts, edges = np.histogram(values, bins=bins, range=(low, high))
    rows = [
        f"{edges[i]:7.1%} to {edges[i + 1]:6.1%} {count:6} {'#' * round(50 * count / counts.max())}"
        for i, count in enumerate(counts)
    ]
    return ["```", *rows, "```"]


def card(table: Table, command: str, about: str) -> str:
    space = create("space", str(table.metadata["space"]))
    whole = len({space.canonical(architecture) for architecture in space}) if space.size() < 100_000 else None
    networks, rows = len(table.first_rows), len(table)
    accuracy = np.array([v for v in table.values("test_accuracy") if np.isfinite(v)])
    epochs = table.metric("test_accuracy").epochs
    seconds = np.nansum(table.curve_matrix("seconds"))
    timed = table.values("latency_ms") if "latency_ms" in table.metrics else []
    measured = int(np.isfinite(timed).sum())
    diverged = int(np.isnan(table.column("test_accuracy")).sum())
    lines = [
        f"# {table.name}",
        "",
        about,
        "",
        f"- Networks: {networks:,}" + (f" of the {whole:,} different ones of the space" if whole else "") + ", "
        f"{rows:,} trainings; {diverged} diverged.",
        f"- Task: `{table.task}`; {epochs} epochs; recipe: the trainer's default for the task. All networks of a "
        "training seed see the same batches.",
        f"- Processor time: {seconds / 3600:.2f} hours, evaluation included. Networks were trained many at once, and "
        "the column `seconds` gives each an equal share: it tells what a training costs, not which network is faster.",
        f"- Source: {table.metadata['source']}",
        "- Made, and continued, by:",
        "",
        "```",
        command,
        "```",
        "",
    ]  # fmt: skip
    ceiling = []
    for metric in MEASURES:
        seeds = by_seed(table, metric)
        for one, other in itertools.combinations(sorted(seeds), 2):
            tau, low, high, count = agreement(seeds[one], seeds[other])
            ceiling.append(f"| `{metric}` | {one}, {other} | {count:,} | {tau:.3f} | {low:.3f} to {high:.3f} |")
    if ceiling:
        lines += [
            "## How far one seed tells another: the noise ceiling",
            "",
            "Kendall's tau-b between two training seeds (weights, batches and augmentation differ; data do not), with "
            "95 % bootstrap intervals over networks. So well does one training tell another; an estimator that knew "
            "the mean of all seeds would agree with one training better (in Spearman's coefficient, by about the "
            "square root).",
            "",
            "| measure | seeds | networks | tau | interval |",
            "| --- | --- | --- | --- | --- |",
            *ceiling,
            "",
        ]
    valid, test = (np.asarray(table.values(metric)) for metric in ("valid_accuracy", "test_accuracy"))
    known = np.isfinite(valid) & np.isfinite(test)
    lines += [
        f"Validation and test accuracy of one training: Spearman {spearmanr(valid[known], test[known]).statistic:.3f}.",
        "",
        "## Test accuracy after the last epoch (mean over seeds)",
        "",
        f"Least {accuracy.min():.1%}, median {np.median(accuracy):.1%}, best {accuracy.max():.1%}.",
        "",
        *histogram(accuracy),
        "",
        "## Columns",
        "",
        "| column | what it is |",
        "| --- | --- |",
        "| `architecture`, `canonical` | the network, without its dead parts, and its canonical form |",
        "| `seed` | which training |",
        "| `{train,valid,test}_{accuracy,loss}` | after the last epoch; `train_...` on the augmented batches, "
        "while the weights changed |",
        "| `..._curve` | the same after every epoch |",
        "| `seconds` | of each epoch, processor seconds, an equal share |",
        *(f"| `{m}` | {text} |" for m, text in (
            ("params", "parameters"), ("macs", "multiply-adds"),
            ("latency_ms", f"milliseconds for one image in PyTorch on one thread, measured of {measured:,} networks; "
             "where the machine was slowed by something else, that was divided out"),
        ) if m in table.metrics),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--command", required=True)
    parser.add_argument("--about", required=True)
    options = parser.parse_args()
    text = card(Table.open(options.table), options.command, options.about)
    write_text(options.table.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
