"""What has been said of predictors, tested on the same ground.

    python -m benchmarks.predictors.claims --nasbench201 tables/nasbench201.parquet --nlp tables/nasbench_nlp.parquet \\
        --scores digits_scores.csv                  (and tables/nasbench101.parquet, for claims of transfer)

Each claim is a study (`archscout.study`) in its own folder of `--runs`, from which a stopped run goes on, or, for early
stopping, trainings of a table walked through in a random order. Differences are means over repeats, paired by repeat,
with their 95 % bootstrap intervals; p is Wilcoxon's signed rank test. Claims of which nothing has been run are left out
and named. Tables and scores: see `benchmarks/predictors/all.py`. Writes docs/results/predictors_claims.md and .json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import archscout
from archscout.core.files import write_text
from archscout.core.seeds import stream
from archscout.estimators.curves.stopping import StoppingRule
from archscout.study.estimators import Plan, compare
from archscout.study.strategies import Races, race
from archscout.study.summary import interval, paired
from archscout.tables.load import load
from archscout.tables.table import Table
from benchmarks.common import RESULTS, arguments, write_result

WEAK = "acenas:scores=params+macs+naswot"
COMBINED = "combined"
SCORED = "scout:scores=jacob_cov+params+macs"
ALL = "combined:scores=jacob_cov+params+supernet"
SOURCE = "tables/nasbench101.parquet"
TRANSFER = f"flan:source={SOURCE}"


@dataclass(frozen=True)
class Claim:
    """That one contender is better than another in a metric, at some sizes."""

    title: str
    said: str
    better: str
    worse: str
    sizes: tuple[int, ...]
    metric: str = "kendall"
    least: float = 0.0
    """The difference from which on the claim holds."""
    table: str = "nasbench201"
    epochs: tuple[int, ...] = (0,)


CLAIMS = (
    Claim("fr-gin", "forward and reverse networks beat one GIN (FR-NAS)", "fr_nas", "gin", (50, 100)),
    Claim("fr-pair", "and two forward GINs, averaged (FR-NAS)", "fr_nas", "gin:members=2", (50, 100)),
    Claim("lambda", "the gradient of NDCG beats squared error in NDCG@10 (AceNAS)", "acenas", "acenas:loss=squared",
          (50, 100), "ndcg@10"),
    Claim("lambda-trees", "and so it does with boosted trees (AceNAS)", "lambdarank", "lightgbm", (50, 100), "ndcg@10"),
    Claim("weak", "pre-training on weak labels helps up to 50 (AceNAS)", WEAK, "acenas", (25, 50)),
    Claim("transfer", "learning another space's table first helps (FLAN)", TRANSFER, "flan", (8, 16, 32)),
    Claim("transfer-scout", "and is then better than scout, which has no table", TRANSFER, "scout", (8, 16, 32)),
    Claim("binary", "comparing pairs is no worse than regression (BRP-NAS)", "brp_nas", "brp_nas:binary=false",
          (50, 100)),
    *(Claim(f"omni-{part}", f"OMNI is no more than .02 below {part}", "omni:tune=0", part, (25, 100), least=-0.02,
            table="digits", epochs=(2, 4, 8)) for part in ("ngb", "jacob_cov", "sotl_e")),
    *(Claim(f"omni-{what}", f"OMNI is better than without its {what}", "omni:tune=0", name, (25, 100), table="digits",
            epochs=(2, 4, 8))
      for what, name in (("curve", "omni:curve=,tune=0"), ("score", "omni:scores=,tune=0"),
                         ("encoding", "omni:encoding=none,tune=0"))),
    *(Claim(f"omni-tuned-{size}", "tuned by 35 draws, OMNI is no more than .02 below sotl_e (OMNI)", "omni", "sotl_e",
            (size,), least=-0.02, table="digits", epochs=(4, 8)) for size in (25, 100)),
    *(Claim(f"omni-tuning-{size}", "and better than without these draws (OMNI)", "omni", "omni:tune=0", (size,),
            table="digits", epochs=(4, 8)) for size in (25, 100)),
    Claim("combined-omni", "the combined predictor is above OMNI", COMBINED, "omni:tune=0", (25, 100), table="digits",
          epochs=(2, 4, 8)),
    Claim("combined-scout", "and above scout", COMBINED, "scout", (25, 100), table="digits", epochs=(2, 4, 8)),
    Claim("combined-curve", "and no more than .02 below its best curve", COMBINED, "sotl_e", (25, 100), least=-0.02,
          table="digits", epochs=(2, 4, 8)),
    Claim("scores", "scout with scores is above scout", SCORED, "scout", (25, 100), table="digits"),
    Claim("scores-nasbench201", "scout with scores is above scout", "scout:scores=naswot+params+macs", "scout",
          (25, 100)),
    Claim("curve-nasbench201", "scout with the accuracy after 12 epochs is above scout", "scout:curve=valacc", "scout",
          (25, 100), epochs=(12,)),
    Claim("supernet", "scout with the score in a supernet is above scout", "scout:scores=supernet", "scout", (25, 100),
          table="digits"),
    Claim("supernet-alone", "and no more than .02 below that score", "scout:scores=supernet", "supernet", (25, 100),
          table="digits", least=-0.02),
    Claim("all-omni", "with curves, scores and supernet it is above OMNI", ALL, "omni:tune=0", (25, 100),
          table="digits", epochs=(2, 4, 8)),
    Claim("all-combined", "and no more than .02 below the one without scores", ALL, COMBINED, (25, 100), least=-0.02,
          table="digits", epochs=(2, 4, 8)),
)  # fmt: skip

SOURCES = {
    "FR-NAS": "Zhang, Cheng 2024, arXiv 2404.15622", "AceNAS": "Zhang et al. 2021, arXiv 2108.03001",
    "BRP-NAS": "Dudziak et al. 2020, arXiv 2007.08668", "FLAN": "Akhauri, Abdelfattah 2024, arXiv 2403.02484",
    **dict.fromkeys(("OMNI is", "(OMNI)"), "White et al. 2021, arXiv 2104.01177"),
}  # fmt: skip
"""Who has said it, by a word of the claim; the others are what we ask of our own."""

PINAT = {78: 0.549, 156: 0.631, 469: 0.706}
"""Kendall's tau of PINAT on all of NAS-Bench-201, CIFAR-10, as its repository states it."""

