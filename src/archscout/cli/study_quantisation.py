"""`archscout study quantisation`: a grid of ways to make networks integers."""

from __future__ import annotations

from typing import Annotated

import typer

from archscout.cli import output
from archscout.cli.options import (
    Data,
    Debug,
    Fresh,
    Json,
    Load,
    RangeExamples,
    Seed,
    StudyOut,
    Workers,
    split_names,
)
from archscout.cli.studies import CellTable, answer, folder_of, studying, write_csv
from archscout.core.options import workers as workers_of


def quantisation(
    data: Data = "digits",
    space: Annotated[str, typer.Option("--space", metavar="SPACE", help="The space of the architectures.")] = "classic",
    architectures: Annotated[
        list[str] | None,
        typer.Option(
            "--architecture",
            metavar="ARCH",
            show_default=False,
            help="An architecture as text, or a reference design; may be given several times. resnet8 and "
            "a depthwise network of space classic if not given.",
        ),
    ] = None,
    schemes: Annotated[
        str,
        typer.Option(
            "--schemes",
            metavar="NAME,...",
            help="Of 'archscout quantise --scheme'; 'papers' leaves sums and first and last layer out.",
        ),
    ] = "microcontroller,academic,papers",
    algorithms: Annotated[
        str, typer.Option("--with", metavar="NAME,...", help="Of 'archscout quantise --algorithm'.")
    ] = "nearest,adaround,qdrop,lsq",
    bits: Annotated[
        str,
        typer.Option("--bits", metavar="wNaN,...", help="Of weights and activations; at w8a8 only 'nearest' is tried."),
    ] = "w8a8,w4a4,w3a8",
    epochs: Annotated[int, typer.Option("--epochs", min=1, metavar="N", help="Of the trainings in float.")] = 12,
    aware_epochs: Annotated[
        int, typer.Option("--aware-epochs", min=1, metavar="N", help="Of quantisation-aware trainings.")
    ] = 3,
    examples: RangeExamples = 256,
    repeats: Annotated[int, typer.Option("--repeats", min=1, metavar="N", help="Trainings of each network.")] = 3,
    seed: Seed = 0,
    workers: Workers = None,
    out: StudyOut = None,
    fresh: Fresh = False,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Train networks, quantise each in every way, and compare what that costs on the test split.

    The same command goes on where it was stopped. In the folder: report.html, summary.csv, rows.csv.
    """  # fmt: skip
    with studying():
        import archscout
        from archscout import api
        from archscout.report import study as page
        from archscout.study import quantisation as study
        from archscout.tasks.load import load as load_task

        task = load_task(data)
        grid = study.Grid(
            tuple(architectures or study.USUAL), tuple(split_names([schemes])), tuple(split_names([algorithms])),
            tuple(split_names([bits])), repeats, epochs, aware_epochs, examples, seed,
        )  # fmt: skip
        folder = folder_of(out, "quantisation", task.name)
        rows = study.compare(
            api.space(space), task, grid, folder, workers=workers_of(workers), fresh=fresh, progress=output.tenths
        )
        entries = study.summary(rows)
        write_csv(folder, rows=rows, summary=entries)
        about = {
            "data": task.name, "space": space, "metric": str(task.metric), "repeats": repeats, "seed": seed,
            "epochs": epochs, "quantisation-aware epochs": aware_epochs, "examples": examples,
        }  # fmt: skip
        written = page.write_quantisation(folder, about=about, entries=entries, version=archscout.__version__)
    cells: CellTable = (
        ("architecture", "scheme", "bits", "algorithm", "float", "integers", "lost", "95 %", "s"),
        [
            (
                e["architecture"], e["scheme"], e["bits"], e["algorithm"], f"{e['float']:.4f}", f"{e['value']:.4f}",
                f"{e['lost']:.2f}", f"{e['lost_low']:.2f} to {e['lost_high']:.2f}", f"{e['seconds']:.1f}",
            )
            for e in entries
        ],
    )  # fmt: skip
    whole = {"report": written, **about, "summary": entries}
    answer(folder, whole, cells, last=f"{written}: the page about it", as_json=as_json)
