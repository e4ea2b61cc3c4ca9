"""`archscout table build|import|check|show`: tabular benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archscout.cli import output
from archscout.cli.options import Data, Debug, Device, HowTrained, Json, Load, Seed, Workers
from archscout.core import options
from archscout.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from archscout.tables.check import Finding
    from archscout.tables.table import Table

TableName = Annotated[
    str, typer.Argument(metavar="TABLE", help="A table's name ('archscout list tables'), or a Parquet file.")
]

app = typer.Typer(no_args_is_help=True, help="Tabular benchmarks: build, import, check and show them.")


@app.command("build", short_help="Train the networks of a space, and write what they came to.")
def build_table(
    space: Annotated[
        str,
        typer.Option("--space", metavar="NAME", help="A search space ('archscout list spaces').", show_default=False),
    ],
    data: Data,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The table.")] = Path("table.parquet"),
    epochs: Annotated[int, typer.Option("--epochs", min=1, metavar="N", help="Epochs of each training.")] = 12,
    recipe: HowTrained = None,
    networks: Annotated[
        int | None, typer.Option("--networks", min=1, metavar="N", help="How many; the whole space if not given.")
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, metavar="N", help="Trainings of each of the first --several networks.")
    ] = 1,
    several: Annotated[
        int, typer.Option("--several", min=0, metavar="N", help="Networks with --seeds trainings; others have one.")
    ] = 1000,
    measure: Annotated[
        list[str] | None,
        typer.Option("--measure", metavar="COST", help="A cost to measure of each, such as latency. Repeatable."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The table's; the file's if not given.")
    ] = None,
    source: Annotated[
        str, typer.Option("--source", metavar="TEXT", help="Where it comes from, and its licence.")
    ] = "trained by archscout table build",
    workers: Workers = None,
    seed: Seed = 0,
    device: Device = "cpu",
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Train every network of a space, in random order and many at once; the same command goes on where it stopped.

    archscout table build --space nasbench201 --data digits:train=300 --seeds 3 --measure latency --out mine.parquet
    """
    resumable = output.resumable(f"'{out}' has what is finished; the same command goes on from there.")
    with output.only_the_answer(), resumable:
        from archscout import api
        from archscout.cli.progress import progress
        from archscout.study import building
        from archscout.workers.device import check_device
        from archscout.workers.engines import engine

        device = check_device(device)
        plan = building.Plan(
            epochs=epochs, seeds=seeds, several=several, networks=networks, seed=seed, recipe=recipe
        ).checked()
        searched, task = api.space(space), api.task(data)
        searched.check_task(task)
        shown = progress()
        try:
            with engine("local", options.workers(workers), (searched, task, device), device=device) as pool:
                result = building.build_table(
                    searched, task, plan, file=out, engine=pool, name=name or "", source=source,
                    measured=measure or (), progress=shown,
                )  # fmt: skip
        finally:
            shown.close()
    best, value = result.best()
    if as_json:
        networks_made = len(result.first_rows)
        output.print_json({"out": out, "rows": len(result), "networks": networks_made, "best": best, "value": value})
    else:
        size = f"{len(result):,} trainings of {len(result.first_rows):,} networks"
        output.print_text(f"{out}: {size}; best {result.default_metric} {output.number(value)}, {best}")


