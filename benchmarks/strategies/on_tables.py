"""Searches on published tables: how near each comes to the best network, after how many trainings.

    archscout table import nasbench201 accuracy.parquet --out tables/nasbench201.parquet     (and other tables)
    python -m benchmarks.strategies.on_tables --tables tables --workers 2

Each search is simulated (`archscout.study.strategies`): its trainings are answered from the table. Strategies and the
default method see the same metric, each repeat has a seed of its own, shared by all. Goes on where it was stopped;
`--only` names those that are run. Writes docs/results/strategies.md and .json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import archscout
from archscout.cli.options import split_names
from archscout.core.errors import ArchscoutError
from archscout.core.files import write_text
from archscout.study.strategies import SURE, Races, race, summary
from archscout.study.summary import paired
from archscout.tables.load import load
from archscout.tables.table import Table
from benchmarks.common import RESULTS, arguments, read_result, write_result

CONTENDERS = (
    "random", "evolution", "local_search", "kernel_density", "bayesian", "bananas", "npenas", "brp_nas", "acenas",
    "weaknas", "weaknas:predictor=gaussian_process", "brp_nas:predictor=scout",
    "surrogate", "surrogate:predictor=gaussian_process",
    "surrogate:predictor=gaussian_process,acquisition=log_ei,batch=5",
    "successive_halving", "hyperband", "asha", "bohb", "cascade",
)  # fmt: skip
GROUNDS = (
    ("nasbench201", "c10v_valid_200", "NAS-Bench-201, CIFAR-10, validation accuracy"),
    ("nasbench201", "c100_valid_200", "NAS-Bench-201, CIFAR-100, validation accuracy"),
    ("nasbench201", "in16_valid_200", "NAS-Bench-201, ImageNet16-120, validation accuracy"),
    ("nasbench_macro", "mean_acc", "NAS-Bench-Macro"),
    ("nasbench201-digits", "valid_accuracy", "digits, ours, one training each"),
    ("nasbench101", "valid_acc_108", "NAS-Bench-101, 20,000 cells"),
    ("nasbench_graph", "cora_valid", "NAS-Bench-Graph, Cora"),
    ("nasbench_graph", "arxiv_valid", "NAS-Bench-Graph, arXiv"),
    ("darts", "valid_acc", "1,000 cells of DARTS"),
)
TRIED = 6
"""On so many of these, the first, the settings of the default were tried out."""

UNTRIED = ("cascade", "evolution", "random")
"""Searches on all grounds; on those from `LATE` on, the only ones."""

LATE = 5
AFTER = (20, 50, 100)
CONTROL, DEFAULT = "random", "cascade"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tables", type=Path, default=Path("tables"))
    parser.add_argument("--runs", type=Path, default=Path("runs/strategies"))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--only", default=",".join(CONTENDERS), help="these searches alone, joined by commas")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="run nothing: the page of what strategies.json has")
    options = parser.parse_args()
    if options.report:
        write_text(RESULTS / "strategies.md", report(read_result(RESULTS / "strategies.json")))
        return
    found: dict[str, Any] = {"version": archscout.__version__, "trials": options.trials, "grounds": []}
    for place, (name, metric, title) in enumerate(GROUNDS):
        names = [one for one in split_names([options.only]) if place < LATE or one in UNTRIED]
        try:
            file = options.tables / f"{name}.parquet"
            table = Table.open(file) if file.is_file() else load(name)
            races = Races(tuple(names), f"{options.trials}trials", options.repeats, metric)
            print(title, flush=True)
            rows = race(
                table, races, options.runs / f"{name}-{metric}", workers=options.workers,
                progress=lambda done, total: print(f"  {done}/{total}", flush=True),
            )  # fmt: skip
        except ArchscoutError as error:
            found["grounds"].append({"title": title, "missing": str(error)})
            continue
        entries = [entry_of(e) | against_random(e["estimator"], rows) for e in summary(rows)]
        found["grounds"].append({"title": title, "metric": metric, "entries": entries})
    write_result(RESULTS / "strategies.json", found)
    text = report(found)
    write_text(RESULTS / "strategies.md", text)
    print(text)


def entry_of(summarised: dict[str, Any]) -> dict[str, Any]:
    keys = ("estimator", "repeats", "regret", "mean_regret", "mean_regret_low", "mean_regret_high", "p_against_best")
    points, *stats = summarised["curves"]["regret_after"]
    after = {}
    for count in AFTER:
        place = max((i for i, point in enumerate(points) if point <= count), default=0)
        after[str(count)] = [float(column[place]) for column in stats]
    reached = {key: summarised[key] for key in ("found", "to_optimum", "to_optimum_low", "to_optimum_high")}
    return {key: summarised[key] for key in keys} | reached | {"after": after}


def against_random(name: str, rows: list[dict[str, Any]]) -> dict[str, float]:
    """The area of a search as a share of random search's, and the paired test of the two; nothing without repeats of
    both."""
    areas = [{r["repeat"]: r["mean_regret"] for r in rows if r["estimator"] == one} for one in (name, CONTROL)]
    both = sorted(set(areas[0]) & set(areas[1]))
    if not both:
        return {}
    own, random = ([area[repeat] for repeat in both] for area in areas)
    share = sum(own) / sum(random)
    return {"of_random": share, "p_against_random": 1.0 if name == CONTROL else paired(own, random)}


def together(grounds: list[dict[str, Any]]) -> list[str]:
    """The mean over grounds of areas as shares of random search's: where the default was tuned, and where not."""
    measured = [ground for ground in grounds if "entries" in ground]
    titles = [title for _, _, title in GROUNDS[:TRIED]]
    parts = {
        "Tables that settings of the default were tried out on": [g for g in measured if g["title"] in titles],
        "Tables that it was not tuned on": [g for g in measured if g["title"] not in titles],
    }
    lines = [
        "",
        "## All tables together",
        "",
        "Area of regret as a share of random search's: mean over tables, best and worst of them. *Worse than random*: "
        f"tables on which it has more area than random search, beyond noise (p below {SURE}). `{DEFAULT}` is what "
        "`archscout search` does where nothing is named. Searches that were run on all of a part are in it.",
    ]
    for part, some in parts.items():
        tables = [{e["estimator"]: e for e in ground["entries"] if "of_random" in e} for ground in some]
        names = set.intersection(*map(set, tables)) if tables else set()
        shares = {name: [table[name]["of_random"] for table in tables] for name in names}
        lines += [
            "",
            f"### {part} ({len(tables)})",
            "",
            "| search | mean | best | worst | worse than random |",
            "| --- | --- | --- | --- | --- |",
        ]
        for name in sorted(names, key=lambda name: sum(shares[name])):
            worse = [ground["title"] for ground, table in zip(some, tables, strict=True) if is_worse(table[name])]
            each = shares[name]
            mean = sum(each) / len(each)
            lines.append(f"| {name} | {mean:.2f} | {min(each):.2f} | {max(each):.2f} | {', '.join(worse) or 'none'} |")
    return lines