FLAN = {16: 0.676, 32: 0.696, 128: 0.785, 256: 0.849, 512: 0.877}
"""The same of FLAN without supplementary encodings, in the logs of its repository (three runs)."""

TRANSFERRED = {8: 0.619, 16: 0.603, 32: 0.597, 128: 0.725}
"""The same after learning 512 networks of NAS-Bench-101 first."""

NN_FORMER = {1563: 0.890}
"""Kendall's tau of NN-Former on NAS-Bench-201 from a tenth of it (CVPR 2025)."""

PUBLISHED = {
    "fr_nas": ("fr_nas", "PINAT", PINAT), "pinat": ("pinat", "PINAT", PINAT),
    "pinat-live": ("pinat:encoding=live_graph+live", "PINAT", PINAT), "flan": ("flan", "FLAN", FLAN),
    "flan-transfer": (TRANSFER, "FLAN after NAS-Bench-101", TRANSFERRED),
    "nn-former": ("nn_former", "NN-Former", NN_FORMER),
}  # fmt: skip
"""By a short name: a predictor of ours, and what has been published of which one, by the networks learned from."""

SEARCHES = ("nar:start=1000", "random")
"""NAR as published: 1,000 random architectures, then 250 that it samples; and as many random ones."""

RULES = {"stopping": "Baker et al.", "stopping-linear": "a line"}
"""Of early stopping, by a short name: what predicts the ends of curves."""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--nasbench201", type=Path)
    parser.add_argument("--nlp", type=Path)
    parser.add_argument("--digits", default="nasbench201-digits", help="the table of digits: its name, or a file")
    parser.add_argument("--scores", type=Path, help="a file of archscout score, for the table of digits")
    parser.add_argument("--runs", type=Path, default=Path("runs/predictors_claims"))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--only", default="", help="these claims alone, by their short names, joined by commas")
    parser.add_argument("--page", default="predictors_claims", help="the name of what is written to docs/results")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="run nothing: the page of what is there in --runs")
    options = parser.parse_args()
    tables = {"digits": (load(options.digits), "test_accuracy", options.scores)}
    if options.nasbench201 is not None:
        tables["nasbench201"] = (Table.open(options.nasbench201), "c10_test_200", None)
    if not options.report:
        wanted = {*options.only.split(",")} if options.only else {*PUBLISHED, *(claim.title for claim in CLAIMS)}
        if not Path(SOURCE).is_file():
            wanted -= {"flan-transfer", "transfer", "transfer-scout"}
        asked = [claim for claim in CLAIMS if claim.title in wanted]
        for folder in dict.fromkeys(folder_of(claim) for claim in asked if claim.table in tables):
            some = [claim for claim in asked if folder_of(claim) == folder]
            run(some, *tables[some[0].table], options)
        for title, (name, _, taus) in PUBLISHED.items():
            if "nasbench201" in tables and title in wanted:
                table, metric, _ = tables["nasbench201"]
                plan = Plan((name,), tuple(taus), options.repeats, None, clean=False)
                compare(table, plan, options.runs / title, metric=metric, workers=options.workers)
        if "nasbench201" in tables and (not options.only or "nar" in options.only.split(",")):
            races = Races(SEARCHES, "1250trials", options.repeats, "c10v_valid_200")
            race(tables["nasbench201"][0], races, options.runs / "nar", workers=options.workers)
    found: dict[str, Any] = {"version": archscout.__version__, "claims": [], "published": [], "searches": []}
    for claim in CLAIMS:
        earlier = [e for e in before("claims") if e["claim"] == claim.title]
        found["claims"] += differences(claim, rows_in(options.runs / folder_of(claim))) or earlier
    for title, (name, whose, taus) in PUBLISHED.items():
        earlier = [e for e in before("published") if (e["name"], e["whose"]) == (name, whose)]
        found["published"] += against(name, whose, taus, rows_in(options.runs / title)) or earlier
    found["searches"] += searched(rows_in(options.runs / "nar")) or before("searches")
    rules = [] if options.report else [rule for rule in RULES if not options.only or rule in options.only.split(",")]
    found["stopping"] = [entry for entry in before("stopping") if entry["rule"] not in rules]
    for rule in rules:
        found["stopping"] += stopping(rule, load(options.digits), "valid_accuracy", 500, options.repeats)
        if options.nlp is not None:
            found["stopping"] += stopping(rule, Table.open(options.nlp), "valid_loss", 300, options.repeats)
    found["stopping"].sort(key=lambda entry: (entry["table"], [*RULES].index(entry["rule"]), -entry["sure"]))
    write_result(RESULTS / f"{options.page}.json", found)
    write_text(RESULTS / f"{options.page}.md", report(found))