@app.command("import", short_help="Make a table of a published file, or of one of your own.")
def import_table(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="What the file is: nasbench201, nasbench101, nasbench_macro, nasbench_nlp, nasbench_graph, darts, "
            "nasbench301, enas, ec_nas; or generic, for a file of your own.",
        ),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file: Parquet, for generic also CSV.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The table; NAME.parquet in this folder if not given."),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option("--space", metavar="NAME", help="For generic: the space that the architectures are of."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="METRIC[:KIND]=COLUMN",
            help="For generic: a metric and the column that holds it. Kinds: accuracy (a fraction), percent, loss, "
            "seconds, cost, score. Where the architectures are: architecture=COLUMN. Repeatable.",
        ),
    ] = None,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Make a table, with its canonical index, of a published file or of one of your own.

    A table of your own: archscout table import generic results.csv --space nasbench201 --column valid:percent=acc
    --column time:seconds=t
    """
    with output.only_the_answer():
        from archscout.tables import generic, published

        if kind == "generic":
            if space is None:
                raise UsageError("a generic import needs the space of the architectures: give --space NAME.")
            draft = generic.read(file, space, column or ())
            draft.name = out.stem if out else draft.name
        elif space is not None or column:
            raise UsageError(f"--space and --column are for a generic import; kind '{kind}' brings its own.")
        else:
            draft = published.read(kind, file)
        target = out or Path(f"{draft.name}.parquet")
        if target.exists() and file.exists() and target.samefile(file):
            raise UsageError(f"'{target}' is the file to import: name another with --out.")
        table = draft.write(target)
        best, value = table.best()
    for note in draft.notes:
        output.say(f"note: {note}")
    if as_json:
        answer = {"out": target, "rows": len(table), "networks": len(table.first_rows), "notes": draft.notes}
        output.print_json({**answer, "metrics": [*table.metrics, *table.curves]})
    else:
        size = f"{len(table):,} rows, {len(table.first_rows):,} networks"
        output.print_text(f"{target}: {size}; best {table.default_metric} {output.number(value)}, {best}")


@app.command("check", short_help="Whether a table is sound.")
def check_table(table: TableName, as_json: Json = False, load: Load = None, debug: Debug = False) -> None:
    """Check a table: that architectures parse, accuracies are fractions, curves are whole; name what is doubled.

    Exit code 2 where something is wrong; what is only worth knowing is a note.
    """
    with output.only_the_answer():
        from archscout import api
        from archscout.tables.check import check

        opened = api.table(table)
        findings = check(opened)
    wrong = [finding for finding in findings if finding.wrong]
    if as_json:
        output.print_json({"file": opened.path, "rows": len(opened), "sound": not wrong, "findings": _plain(findings)})
    else:
        for finding in findings:
            output.print_text(f"{'wrong' if finding.wrong else 'note'}: {opened.path}, {finding}")
        if not wrong:
            output.print_text(f"{opened.path}: {len(opened):,} rows of space '{opened.space.name}' are sound.")
    if wrong:
        raise DataError(f"'{opened.path}' is not sound: {wrong[0]}" + (f" ({len(wrong)} faults)" if wrong[1:] else ""))


@app.command("show", short_help="What is in a table.")
def show_table(
    table: TableName,
    metric: Annotated[
        str | None, typer.Option("--metric", metavar="NAME", help="For best, histogram and correlations.")
    ] = None,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Show rows, metrics, the best network, the histogram of a metric, and how fidelities and splits agree with it."""
    with output.only_the_answer():
        from archscout import api
        from archscout.tables.summary import summarise

        opened = api.table(table)
        summary = summarise(opened, metric)
    if as_json:
        output.print_json(summary)
    else:
        _print_summary(opened, summary)


def _print_summary(table: Table, summary: dict[str, Any]) -> None:
    number = output.number
    output.print_text(
        f"{summary['name']}: {summary['rows']:,} rows, {summary['networks']:,} networks of space {summary['space']}"
    )
    for key in ("task", "source"):
        if summary[key]:
            output.print_text(f"{key}: {summary[key]}")
    output.print_text("")
    output.print_table(
        ("metric", "kind", "data set", "split", "epochs", "rows", "least", "median", "most"),
        [
            (
                m["name"] + (" (curve)" if m["curve"] else ""), m["kind"], m["dataset"], m["split"],
                m["epochs"] if m["epochs"] is not None else "", m["rows"],
                *(float(m[end]) for end in ("least", "median", "most")),
            )
            for m in summary["metrics"]
        ],
    )  # fmt: skip
    row = summary["best_row"]
    if row is None:
        output.print_text(f"\n{summary['metric']} has no values")
        return
    output.print_text(
        f"\nbest {summary['metric']}: row {row['row']} with {number(row['value'])}, {row['architecture']}\n"
        f"best network (mean of its rows): {number(summary['best']['value'])}, {summary['best']['architecture']}\n"
    )
    edges, counts = summary["histogram"]["edges"], summary["histogram"]["counts"]
    widest = max(counts)
    output.print_table(
        (summary["metric"], "networks", ""),
        [
            (f"{number(edges[place])} to {number(edges[place + 1])}", count, "█" * round(40 * count / max(1, widest)))
            for place, count in enumerate(counts)
        ],
    )
    if summary["correlations"]:
        output.print_text("")
        output.print_table(
            (f"rank correlation with {summary['metric']}", "Spearman"), list(summary["correlations"].items())
        )


def _plain(findings: list[Finding]) -> list[dict[str, Any]]:
    return [
        {"wrong": f.wrong, "column": f.column, "rows": list(f.rows), "count": f.count, "message": f.message}
        for f in findings
    ]
