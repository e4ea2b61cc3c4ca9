"""`archscout score`: cheap estimates of many architectures, as a CSV file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archscout.cli import output
from archscout.cli.options import Debug, Device, Fresh, Json, Load, Seed, SpaceName, Workers, split_names
from archscout.core import options
from archscout.core.errors import UsageError


def score(
    space: SpaceName,
    names: Annotated[
        list[str],
        typer.Option(
            "--with", metavar="NAME,...", help="Estimators ('archscout list estimators').", show_default=False
        ),
    ],
    archs: Annotated[
        Path | None,
        typer.Option("--archs", metavar="FILE", help="One architecture a line; or a CSV or Parquet file."),
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, metavar="N", help="Instead of --archs: so many at random.")
    ] = None,
    data: Annotated[
        str,
        typer.Option("--data", metavar="NAME|PATH", help="A built-in task, .npz file, or folder of class folders."),
    ] = "digits",
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, metavar="N", help="Examples that a score looks at.")
    ] = None,
    seed: Seed = 0,
    workers: Workers = None,
    device: Device = "cpu",
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The CSV file.")] = Path("scores.csv"),
    fresh: Fresh = False,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Score many architectures without training them; the same command goes on with a file that it began."""
    estimators = split_names(names)
    if (archs is None) == (sample is None):
        raise UsageError("give either --archs FILE or --sample N, to say which architectures to score.")
    with output.only_the_answer(), output.resumable(f"the same command goes on with '{out}'."):
        from archscout import api
        from archscout.cli.progress import progress
        from archscout.core.listed import read_architectures
        from archscout.study import scoring
        from archscout.workers.device import check_device
        from archscout.workers.engines import engine

        device = check_device(device)
        searched = api.space(space)
        for name in estimators:
            api.estimator(name)
        listed = read_architectures(archs, searched) if archs else scoring.sample(searched, sample or 0, seed)
        task = api.task(data).sealed()
        searched.check_task(task)
        shown = progress()
        try:
            with engine("local", options.workers(workers), (searched, task, device), device=device) as pool:
                scores = scoring.score(
                    searched,
                    task,
                    estimators,
                    listed,
                    file=out,
                    engine=pool,
                    seed=seed,
                    batch=batch,
                    device=device,
                    fresh=fresh,
                    progress=shown,
                )
        finally:
            shown.close()
    for name, count in scores.undefined.items():
        if count:
            reason = f": {scores.reasons[name]}" if scores.reasons.get(name) else "."
            output.say(f"{name}: {count} of {scores.rows} scores are undefined (NaN){reason}")
    if as_json:
        output.print_json(
            {
                "out": scores.file,
                "rows": scores.rows,
                "added": scores.added,
                "undefined": scores.undefined,
                "seconds": scores.seconds,
            }
        )
    else:
        output.print_text(f"{scores.rows} rows in {scores.file} ({scores.added} new, {scores.seconds:.1f} s)")
