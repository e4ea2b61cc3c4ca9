"""`archscout deploy`: the network of a run as C code for a microcontroller."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from archscout.cli import output
from archscout.cli.options import (
    Algorithm,
    AwareEpochs,
    Debug,
    HowTrained,
    Json,
    Load,
    RangeExamples,
    RunData,
    RunNetwork,
    Seed,
    SkipBad,
    readable,
    run_folder,
)


def deploy(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or name.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder for the code: new, or an earlier export.")
    ],
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME",
            help="A microcontroller of 'archscout list devices', as cortex-m4; by default the one of the search.",
            show_default=False,
        ),
    ] = None,
    data: RunData = None,
    skip_bad: SkipBad = False,
    network: RunNetwork = None,
    algorithm: Algorithm = "nearest",
    epochs: AwareEpochs = None,
    recipe: HowTrained = None,
    examples: RangeExamples = 256,
    vectors: Annotated[int, typer.Option("--vectors", min=1, metavar="N", help="Examples of the self-test.")] = 8,
    patches: Annotated[
        int,
        typer.Option(
            "--patches",
            metavar="N",
            help="Run the first operators in N by N patches (2 to 8): less memory, more instructions.",
        ),
    ] = 0,
    seed: Seed = 0,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Write the network of a run as C99 in integers of 8 bits, with a self-test and what it takes of the device."""
    folder = run_folder(run)
    with output.only_the_answer():
        import torch

        from archscout import api

        torch.set_num_threads(1)
        budget = api.deploy(
            folder,
            device,
            out,
            None if data is None else readable(data, skip_bad),
            space=network,
            algorithm=algorithm,
            epochs=epochs,
            recipe=recipe,
            examples=examples,
            vectors=vectors,
            patches=patches,
            seed=seed,
        )
    for what, reason in budget["missing"].items():
        output.say(f"Note: no {what}: {reason}.")
    if as_json:
        output.print_json(budget)
        return
    output.print_table(("", "", ""), _rows(budget))
    output.print_table(
        ("device", "verdict", "flash", "memory"),
        [
            (name, verdict["verdict"], f"{verdict['flash_share']:.0%}", f"{verdict['sram_share']:.0%}")
            for name, verdict in budget["verdicts"].items()
        ],
    )
    output.print_text(
        f"in {out}: 'make' runs the self-test on this machine, 'make count' on a {budget['core']} in QEMU"
    )


def _rows(budget: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    counted = budget["counted"]
    rows = [
        ("flash", f"{budget['flash_bytes']:,} bytes", "counted" if counted["flash_bytes"] else "estimated"),
        ("memory", f"{budget['sram_bytes']:,} bytes", f"{budget['stack_bytes']:,} of them stack"),
    ]
    if budget["instructions"] is not None:
        rows.append(("instructions", f"{budget['instructions']:,}", f"for {budget['macs']:,} multiply-adds"))
    if (patches := budget["patches"]) is not None:
        said = (
            f"{patches['arena_bytes_without']:,} bytes of memory without, {patches['extra_macs']:,} multiply-adds more"
        )
        rows.append(("patches", f"{patches['side']} x {patches['side']}, {patches['operators']} operators", said))
    rows += [
        (key.replace("_", " "), f"{value:.4f}", "in integers")
        for key, value in budget.items()
        if key.startswith(("valid_", "test_"))
    ]
    return rows