def before(key: str) -> Any:
    file = RESULTS / "predictors_claims.json"
    return json.loads(file.read_text(encoding="utf-8")).get(key, []) if file.is_file() else []


def folder_of(claim: Claim) -> str:
    """Claims of the same sizes on the same table share what they need."""
    looks = "" if claim.epochs == (0,) else f"-epochs-{'-'.join(map(str, claim.epochs))}"
    return f"{claim.table}-{'-'.join(map(str, claim.sizes))}{looks}"


def run(claims: list[Claim], table: Table, metric: str, scores: Path | None, options: argparse.Namespace) -> None:
    """All that claims of one folder need, the first repeat of all before the second of any."""
    first = claims[0]
    contenders = tuple(dict.fromkeys(name for claim in claims for name in (claim.better, claim.worse)))
    epochs = None if first.epochs == (0,) else first.epochs
    compare(
        table, Plan(contenders, first.sizes, options.repeats, epochs=epochs), options.runs / folder_of(first),
        metric=metric, scores=scores, workers=options.workers,
        progress=lambda done, total: print(f"{folder_of(first)}: {done} of {total}", flush=True),
    )  # fmt: skip


def rows_in(folder: Path) -> list[dict[str, Any]]:
    file = folder / "rows.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [row for line in lines for row in json.loads(line)[2]]


