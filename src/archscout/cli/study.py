"""`archscout study estimators|strategies`: comparisons against the ground truth of a table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archscout.cli import output
from archscout.cli.options import Debug, Json, Seed, Workers, split_names
from archscout.core.errors import UsageError

if TYPE_CHECKING:
    from archscout.tables.table import Table

app = typer.Typer(no_args_is_help=True, help="Compare estimators or strategies on the ground truth of a table.")

TableOption = Annotated[
    str, typer.Option("--table", metavar="TABLE", help="A table's name ('archscout list tables'), or a Parquet file.")
]
Metric = Annotated[
    str | None, typer.Option("--metric", metavar="NAME", help="What is predicted or searched for.", show_default=False)
]
Repeats = Annotated[int, typer.Option("--repeats", min=1, metavar="N", help="How often, with other draws each time.")]
StudyOut = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="runs/study-... if not given.", show_default=False)
]
DEFAULT_TABLE = "nasbench201-digits"


@app.command("estimators", short_help="What estimators tell of networks that they have not seen.")
def estimators(
    table: TableOption = DEFAULT_TABLE,
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME,...",
            show_default=False,
            help="Predictors (scout, random_forest:encoding=plain, scout:scores=naswot+params, ...), scores that the "
            "table has, last_value, sum_of_losses.",
        ),
    ] = None,
    train_sizes: Annotated[
        str | None,
        typer.Option("--train-sizes", metavar="N,...", help="Networks learned from: 10,50,100.", show_default=False),
    ] = None,
    repeats: Repeats = 20,
    metric: Metric = None,
    test: Annotated[
        str, typer.Option("--test", metavar="N|all", help="How many unseen architectures are predicted.")
    ] = "1000",
    everything: Annotated[
        bool, typer.Option("--with-seen", help="Predict also what was learned from, as some papers do.")
    ] = False,
    mutants: Annotated[
        bool, typer.Option("--mutants", help="Predict mutants of good architectures, as a search meets them.")
    ] = False,
    scores: Annotated[
        Path | None,
        typer.Option("--scores", metavar="FILE", help="Scores by 'archscout score' that the table lacks."),
    ] = None,
    seed: Seed = 0,
    workers: Workers = None,
    out: StudyOut = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare estimators by what they cost before the first answer, and what each answer costs.

    The same command goes on where it was stopped. In the folder: report.html, winners.svg, summary.csv, rows.csv.
    """  # fmt: skip
    with output.only_the_answer(), output.resumable("the same command goes on."):
        import archscout
        from archscout import api
        from archscout.report import study as page
        from archscout.study import summary
        from archscout.study.estimators import Plan, compare, default_sizes

        opened = api.table(table)
        contenders = split_names(names) if names else _usual(opened, metric)
        sizes = _numbers(train_sizes) if train_sizes else default_sizes(len(set(opened.architectures)))
        plan = Plan(
            tuple(contenders), sizes, repeats, None if test == "all" else _count(test), not everything, seed, mutants
        )  # fmt: skip
        folder = out or Path("runs") / f"study-estimators-{opened.name}"
        rows = compare(
            opened, plan, folder, metric=metric, scores=scores, workers=_workers(workers), progress=_progress
        )  # fmt: skip
        entries, won = summary.summary(rows), summary.winners(rows)
        (folder / "rows.csv").write_text(summary.as_csv(rows), encoding="utf-8")
        (folder / "summary.csv").write_text(summary.as_csv(entries), encoding="utf-8")
        about = _about(
            opened, metric, repeats, seed, test=f"{test} mutants of good architectures" if mutants else test,
            isomorphs="predicted too" if everything else "left out",
        )  # fmt: skip
        written = page.write_estimators(
            folder, about=about, entries=entries, winners=won, version=archscout.__version__
        )  # fmt: skip
    if as_json:
        output.print_json({"out": folder, "report": written, **about, "summary": entries, "winners": won})
        return
    output.print_table(
        ("estimator", "train", "epochs", "kendall", "95 %", "precision@10", "regret@10", "fit s", "best"),
        [
            (
                e["estimator"], e["train"] or "", e["epochs"] or "", f"{e['kendall']:.3f}",
                f"{e['kendall_low']:.3f} to {e['kendall_high']:.3f}", f"{e['precision@10']:.2f}",
                f"{e['regret@10']:.4f}", f"{e['fit_seconds']:.2f}" if e["train"] else "", "*" if e["best"] else "",
            )
            for e in sorted(entries, key=lambda e: (e["train"], e["epochs"], -e["kendall"]))
        ],
    )  # fmt: skip
    output.print_text(f"\n{written}: the page about it, with the winner map")


