"""`archscout search`: from data and limits to a trained, measured, exported network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archscout.cli import output
from archscout.cli.options import Data, Debug, Device, Json, Out, Seed, Workers, limits, split_names


def search(
    space: Annotated[
        str,
        typer.Option("--space", metavar="NAME", help="A search space ('archscout list spaces').", show_default=False),
    ],
    data: Data,
    method: Annotated[
        str, typer.Option("--method", metavar="NAME", help="How to search: a method or a strategy.")
    ] = "cascade",
    estimator: Annotated[
        str, typer.Option("--estimator", metavar="NAME", help="What the search believes in the end.")
    ] = "trained",
    maximum: Annotated[
        list[str] | None,
        typer.Option(
            "--max", metavar="COST=VALUE", help="A limit that no winner breaks: latency=2ms, params=1.5M. Repeatable."
        ),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            "--objective", metavar="COST", help="A cost to keep low besides the accuracy: latency, macs. Repeatable."
        ),
    ] = None,
    budget: Annotated[
        str, typer.Option("--budget", metavar="TIME|TRIALS", help="90s, 5m, 1h (everything included), or 200trials.")
    ] = "5m",
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
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Search a space for the best network for your data within your limits.

    The same command goes on where a run was stopped, and reports a run that is finished.
    """
    constraints = limits(maximum or ())
    objectives = split_names(objective or ())
    with output.only_the_answer(), output.resumable("the same command goes on from here."):
        from archscout import api
        from archscout.cli.progress import progress

        shown = progress()
        try:
            result = api.search(
                space,
                data,
                method=method,
                estimator=estimator,
                maximum=constraints,
                objectives=objectives,
                budget=budget,
                seed=seed,
                workers=workers,
                engine=engine,
                device=device,
                store=store,
                name=name,
                out=out,
                epochs=epochs,
                progress=shown,
            )
        finally:
            shown.close()
    if as_json:
        output.print_json(result.metrics)
    else:
        output.print_text(result.summary())
