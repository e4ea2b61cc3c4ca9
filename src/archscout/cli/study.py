"""`archscout study estimators|strategies|supernets`: comparisons against the ground truth of a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archscout.cli import output
from archscout.cli.options import Debug, Fresh, Json, Load, Seed, StudyOut, Workers, count_of, numbers_of, split_names
from archscout.cli.studies import CellTable, answer, folder_of, studying, write_csv
from archscout.cli.study_latency import latency
from archscout.cli.study_quantisation import quantisation
from archscout.core.errors import UsageError
from archscout.core.options import workers as workers_of

if TYPE_CHECKING:
    from archscout.tables.table import Table

app = typer.Typer(
    no_args_is_help=True,
    help="Compare estimators, strategies or supernets on the ground truth of a table, or ways to quantise.",
)

app.command("latency", short_help="What latency models tell of networks that they have not seen.")(latency)
app.command("quantisation", short_help="What integers cost, by scheme, algorithm, architecture and bits.")(quantisation)

TableOption = Annotated[
    str, typer.Option("--table", metavar="TABLE", help="A table's name ('archscout list tables'), or a Parquet file.")
]
Metric = Annotated[
    str | None, typer.Option("--metric", metavar="NAME", help="What is predicted or searched for.", show_default=False)
]
Repeats = Annotated[int, typer.Option("--repeats", min=1, metavar="N", help="How often, with other draws each time.")]
DEFAULT_TABLE = "nasbench201-digits"
SEARCHES, PATHS = "random,evolution", "uniform,fair,fixed,untrained"
"""What is compared where nothing is named."""


@app.command("estimators", short_help="What estimators tell of networks that they have not seen.")
def estimators(
    table: TableOption = DEFAULT_TABLE,
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME,...",
            show_default=False,
            help="Predictors (scout, random_forest:encoding=plain, scout:scores=naswot+params, ...), readers of curves "
            "(valacc, sotl, ...), scores (computed where the table lacks them and its task is a built-in one); 'all': "
            "every one for which the table has what it needs.",
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
    fresh: Fresh = False,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Compare estimators by what they cost before the first answer, and what each answer costs.

    The same command goes on where it was stopped. In the folder: report.html, winners.svg, summary.csv, rows.csv.
    """  # fmt: skip
    with studying():
        import archscout
        from archscout import api
        from archscout.cli.progress import progress
        from archscout.report import study as page
        from archscout.study import summary
        from archscout.study.estimators import Plan, compare, default_sizes
        from archscout.study.missing import compute_missing

        opened = api.table(table)
        contenders = _contenders(split_names(names) if names else [], opened, metric, scores)
        sizes = numbers_of(train_sizes) if train_sizes is not None else default_sizes(len(set(opened.architectures)))
        plan = Plan(
            tuple(contenders), sizes, repeats, None if test == "all" else count_of(test), not everything, seed, mutants
        )  # fmt: skip
        folder = folder_of(out, "estimators", opened.name)
        shown = progress()
        try:
            files = compute_missing(
                opened, contenders, folder.parent, metric=metric, scores=[scores] if scores else [],
                workers=workers_of(workers), seed=seed, progress=shown,
            )  # fmt: skip
        finally:
            shown.close()
        notices: list[str] = []
        rows = compare(
            opened, plan, folder, metric=metric, scores=files, workers=workers_of(workers), fresh=fresh,
            progress=output.tenths, say=notices.append,
        )  # fmt: skip
        for sentence in notices:
            output.say(sentence)
        entries, won = summary.summary(rows), summary.winners(rows)
        write_csv(folder, rows=rows, summary=entries)
        about = _about(
            opened, metric, repeats, seed, test=f"{test} mutants of good architectures" if mutants else test,
            isomorphs="predicted too" if everything else "left out",
            **({"scores": " ".join(notices)} if notices else {}),
        )  # fmt: skip
        written = page.write_estimators(
            folder, about=about, entries=entries, winners=won, version=archscout.__version__
        )  # fmt: skip
    cells: CellTable = (
        ("estimator", "train", "epochs", "kendall", "95 %", "precision@10", "ndcg@10", "regret@10", "fit s", "best"),
        [
            (
                e["estimator"], e["train"] or "", e["epochs"] or "", f"{e['kendall']:.3f}",
                f"{e['kendall_low']:.3f} to {e['kendall_high']:.3f}", f"{e['precision@10']:.2f}",
                f"{e['ndcg@10']:.3f}", f"{e['regret@10']:.4f}", f"{e['fit_seconds']:.2f}" if e["train"] else "",
                "*" if e["best"] else "",
            )
            for e in sorted(entries, key=lambda e: (e["train"], e["epochs"], -e["kendall"]))
        ],
    )  # fmt: skip
    whole = {"report": written, **about, "summary": entries, "winners": won}
    answer(folder, whole, cells, last=f"{written}: the page about it, with the winner map", as_json=as_json)


