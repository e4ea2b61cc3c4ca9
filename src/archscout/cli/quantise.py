"""`archscout quantise`: the network of a run in integers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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


def quantise(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or name.", show_default=False)],
    data: RunData = None,
    skip_bad: SkipBad = False,
    network: RunNetwork = None,
    scheme: Annotated[
        str,
        typer.Option(
            "--scheme",
            metavar="NAME",
            help="microcontroller, academic, tensorrt-like, openvino-like, snpe-like, qnn-like, ppl-cuda-like or "
            "vitis-like.",
        ),
    ] = "microcontroller",
    weight_bits: Annotated[
        int | None, typer.Option("--weight-bits", metavar="N", help="2 to 8; the scheme's if not given.")
    ] = None,
    activation_bits: Annotated[
        int | None, typer.Option("--activation-bits", metavar="N", help="2 to 8; the scheme's if not given.")
    ] = None,
    weight_bytes: Annotated[
        str | None,
        typer.Option(
            "--weight-bytes",
            metavar="SIZE",
            help="Give each layer the bits that keep all weights within so many bytes (20kB) and harm least.",
        ),
    ] = None,
    bit_operations: Annotated[
        str | None,
        typer.Option(
            "--bit-operations",
            metavar="N",
            help="The same for multiply-adds times bits of weights times bits of activations (20M), both chosen.",
        ),
    ] = None,
    latency: Annotated[
        str | None,
        typer.Option("--latency", metavar="TIME", help="The same for latency (2ms) by a table of the layers."),
    ] = None,
    latency_table: Annotated[
        Path | None,
        typer.Option(
            "--latency-table",
            metavar="FILE",
            help="CSV with the columns layer (1 is the first), weight_bits, activation_bits, ms.",
        ),
    ] = None,
    bits_method: Annotated[
        str | None,
        typer.Option(
            "--bits-method",
            metavar="NAME",
            help="How bits are chosen: hawq (the default), one_at_a_time, genetic, reinforcement, differentiable, "
            "fractional, exhaustive.",
        ),
    ] = None,
    observer: Annotated[
        str, typer.Option("--observer", metavar="NAME", help="Ranges by min_max, moving, quantile, mse or deviations.")
    ] = "mse",
    bias_correction: Annotated[
        bool, typer.Option("--bias-correction/--no-bias-correction", help="Take mean errors off the biases.")
    ] = True,
    form: Annotated[str, typer.Option("--form", metavar="NAME", help="Of the ONNX file: qdq or qoperator.")] = "qdq",
    algorithm: Algorithm = "nearest",
    epochs: AwareEpochs = None,
    recipe: HowTrained = None,
    examples: RangeExamples = 256,
    seed: Seed = 0,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Quantise the network of a finished run; what that costs in accuracy goes into its metrics."""
    folder = run_folder(run)
    with output.only_the_answer():
        import torch

        from archscout import api

        torch.set_num_threads(1)
        result = api.quantise(
            folder,
            None if data is None else readable(data, skip_bad),
            space=network,
            form=form,
            algorithm=algorithm,
            epochs=epochs,
            recipe=recipe,
            examples=examples,
            weight_bytes=weight_bytes,
            bit_operations=bit_operations,
            latency=latency,
            latency_table=latency_table,
            bits_method=bits_method,
            seed=seed,
            scheme=scheme,
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            observer=observer,
            bias_correction=bias_correction,
        )
    if as_json:
        output.print_json(result.metrics)
    else:
        output.print_text(result.summary())
