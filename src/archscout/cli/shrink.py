"""`archscout shrink`: from a trained network, data and limits to a smaller trained network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from archscout.cli import output
from archscout.cli.options import Data, Debug, Device, HowTrained, Json, Load, Out, Seed
from archscout.cli.options import limits as read_limits


def shrink(
    network: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK",
            help="A backbone ('archscout list backbones'), or package.module:factory of a network of your own.",
            show_default=False,
        ),
    ],
    data: Data,
    maximum: Annotated[
        list[str] | None,
        typer.Option(
            "--max", metavar="COST=VALUE", help="A limit, absolute or a share: latency=10ms, params=60%. Repeatable."
        ),
    ] = None,
    limits: Annotated[
        str | None,
        typer.Option("--limits", metavar="MS,...", help="Several latency limits: one network each (5ms,10ms,20ms)."),
    ] = None,
    budget: Annotated[str, typer.Option("--budget", metavar="TIME", help="Everything included: 5m, 1h.")] = "10m",
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="FILE", help="Weights for the network: .safetensors, or .pth of tensors."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            "--size", min=32, metavar="N", help="Pixels a side that a backbone gets; by time and limits if not given."
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="LAYER", help="Cut nothing but this layer. Repeatable.")
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option("--keep", metavar="LAYER", help="Do not cut this layer. Repeatable.")
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels/--no-labels", help="Whether labels count, or the original alone teaches.")
    ] = True,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Replace blocks by single convolutions (trained wide, then collapsed); cut no channels."
        ),
    ] = False,
    recipe: HowTrained = None,
    seed: Seed = 0,
    device: Device = "cpu",
    name: Annotated[
        str | None, typer.Option("--name", metavar="RUN", help="The run's name; made from the rest if not given.")
    ] = None,
    out: Out = Path("runs"),
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Start from a trained network: transfer it to your data, cut it to measured limits, recover, export.

    The same command goes on where a run was stopped; with a larger budget, a finished one is trained further.
    """
    with output.only_the_answer(), output.resumable("the same command goes on where it stopped."):
        from archscout import api
        from archscout.cli.progress import progress

        shown = progress()
        try:
            maximums = read_limits(maximum or ())
            options: dict[str, Any] = {
                "budget": budget, "weights": weights, "size": size, "only": only or (), "keep": keep or (),
                "labels": labels, "replace": replace, "recipe": recipe, "seed": seed, "device": device,
                "name": name, "out": out, "progress": shown,
            }  # fmt: skip
            if limits is None:
                results = [api.shrink(network, data, maximum=maximums, **options)]
            else:
                results = api.shrink_front(network, data, limits.split(","), maximum=maximums, **options)
        finally:
            shown.close()
    if as_json:
        metrics = [dict(result.metrics) for result in results]
        output.print_json(metrics[0] if limits is None else metrics)
    else:
        parts = [result.summary() for result in results]
        if limits is not None:
            from archscout.shrink.front import front_table

            parts.append(front_table([each.strip() for each in limits.split(",") if each.strip()], results))
        output.print_text("\n\n".join(parts))
