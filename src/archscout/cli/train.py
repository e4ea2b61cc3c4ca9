"""`archscout train`: one architecture, trained in full and exported as a search does it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archscout.cli import output
from archscout.cli.options import (
    ArchitectureText,
    Data,
    Debug,
    Device,
    Fresh,
    HowTrained,
    Json,
    Load,
    Metric,
    Out,
    Precision,
    Seed,
    SkipBad,
    SpaceName,
    check_precision,
    readable,
)


def train(
    space: SpaceName,
    arch: ArchitectureText,
    data: Data,
    skip_bad: SkipBad = False,
    metric: Metric = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, metavar="N", help="Epochs of training; the task's if not given."),
    ] = None,
    recipe: HowTrained = None,
    seed: Seed = 0,
    device: Device = "cpu",
    name: Annotated[
        str | None, typer.Option("--name", metavar="RUN", help="The run's name; made from the rest if not given.")
    ] = None,
    out: Out = Path("runs"),
    precision: Precision = "float32",
    fresh: Fresh = False,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Train one architecture; network, ONNX file, metrics and report lie where a search would put them."""
    in_integers = check_precision(precision)
    with output.only_the_answer(), output.resumable("the same command goes on from the last finished epoch."):
        from archscout import api
        from archscout.cli.progress import progress

        shown = progress()
        try:
            result = api.train(
                space,
                arch,
                readable(data, skip_bad, metric),
                epochs=epochs,
                recipe=recipe,
                seed=seed,
                out=out,
                name=name,
                device=device,
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
