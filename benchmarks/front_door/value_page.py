"""Writes docs/results/value.md from docs/results/value.json (`value.py`).

python -m benchmarks.front_door.value_page
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t, ttest_rel

from archscout.core.files import write_text
from benchmarks.common import arguments, read_result
from benchmarks.front_door.single_pass import FILE as SINGLE_PASS
from benchmarks.front_door.value import CELLS, FILE, RIVALS, Cell, results

SEARCH = "search"

Accuracies = Mapping[int, float]
"""By seed."""


@dataclass(frozen=True)
class Verdict:
    """A search against the best of its opponents that keep the same limit."""

    cell: Cell
    limit: float
    opponent: str
    difference: float
    p: float
    seeds: int

    @property
    def lost(self) -> bool:
        """Whether the opponent is better, beyond chance (one seed cannot tell)."""
        return self.difference < 0 and self.p < 0.05

    def __str__(self) -> str:
        limit = f", {self.limit:g} ms" if self.limit else ""
        p = f"p = {self.p:.3f}" if math.isfinite(self.p) else f"{self.seeds} seeds, no test"
        points = f"{100 * self.difference:+.1f} points against {self.opponent.partition('<')[0]}"
        return f"{self.cell.name}{limit}: {points} ({p})"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    page = write(results(options.results).rows)
    write_text(options.results.with_suffix(".md"), page)
    print(page)


def write(rows: Sequence[Mapping[str, Any]]) -> str:
    """The page."""
    lines = [
        "# Is a search worth it?",
        "",
        "Made by `benchmarks/front_door/value_page.py` from `value.json` (`benchmarks/front_door/value.py`): searches "
        "against what one would pick instead, with the same time of one core.",
        "",
        "Test accuracy in percent: mean over seeds with its 95 % interval (Student's t). Rivals are plain PyTorch and "
        "scikit-learn on all examples that are not for testing; `reference:` designs are trained by Archscout's own "
        "recipe; `auto` is `archscout search` as it comes, `search` the same without trained weights. Processor "
        "seconds are of the whole process and its children, imports included; of searches, whose workers are not seen, "
        "the seconds on the clock. These are told their budget so, "
        "and get less than rivals do on a busy machine. "
        "Where a limit leaves room for a second pass, a search's network answers by the mean over an image and its "
        "mirror image, and its latency is of both; rivals answer once. "
        "A rival counts under a limit where its own latency keeps it. p: paired t-test over seeds, two-sided.",
    ]
    groups: dict[str, list[Verdict]] = {"the best rival": [], "random search": [], "evolution": []}
    for cell in CELLS:
        mine = [row for row in rows if row["cell"] == cell.name]
        if mine:
            lines += ["", f"## {cell.name}", "", *table(mine), *passes(cell)]
        for limit in cell.limits or (0.0,):
            end = f"<{limit:g}ms" if limit else ""
            opponents = ([*RIVALS, "resnet18"], [f"random{end}"], [f"evolution{end}"])
            for verdicts, names in zip(groups.values(), opponents, strict=True):
                verdicts += judge(cell, mine, limit, names)
    for opponent, verdicts in groups.items():
        if verdicts:
            lines += ["", f"## Searches against {opponent}", "", *(f"- {verdict}" for verdict in verdicts)]
            lost, above = sum(v.lost for v in verdicts), sum(v.difference > 0 for v in verdicts)
            lines += ["", f"Of {len(verdicts)} cells and limits: above in {above}, below beyond chance in {lost}."]
    failed = [row for row in rows if "error" in row]
    if failed:
        lines += ["", "## Without a result", ""]
        lines += [f"- {row['cell']}, {row['contender']}, seed {row['seed']}: {row['error']}" for row in failed]
    return "\n".join(lines) + "\n"


def passes(cell: Cell) -> list[str]:
    """What the second pass adds to the networks of a cell's search, where that was measured (`single_pass.py`)."""
    mine = [row for row in read_result(SINGLE_PASS).get("rows", []) if row["cell"] == cell.name]
    lines = []
    for name in sorted({row["contender"] for row in mine}):
        seeds = [row for row in mine if row["contender"] == name]
        gains = [100 * (row["two_passes"] - row["one_pass"]) for row in seeds]
        lines += [
            "",
            f"By one pass alone the networks of `{name}` have {100 * mean(seeds, 'one_pass'):.1f} over {len(seeds)} "
            f"seeds; the second pass adds {min(gains):.1f} to {max(gains):.1f} points, {sum(gains) / len(gains):.1f} "
            f"in the mean, and was delivered with {sum(row['mirrored'] for row in seeds)} of them.",
        ]
    return lines


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a contender, the best first."""
    by_name: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if "test_accuracy" in row:
            by_name[row["contender"]].append(row)
    lines = [
        "| contender | test accuracy | seeds | processor seconds | epochs | latency, ms | parameters |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in sorted(by_name, key=lambda name: -mean(by_name[name], "test_accuracy")):
        mine = by_name[name]
        values = [row["test_accuracy"] for row in mine]
        lines.append(
            f"| {name.replace('<', ', ')} | {percent(values)} | {len(values)} | {seconds(mine)} | "
            f"{cell_text(mine, 'epochs', '.0f')} | {cell_text(mine, 'latency_ms', '.2f')} | "
            f"{cell_text(mine, 'params', ',.0f')} |"
        )
    return lines


def judge(cell: Cell, rows: Sequence[Mapping[str, Any]], limit: float, names: Sequence[str]) -> list[Verdict]:
    """The search under a limit against the opponent with the best mean accuracy that keeps it; none without rows."""
    own = accuracies(rows, f"{SEARCH}<{limit:g}ms" if limit else SEARCH)
    kept = [row for row in rows if not limit or row.get("latency_ms", 0.0) <= limit]
    opponents = {name: accuracies(kept, name) for name in names}
    shared = {name: sorted(set(values) & set(own)) for name, values in opponents.items()}
    known = [name for name, seeds in shared.items() if seeds]
    if not known:
        return []
    best = max(known, key=lambda name: np.mean([opponents[name][seed] for seed in shared[name]]))
    pairs = np.array([(own[seed], opponents[best][seed]) for seed in shared[best]])
    differences = pairs[:, 0] - pairs[:, 1]
    testable = len(pairs) > 1 and np.ptp(differences) > 0
    p = float(ttest_rel(*pairs.T).pvalue) if testable else math.nan
    return [Verdict(cell, limit, best, float(differences.mean()), p, len(pairs))]


def accuracies(rows: Sequence[Mapping[str, Any]], contender: str) -> Accuracies:
    return {row["seed"]: row["test_accuracy"] for row in rows if row["contender"] == contender and "error" not in row}


def percent(values: Sequence[float]) -> str:
    """Mean and the half of its 95 % interval."""
    text = f"{100 * float(np.mean(values)):.1f}"
    if len(values) < 2:
        return text
    half = float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return f"{text} ± {100 * half:.1f}"


def cell_text(rows: Sequence[Mapping[str, Any]], key: str, form: str) -> str:
    return format(mean(rows, key), form) if all(row.get(key) is not None for row in rows) else ""


def seconds(rows: Sequence[Mapping[str, Any]]) -> str:
    """Of a processor; where these are not known, on the clock."""
    known = all(row["cpu_seconds"] is not None for row in rows)
    return f"{mean(rows, 'cpu_seconds'):.0f}" if known else f"{mean(rows, 'wall_seconds'):.0f} on the clock"


def mean(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    return float(np.mean([row[key] for row in rows]))


if __name__ == "__main__":
    main()