def is_worse(entry: dict[str, Any]) -> bool:
    """Whether a search has more area than random search, beyond noise."""
    return bool(entry["of_random"] > 1 and entry["p_against_random"] < SURE)


def report(found: dict[str, Any]) -> str:
    lines = [
        "# Searches on published tables",
        "",
        f"Made by `benchmarks/strategies/on_tables.py`: {found['trials']} trainings, answered from a table. Regret: "
        "points of accuracy between the best network so far and the best of the table, mean over repeats with its 95 % "
        "bootstrap interval; *area*: its mean over all trainings, the one number to compare by; p: paired Wilcoxon "
        "test of the area against the search with the least; *found*: repeats that found the best network, and after "
        "how many trainings on average (of these alone). With a budget in trainings the cascade is the guided search. "
        "Scores are columns of the table: naswot, zen and params of NAS-Bench-201, zen and params of NAS-Bench-101, "
        "params of Macro and digits, none of others; what a table lacks is undefined.",
    ]
    lines += together(found["grounds"])
    for ground in found["grounds"]:
        lines += ["", f"## {ground['title']}", ""]
        if "missing" in ground:
            lines.append(f"Not there when this was made: {ground['missing']}")
            continue
        lines += [
            "| search | n | "
            + " | ".join(f"after {count}" for count in AFTER)
            + " | area | p | found | trainings to it |",
            "| --- | --- | " + "--- | " * len(AFTER) + "--- | --- | --- | --- |",
        ]
        for entry in sorted(ground["entries"], key=lambda entry: entry["mean_regret"]):
            cells = [points(*entry["after"][str(count)]) for count in AFTER]
            area = points(*(entry[key] for key in ("mean_regret", "mean_regret_low", "mean_regret_high")))
            p = "" if entry["p_against_best"] == 1 else f"{entry['p_against_best']:.2g}"
            reached = [entry[key] for key in ("to_optimum", "to_optimum_low", "to_optimum_high")]
            trainings = "{:.0f} [{:.0f}, {:.0f}]".format(*reached) if entry["found"] else ""
            lines.append(
                f"| {entry['estimator']} | {entry['repeats']} | " + " | ".join(cells)
                + f" | {area} | {p} | {entry['found']:.0%} | {trainings} |"
            )  # fmt: skip
    return "\n".join(lines) + "\n"


def points(mean: float, low: float, high: float) -> str:
    return f"{100 * mean:.2f} [{100 * low:.2f}, {100 * high:.2f}]"


if __name__ == "__main__":
    main()