@app.command("strategies", short_help="How near searches come to the best network, and how fast.")
def strategies(
    table: TableOption = DEFAULT_TABLE,
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME,...",
            show_default=SEARCHES,
            help="Strategies and methods; 'all': every one that can search the table.",
        ),
    ] = None,
    budget: Annotated[
        str, typer.Option("--budget", metavar="BUDGET", help="Of each search: 200trials, or simulated time: 10h.")
    ] = "200trials",
    repeats: Repeats = 20,
    metric: Metric = None,
    seed: Seed = 0,
    workers: Workers = None,
    out: StudyOut = None,
    fresh: Fresh = False,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Compare searches simulated on a table: regret against trainings and against simulated seconds.

    What is searched for, and what regret is about, is validation accuracy where the table has it, or --metric.

    The same command goes on where it was stopped. In the folder: report.html, summary.csv, winners.csv.
    """  # fmt: skip
    with studying():
        import archscout
        from archscout import api
        from archscout.report import study as page
        from archscout.study import strategies as study

        opened = api.table(table)
        metric = opened.searched(metric).name
        contenders = split_names(names or [SEARCHES])
        if "all" in contenders:
            able, unable = study.comparable(opened, metric)
            if unable:
                output.say(f"left out: {'; '.join(unable)}")
            contenders = [*able, *(name for name in contenders if name != "all" and name not in able)]
        races = study.Races(tuple(contenders), budget, repeats, metric, seed)
        folder = folder_of(out, "strategies", opened.name)
        rows = study.race(opened, races, folder, workers=workers_of(workers), fresh=fresh, progress=output.tenths)
        for sentence in study.without_scores(opened, rows):
            output.say(sentence)
        entries, won = study.summary(rows), study.winners(rows)
        write_csv(
            folder,
            winners=[w | {"equal": " ".join(w["equal"])} for w in won],
            summary=[{k: v for k, v in entry.items() if k != "curves"} for entry in entries],
        )
        about = _about(opened, metric, repeats, seed, budget=budget)
        written = page.write_strategies(folder, about=about, entries=entries, version=archscout.__version__)
    searches: CellTable = (
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
    winners: CellTable = (
        ("trainings", "least regret", "mean", "not surely worse (p > 0.05)"),
        [(w["trainings"], w["winner"], f"{w['regret']:.5f}", ", ".join(w["equal"])) for w in won],
    )
    curves = [entry | {"curves": {k: [c.tolist() for c in v] for k, v in entry["curves"].items()}} for entry in entries]
    whole = {"report": written, **about, "summary": curves, "winners": won}
    answer(folder, whole, searches, winners, last=f"{written}: the page about it", as_json=as_json)


@app.command("supernets", short_help="How far the ranking by shared weights can be trusted.")
def supernets(
    table: TableOption = DEFAULT_TABLE,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="NAME|PATH", help="What is trained on; the table's task if not given.", show_default=False
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            metavar="SPACE",
            show_default=False,
            help="A narrower form of the table's space, for speed: nasbench201:width=8,cells=1.",
        ),
    ] = None,
    paths: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME,...",
            show_default=PATHS,
            help="How paths are drawn: uniform, fair, scattered, grouped, fixed (grouped, around a random backbone), "
            "untrained.",
        ),
    ] = None,
    passes: Annotated[int, typer.Option("--passes", min=1, metavar="N", help="Batches through each supernet.")] = 2000,
    batch: Annotated[int, typer.Option("--batch", min=2, metavar="N", help="Examples a batch.")] = 64,
    sample: Annotated[str, typer.Option("--sample", metavar="N|all", help="How many networks are ranked.")] = "1000",
    repeats: Annotated[int, typer.Option("--repeats", min=1, metavar="N", help="Supernets of each kind.")] = 3,
    metric: Metric = None,
    seed: Seed = 0,
    workers: Workers = None,
    out: StudyOut = None,
    fresh: Fresh = False,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Train supernets and compare their rankings with a table: rank correlation, among the best fifth too, bias by
    operation, agreement between seeds; with parameters, multiply-adds and an untrained supernet as controls.

    The same command goes on where it was stopped. In the folder: summary.csv, bias.csv.
    """  # fmt: skip
    with studying():
        from archscout import api
        from archscout.study import supernets as study
        from archscout.tasks.load import load as load_task

        opened = api.table(table)
        if not (data or opened.task):
            raise UsageError(f"table '{opened.name}' does not say what it was trained on: give --data.")
        plan = study.Supernets(
            tuple(split_names(paths or [PATHS])), passes, batch, repeats, opened.metric(metric).name,
            None if sample == "all" else count_of(sample), seed=seed,
        )  # fmt: skip
        folder = folder_of(out, "supernets", opened.name)
        task = load_task(data or opened.task).sealed()
        rows = study.compare(
            opened, api.space(space) if space else opened.space, task, plan, folder,
            workers=workers_of(workers), fresh=fresh, progress=output.tenths,
        )  # fmt: skip
        entries = study.summary(rows)
        write_csv(
            folder,
            summary=[{key: value for key, value in entry.items() if key != "bias"} for entry in entries],
            bias=[{"paths": entry["paths"]} | entry["bias"] for entry in entries],
        )
        about = _about(opened, metric, repeats, seed, data=task.name, passes=passes, batch=batch, sample=sample)
    cells: CellTable = (
        ("paths", "supernets", "spearman", "95 %", "best fifth", "precision", "pick", "stability", "train s"),
        [
            (
                e["paths"], e["supernets"], f"{e['spearman']:.3f}",
                f"{e['spearman_low']:.3f} to {e['spearman_high']:.3f}", f"{e['spearman_top']:.3f}",
                f"{e['precision']:.2f}", f"{e['pick']:.4f}", f"{e['stability']:.3f}", f"{e['train_seconds']:.0f}",
            )
            for e in sorted(entries, key=lambda e: -e["spearman"])
        ],
    )  # fmt: skip
    last = f"{folder}: summary.csv, and bias.csv by operation"
    answer(folder, {**about, "summary": entries}, cells, last=last, as_json=as_json)


USUAL = (
    "scout", "gaussian_process", "random_forest", "extra_trees", "bayesian_ridge", "lightgbm", "lambdarank", "valacc",
    "sotl", "params", "macs", "naswot", "synflow",
)  # fmt: skip
"""Who is compared where nobody is named, as far as the table has what they need."""


def _contenders(named: list[str], table: Table, metric: str | None, scores: Path | None) -> list[str]:
    """The names as given, `all` and none at all made explicit."""
    if named and "all" not in named:
        return named
    from archscout.study.problem import comparable

    able, unable = comparable(table, metric=metric, scores=scores)
    if not named:
        return [*(name for name in USUAL if name in able), "random_forest:encoding=plain"]
    if unable:
        output.say(f"left out: {'; '.join(unable)}")
    return [*able, *(name for name in named if name != "all" and name not in able)]


def _about(table: Table, metric: str | None, repeats: int, seed: int, **more: Any) -> Mapping[str, Any]:
    facts = {"table": table.name, "metric": table.metric(metric).name, "space": table.space.name, "repeats": repeats}
    return facts | {"seed": seed} | more
