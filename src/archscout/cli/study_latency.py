"""`archscout study latency`: latency models on times of many devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archscout.cli import output
from archscout.cli.options import Data, Debug, Fresh, Json, Load, Seed, StudyOut, Workers, numbers_of, split_names
from archscout.cli.studies import CellTable, answer, folder_of, studying, write_csv
from archscout.core.options import workers as workers_of


def latency(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="CSV or Parquet: a column 'architecture', and one of milliseconds for each device.",
            show_default=False,
        ),
    ],
    space: Annotated[str, typer.Option("--space", metavar="SPACE", help="The space of the architectures.")],
    data: Data = "digits",
    models: Annotated[
        str,
        typer.Option("--with", metavar="NAME,...", help="Of 'archscout device fit --model'."),
    ] = "bayesian,linear,boosted,oneproxy,help,nasflat,gcn,lookup",
    devices: Annotated[
        list[str] | None,
        typer.Option(
            "--device", metavar="NAME", help="Whose times are predicted; all of them if not given.", show_default=False
        ),
    ] = None,
    train_sizes: Annotated[
        str, typer.Option("--train-sizes", metavar="N,...", help="Networks that are measured on a device.")
    ] = "10,50",
    repeats: Annotated[int, typer.Option("--repeats", min=1, metavar="N", help="How often, with other draws.")] = 5,
    seed: Seed = 0,
    workers: Workers = None,
    out: StudyOut = None,
    fresh: Fresh = False,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Compare latency models by what they predict of networks that they have not seen.

    The same command goes on where it was stopped. In the folder: summary.csv, rows.csv.
    """  # fmt: skip
    with studying():
        from archscout import api
        from archscout.study import latency as study
        from archscout.tasks.load import load as load_task

        the_space, task = api.space(space), load_task(data)
        times = study.read_times(file, the_space)
        contest = study.Contest(
            tuple(split_names([models])), tuple(split_names(devices or []) or times.ms),
            numbers_of(train_sizes), repeats, seed,
        )  # fmt: skip
        folder = folder_of(out, "latency", file.stem)
        rows = study.compare(
            the_space, task, times, contest, folder, workers=workers_of(workers), fresh=fresh, progress=output.tenths
        )
        entries = study.summary(rows)
        write_csv(folder, rows=rows, summary=entries)
    cells: CellTable = (
        ("model", "learned from", "devices", "within 10 %", "95 %", "rank correlation", "median error", "s"),
        [
            (
                e["model"], str(e["train"]), str(e["devices"]), f"{e['within']:.1%}",
                f"{e['within_low']:.1%} to {e['within_high']:.1%}", f"{e['kendall']:.3f}", f"{e['error']:.1%}",
                f"{e['seconds']:.2f}",
            )
            for e in entries
        ],
    )  # fmt: skip
    whole = {"networks": len(times.architectures), "summary": entries}
    answer(folder, whole, cells, last=f"{folder / 'summary.csv'}: the same as a table", as_json=as_json)