def differences(claim: Claim, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each size and number of epochs: the difference, over the repeats that both have."""
    found = []
    for size in claim.sizes:
        for epochs in claim.epochs:
            values = [
                {r["repeat"]: r[claim.metric] for r in rows if r["estimator"] == name and fits(r, size, epochs)}
                for name in (claim.better, claim.worse)
            ]
            both = sorted(set(values[0]) & set(values[1]))
            if not both:
                continue
            first, second = (np.asarray([of[repeat] for repeat in both]) for of in values)
            mean, low, high = interval(first - second)
            found.append(
                {
                    "claim": claim.title, "said": claim.said, "table": claim.table, "metric": claim.metric,
                    "train": size, "epochs": epochs, "repeats": len(both), "better": float(first.mean()),
                    "worse": float(second.mean()), "difference": mean, "low": low, "high": high,
                    "p": paired(first, second) if len(both) > 1 else 1.0, "least": claim.least,
                    "verdict": verdict(mean, low, high, claim.least, len(both)),
                }
            )  # fmt: skip
    return found


def fits(row: dict[str, Any], size: int, epochs: int) -> bool:
    """Whether this is what a contender says at a size and an epoch; one that needs neither always answers."""
    return row["train"] in (0, size) and row["epochs"] in (0, epochs)


def verdict(mean: float, low: float, high: float, least: float, repeats: int) -> str:
    if repeats < 5:
        return "too few repeats to tell"
    if low >= least:
        return "holds"
    return "does not hold" if high < least else f"undecided ({'for' if mean >= least else 'against'})"


def against(name: str, whose: str, taus: dict[int, float], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for size, tau in taus.items():
        ours = [row["kendall"] for row in rows if row["train"] == size]
        if ours:
            mean, low, high = interval(ours)
            found.append(
                {"name": name, "whose": whose, "train": size, "published": tau, "kendall": mean, "low": low,
                 "high": high, "repeats": len(ours)}
            )  # fmt: skip
    return found


def searched(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How often each search has met the best network of all, and how far from it the others ended."""
    found = []
    for name in SEARCHES:
        own = [row for row in rows if row["estimator"] == name]
        if own:
            met = [float(row["to_optimum"] is not None) for row in own]
            regret = interval([row["regret"] for row in own])
            found.append({"name": name, "repeats": len(own), "met": interval(met), "regret": regret})
    return found


def stopping(rule: str, table: Table, metric: str, count: int, repeats: int) -> list[dict[str, Any]]:
    """Trainings in a random order, the first 20 whole; the rule learns again when whole ones have doubled."""
    measure = next(c for c in table.curves if table.metric(c).measure == table.metric(metric).measure)
    sign = 1.0 if table.metric(metric).higher else -1.0
    curves = sign * table.curve_matrix(measure)[table.first_rows]
    curves = curves[np.isfinite(curves).all(axis=1)]
    found = []
    for sure in (0.99, 0.95):
        saved, kept, regret = [], [], []
        for repeat in range(repeats):
            order = stream(repeat, "stopping", table.name).permutation(len(curves))[:count]
            epochs, whole = walked(curves[order], StoppingRule(sure, linear=rule == "stopping-linear"))
            ends = curves[order, -1]
            saved.append(len(order) * curves.shape[1] / epochs)
            kept.append(float(np.isclose(ends[whole].max(), ends.max())))
            regret.append(float(ends.max() - ends[whole].max()))
        found.append(
            {
                "rule": rule, "table": table.name, "metric": metric, "trainings": min(count, len(curves)),
                "epochs": curves.shape[1], "sure": sure, "repeats": repeats, "saved": interval(saved),
                "kept": interval(kept), "regret": float(np.mean(regret)),
            }
        )  # fmt: skip
    return found


def walked(curves: np.ndarray, rule: StoppingRule, first: int = 20) -> tuple[int, np.ndarray]:
    """How many epochs were trained, and which trainings were whole."""
    last = curves.shape[1]
    whole = list(range(min(first, len(curves))))
    learned, epochs = 0, first * last
    for row in range(first, len(curves)):
        if len(whole) >= 2 * learned:
            rule.fit(curves[whole], curves[whole, -1])
            learned = len(whole)
        left = next((e for e in range(1, last) if rule.stops(curves[row, :e], curves[whole, -1])), None)
        epochs += left or last
        if left is None:
            whole.append(row)
    return epochs, np.asarray(whole)


def both(e: dict[str, Any]) -> str:
    """Whether four times the epochs are saved, and the best is kept in nine runs of ten."""
    verdicts = [verdict(*e[what], least, e["repeats"]) for what, least in (("saved", 4.0), ("kept", 0.9))]
    against = next((one for one in verdicts if one == "does not hold"), None)
    return against or next((one for one in verdicts if one != "holds"), "holds")


def source(said: str) -> str:
    return next((who for word, who in SOURCES.items() if word in said), "ours")


def report(found: dict[str, Any]) -> str:
    lines = [
        "# What has been said of predictors, tested",
        "",
        "Made by `benchmarks/predictors/claims.py`. Clean protocol, 1,000 predicted. The difference is that of means "
        "over repeats, with its 95 % bootstrap interval; a claim holds where the whole interval does, and is undecided "
        "where the interval does not tell. n is the number of repeats; epochs are those of a training that was begun. "
        "OMNI is without its 35 random settings (`tune=0`) where it does not say so, and so are its parts. Scout and "
        "the combined one were developed on CIFAR-10 of NAS-Bench-201 alone.",
        "",
        "| claim | source | table | learned from | epochs | n | | | difference | p | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for e in found["claims"]:
        metric = "" if e["metric"] == "kendall" else f" ({e['metric']})"
        lines.append(
            f"| {e['said']}{metric} | {source(e['said'])} | {e['table']} | {e['train']} | {e['epochs'] or ''} | "
            f"{e['repeats']} | {e['better']:.3f} | {e['worse']:.3f} | "
            f"{e['difference']:+.3f} [{e['low']:+.3f}, {e['high']:+.3f}] | {e['p']:.2g} | {e['verdict']} |"
        )
    ran = {e["claim"] for e in found["claims"]}
    missing = [f"{claim.said} (from {', '.join(map(str, claim.sizes))})" for claim in CLAIMS if claim.title not in ran]
    if missing:
        lines += ["", "Not run: " + "; ".join(missing) + "."]
    if found["published"]:
        lines += ["", "## Published correlations", "", "All 15,625 predicted, those learned from among them.", ""]
        lines += ["| predictor | learned from | n | tau | published | of |", "| --- | --- | --- | --- | --- | --- |"]
        lines += [
            f"| {e['name']} | {e['train']} | {e['repeats']} | {e['kendall']:.3f} [{e['low']:.3f}, {e['high']:.3f}] | "
            f"{e['published']:.3f} | {e['whose']} |"
            for e in found["published"]
        ]
    if found["searches"]:
        lines += [
            "",
            "## NAR's search (Guo et al. 2022, arXiv 2201.12725, who report that it finds the best network)",
            "",
            "1,250 trainings on CIFAR-10 of NAS-Bench-201, by validation accuracy after 200 epochs. Met: runs in which "
            "the best network of all was among them. Regret: how far the best that was is from it.",
            "",
            "| search | n | met | mean regret |",
            "| --- | --- | --- | --- |",
        ]
        lines += [
            f"| {e['name']} | {e['repeats']} | {e['met'][0]:.0%} [{e['met'][1]:.0%}, {e['met'][2]:.0%}] | "
            f"{e['regret'][0]:.5f} [{e['regret'][1]:.5f}, {e['regret'][2]:.5f}] |"
            for e in found["searches"]
        ]
    if found["stopping"]:
        lines += [
            "",
            "## Early stopping by prediction (Baker et al. 2017, who claim up to 6 times)",
            "",
            "Trainings in a random order; the first 20 are whole, then each is left when the rule is sure that it will "
            "not become the best. Saved: epochs of all trainings divided by those that were trained. Kept: runs in "
            "which the best of all was trained to its end. The published rule predicts ends by a nu-SVR on all values "
            "so far; a line (`linear=true`, ours) by a ridge regression on the last value, the mean of the last three, "
            "the best and the last change, with the errors of leave-one-out; it was chosen on other orders of the same "
            "trainings. Of 12 epochs, 4 times fewer is leaving nearly all after the second.",
            "",
            "| table | measure | trainings x epochs | ends by | sure | n | saved | kept | mean regret | "
            "4 times, kept in 90 % |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {e['table']} | {e['metric']} | {e['trainings']} x {e['epochs']} | {RULES[e['rule']]} | "
            f"{e['sure']} | {e['repeats']} | {e['saved'][0]:.1f} [{e['saved'][1]:.1f}, {e['saved'][2]:.1f}] | "
            f"{e['kept'][0]:.0%} [{e['kept'][1]:.0%}, {e['kept'][2]:.0%}] | {e['regret']:.4f} | {both(e)} |"
            for e in found["stopping"]
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