@app.command("strategies", short_help="How near searches come to the best network, and how fast.")
def strategies(
    table: TableOption = DEFAULT_TABLE,
    names: Annotated[
        str, typer.Option("--with", metavar="NAME,...", help="Strategies and methods.")
    ] = "random,evolution",
    budget: Annotated[
        str, typer.Option("--budget", metavar="BUDGET", help="Of each search: 200trials, or simulated time: 10h.")
    ] = "200trials",
    repeats: Repeats = 20,
    metric: Metric = None,
    seed: Seed = 0,
    workers: Workers = None,
    out: StudyOut = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare searches simulated on a table: regret against trainings and against simulated seconds.

    The same command goes on where it was stopped. In the folder: report.html, summary.csv.
    """  # fmt: skip
    with output.only_the_answer(), output.resumable("the same command goes on."):
        import archscout
        from archscout import api
        from archscout.report import study as page
        from archscout.study import strategies as study
        from archscout.study import summary

        opened = api.table(table)
        races = study.Races(tuple(split_names([names])), budget, repeats, opened.metric(metric).name, seed)
        folder = out or Path("runs") / f"study-strategies-{opened.name}"
        rows = study.race(opened, races, folder, workers=_workers(workers), progress=_progress)
        entries = study.summary(rows)
        (folder / "summary.csv").write_text(
            summary.as_csv([{k: v for k, v in entry.items() if k != "curves"} for entry in entries]), encoding="utf-8"
        )
        about = _about(opened, metric, repeats, seed, budget=budget)
        written = page.write_strategies(folder, about=about, entries=entries, version=archscout.__version__)
    if as_json:
        plain = [
            entry | {"curves": {k: [c.tolist() for c in v] for k, v in entry["curves"].items()}} for entry in entries
        ]
        output.print_json({"out": folder, "report": written, **about, "summary": plain})
        return
    output.print_table(
        ("search", "regret", "95 %", "mean regret", "trainings to the best", "found it", "simulated s"),
        [
            (
                e["estimator"], f"{e['regret']:.5f}", f"{e['regret_low']:.5f} to {e['regret_high']:.5f}",
                f"{e['mean_regret']:.5f}", "" if e["found"] == 0 else f"{e['to_optimum']:.0f}",
                f"{e['found']:.0%}", f"{e['seconds']:.0f}",
            )
            for e in entries
        ],
    )  # fmt: skip
    output.print_text(f"\n{written}: the page about it")


def _usual(table: Table, metric: str | None) -> list[str]:
    """Who is compared where nobody is named: all predictors, the table's scores, and what reads its curves."""
    import importlib.util

    from archscout.study.problem import curves_of

    boosted = ["lightgbm", "lambdarank"] if importlib.util.find_spec("lightgbm") else []
    scores = [name for name in ("params", "macs", "naswot", "synflow") if name in table.metrics]
    learning = ["scout", "gaussian_process", "random_forest", "extra_trees", "bayesian_ridge", *boosted]
    return [*learning, "random_forest:encoding=plain", *scores, *curves_of(table, metric)]


def _about(table: Table, metric: str | None, repeats: int, seed: int, **more: Any) -> Mapping[str, Any]:
    facts = {"table": table.name, "metric": table.metric(metric).name, "space": table.space.name, "repeats": repeats}
    return facts | {"seed": seed} | more


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted({_count(part) for part in text.split(",") if part.strip()}))


def _count(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise UsageError(
            f"'{text}' is no whole number: write --train-sizes 10,50,100, and --test 1000 or all."
        ) from error


def _workers(given: int | None) -> int:
    """One process a core, if nothing else is asked for."""
    return given if given is not None else os.cpu_count() or 1


def _progress(done: int, total: int) -> None:
    """A line on stderr at every tenth."""
    if done == total or done == 0 or 10 * done // total > 10 * (done - 1) // total:
        output.say(f"{done} of {total} done")
