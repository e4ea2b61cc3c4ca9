"""`archscout search`: from data and limits to a trained, measured, exported network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archscout.cli import output
from archscout.cli.options import (
    Debug,
    Device,
    Fresh,
    HowTrained,
    Json,
    Load,
    Out,
    Precision,
    Seed,
    SkipBad,
    Start,
    Workers,
    by_device,
    check_precision,
    limits,
    readable,
    split_names,
)
from archscout.core.errors import UsageError
from archscout.core.estimator import TRAINING


def search(
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            metavar="NAME",
            help="A search space ('archscout list spaces'). Default: auto, the one that trains best in little time on "
            "such data, and for photographs a trained backbone where that promises more (archscout[pretrained]); "
            "scratch is without it.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="NAME|PATH",
            help="A built-in task ('archscout list tasks'), or your own: a folder of class folders, an .npz file, a "
            "list of pictures (.csv, .jsonl, .parquet), tar shards.",
            show_default=False,
        ),
    ] = None,
    skip_bad: SkipBad = False,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            metavar="NAME|FILE",
            help="Instead of training, look trainings up in a tabular benchmark ('archscout list tables').",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="NAME",
            help="What networks are measured by: accuracy, balanced_accuracy, f1, ..., or a function of your own "
            "(package:function); with --table, one of its columns.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method", metavar="NAME", help="How to search: a method or a strategy (NAME:lag=4N keeps N workers busy)."
        ),
    ] = "cascade",
    estimator: Annotated[
        str, typer.Option("--estimator", metavar="NAME", help="What the search believes in the end.")
    ] = TRAINING,
    maximum: Annotated[
        list[str] | None,
        typer.Option(
            "--max",
            metavar="COST=VALUE",
            help="A limit that no winner breaks: latency=2ms, latency@pixel3=20ms, params=1.5M. Repeatable.",
        ),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            "--objective", metavar="COST", help="A cost to keep low besides the accuracy: latency, macs. Repeatable."
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="TIME|TRIALS",
            help="90s, 5m, 1h (everything included; simulated with --table), or 200trials. Default: 5m, or 200trials "
            "with --table.",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 0,
    workers: Workers = None,
    engine: Annotated[str, typer.Option("--engine", metavar="NAME", help="Where trials run: local or ray.")] = "local",
    device: Device = "cpu",
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="URL", help="A database for the trials, if not in the run's folder."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="RUN", help="The run's name; made from the rest if not given."),
    ] = None,
    out: Out = Path("runs"),
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, metavar="N", help="Epochs of full training; planned if not given."),
    ] = None,
    recipe: HowTrained = None,
    times: Annotated[
        list[str] | None,
        typer.Option(
            "--times",
            metavar="DEVICE=CSV",
            help="Of a finished run: what its finalists took on a device elsewhere; the best that keeps the limits "
            "wins. Repeatable.",
        ),
    ] = None,
    start: Start = None,
    precision: Precision = "float32",
    fresh: Fresh = False,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Search a space for the best network for your data within your limits.

    The same command goes on where a run was stopped, and reports a run that is finished; with a larger budget it goes
    on from what was paid for.

    With a budget of time and no --epochs, the final training of the winner is planned first: hand-made designs of the
    space are timed on your data, what the budget buys is said, the search gets what the final training leaves, and
    where only a few trainings fit, the most promising design is trained for all of the time.

    Under a limit on a device of your own that is elsewhere, the run's folder ends with the finalists to be measured
    there (finalists-DEVICE); the same command with --times DEVICE=times.csv then picks the winner.

    --device cortex-m4 (or another microcontroller of 'archscout list devices') limits flash and sram to what it has,
    where no --max says more of them; networks are trained here, and 'archscout deploy' makes the code.

    Without --space, photographs in colour are first tried with a trained backbone, if one is installed
    (archscout[pretrained]); where it promises more within the limits than a network from nothing, it is fine-tuned, and
    cut where it breaks a limit. --space scratch leaves it out, and so does what belongs to a search: --method,
    --objective, --epochs, --recipe, --store, --workers above 1, a budget of trials or of less than two minutes.

    With --table, every training is looked up, its time too: a whole search in a moment, and its regret is known.
    """
    constraints = limits(maximum or ())
    in_integers = check_precision(precision)
    objectives = split_names(objective or ())
    if table is not None:
        unused = {
            "--space": space is not None, "--estimator": estimator != TRAINING, "--workers": workers is not None,
            "--engine": engine != "local", "--device": device != "cpu", "--store": store is not None,
            "--epochs": epochs is not None, "--recipe": recipe is not None, "--times": bool(times),
            "--precision": in_integers,
        }  # fmt: skip
        for option, given in unused.items():
            if given:
                raise UsageError(f"{option} has no meaning with --table, where nothing is trained: leave it out.")
        _simulate(
            table, metric, data, method, constraints, objectives, budget or "200trials", seed, start, name, out, fresh,
            as_json,
        )  # fmt: skip
        return
    if data is None:
        raise UsageError("say what to learn from, with --data; or search a tabular benchmark, with --table.")
    with output.only_the_answer(), output.resumable("the same command goes on from here."):
        from archscout import api
        from archscout.cli.progress import progress

        shown = progress()
        try:
            result = api.search(
                space or "auto",
                readable(data, skip_bad, metric),
                method=method,
                estimator=estimator,
                maximum=constraints,
                objectives=objectives,
                budget=budget or "5m",
                seed=seed,
                workers=workers,
                engine=engine,
                device=device,
                store=store,
                name=name,
                out=out,
                epochs=epochs,
                recipe=recipe,
                times=by_device(times or ()),
                start=start,
                fresh=fresh,
                progress=shown,
            )
            if in_integers:
                result = api.quantise(result.folder, readable(data, skip_bad, metric))
        finally:
            shown.close()
    if as_json:
        output.print_json(result.metrics)
    else:
        output.print_text(result.summary())


def _simulate(
    table: str,
    metric: str | None,
    data: str | None,
    method: str,
    constraints: dict[str, str],
    objectives: list[str],
    budget: str,
    seed: int,
    start: str | None,
    name: str | None,
    out: Path,
    fresh: bool,
    as_json: bool,
) -> None:
    with output.only_the_answer(), output.resumable("the same command begins again and ends the same."):
        from archscout.cli.progress import progress
        from archscout.study.on_table import search_table

        shown = progress()
        try:
            result = search_table(
                table,
                metric=metric,
                data=data,
                method=method,
                maximum=constraints,
                objectives=objectives,
                budget=budget,
                seed=seed,
                start=start,
                name=name,
                out=out,
                fresh=fresh,
                progress=shown,
            )
        finally:
            shown.close()
    if as_json:
        output.print_json(result.metrics)
    else:
        output.print_text(result.summary())
