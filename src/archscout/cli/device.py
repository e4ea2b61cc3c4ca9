"""`archscout device add`: a device of your own, from measurements made on it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archscout.cli import output
from archscout.cli.options import Debug, Json, Load, Seed
from archscout.core.errors import UsageError

if TYPE_CHECKING:
    from archscout.core.estimator import Setting
    from archscout.costs.add_device import Added

app = typer.Typer(
    name="device",
    help="Add devices of your own ('archscout list devices' shows all).",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
)


@app.callback()
def device() -> None:
    """Add devices of your own ('archscout list devices' shows all)."""


@app.command("add", short_help="Add a device from times measured on it.")
def add(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What to call it: --max latency@NAME=20ms.", show_default=False)
    ],
    space: Annotated[
        str | None, typer.Option("--space", metavar="NAME", help="The space whose networks are measured.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="NAME|PATH", help="The data whose shape their inputs have.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="PATH",
            help="Written, to be carried to the device (a folder or .zip); read with --times.",
        ),
    ] = None,
    times: Annotated[
        Path | None, typer.Option("--times", metavar="CSV", help="The times that came back from the device.")
    ] = None,
    here: Annotated[bool, typer.Option("--here", help="The device is this machine: measure now.")] = False,
    networks: Annotated[int, typer.Option("--networks", min=3, metavar="N", help="Networks to measure.")] = 20,
    runtime: Annotated[
        str, typer.Option("--runtime", metavar="NAME", help="With --here: torch or onnxruntime.")
    ] = "onnxruntime",
    precision: Annotated[str, typer.Option("--precision", metavar="NAME", help="float32 or int8.")] = "float32",
    batch: Annotated[int, typer.Option("--batch", min=1, metavar="N", help="Examples a run.")] = 1,
    threads: Annotated[int, typer.Option("--threads", min=1, metavar="N", help="Threads of the runtime.")] = 1,
    seed: Seed = 0,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Add a device of your own: measured here (--here), or elsewhere in two steps (--bundle, then --bundle --times).

    Step one writes a bundle of ONNX files with a script that measures them; step two reads the times that it brought
    back. The device then has a latency cost of its own: --max latency@NAME=20ms, archscout measure --device NAME.
    """
    with output.only_the_answer():
        from archscout.costs import add_device, devices
        from archscout.costs import bundle as bundles
        from archscout.costs.latency import Latency

        devices.check_name(name)
        measured = Latency(runtime=runtime, precision=precision, batch=batch, threads=threads)
        conditions = {"runtime": runtime, "precision": precision, "batch": batch, "threads": threads}
        added: Added | None = None
        if here:
            added = add_device.from_here(name, _setting(space, data, seed), networks, measured)
        elif times is not None:
            known: tuple[str, ...] = ()
            if bundle is not None:
                carried = bundles.read(bundle)
                setting, conditions, known = carried.setting(), dict(carried.conditions), carried.architectures
            else:
                setting = _setting(space, data, seed)
            architectures, ms = bundles.read_times(times, setting.space, known)
            added = add_device.from_times(name, setting, architectures, ms, conditions)
        elif bundle is not None:
            if runtime != "onnxruntime":
                raise UsageError("a bundle is measured by ONNX Runtime: leave --runtime out, or measure --here.")
            setting = _setting(space, data, seed)
            chosen = add_device.choose(setting, networks)
            bundles.write(name, bundle, setting, chosen, conditions)
        else:
            raise UsageError(
                "say where the device is: --here for this machine, --bundle PATH to write what is to be measured "
                "elsewhere, or --bundle PATH --times CSV with the times that came back."
            )
    if added is None:
        _say_what_next(name, bundle, networks, as_json)
    else:
        _say_what_is_known(name, added, as_json)


@app.command("fit", short_help="Choose what predicts the latency of a device.")
def fit(
    name: Annotated[str, typer.Argument(metavar="DEVICE", help="A device of your own.", show_default=False)],
    space: Annotated[str | None, typer.Option("--space", metavar="NAME", help="The space it has measured.")] = None,
    data: Annotated[str | None, typer.Option("--data", metavar="NAME|PATH", help="The data it has measured.")] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="NAMES",
            help="bayesian, boosted, gcn, help, linear, lookup, nasflat, oneproxy; several, with commas between them, "
            "are compared, and the best is taken.",
        ),
    ] = "bayesian",
    compare: Annotated[bool, typer.Option("--compare", help="Only compare: the device stays as it is.")] = False,
    seed: Seed = 0,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Compare models of a device's latency on its own measurements, and let the best predict from now on.

    Each measured network is predicted by a model that was fitted to four fifths of the others. HELP, NASFLAT and
    OneProxy learn from the other devices that know these networks; a lookup table measures layers on this machine.
    """
    with output.only_the_answer():
        from archscout.cli.options import split_names
        from archscout.costs import add_device

        setting = _setting(space, data, seed)
        checks = [add_device.check_model(name, setting, each) for each in split_names([model])]
        best = min(checks, key=lambda each: each.error)
        file = None if compare else add_device.use(name, setting, best)
    if as_json:
        rows = [dataclasses.asdict(each) for each in checks]
        output.print_json({"device": name, "checks": rows, "taken": None if compare else best.model})
        return
    output.print_table(
        ("model", "median error", "within 10 %"),
        [(each.model, f"{100 * each.error:.1f} %", f"{100 * each.within:.0f} %") for each in checks],
    )
    if file is not None:
        output.print_text(f"Device '{name}' is predicted by '{best.model}' from now on: '{file}'.")


def _setting(space: str | None, data: str | None, seed: int) -> Setting:
    if space is None or data is None:
        raise UsageError("give --space and --data: a device knows the latency of a space's networks on such inputs.")
    from archscout import api
    from archscout.core.estimator import Setting

    searched, task = api.space(space), api.task(data).sealed()
    searched.check_task(task)
    return Setting(searched, task, seed=seed)


def _say_what_next(name: str, bundle: Path | None, networks: int, as_json: bool) -> None:
    if as_json:
        output.print_json({"device": name, "bundle": str(bundle), "networks": networks})
        return
    output.print_text(
        f"'{bundle}' holds {networks} networks: carry it to the device, run 'python measure.py' in it (it needs "
        "onnxruntime and numpy), bring times.csv back, and run\n\n"
        f"    archscout device add {name} --bundle {bundle} --times times.csv"
    )


def _say_what_is_known(name: str, added: Added, as_json: bool) -> None:
    if as_json:
        output.print_json(
            {
                "device": name,
                "file": str(added.file),
                "measured": added.measured,
                "left_out": added.left_out,
                "median_error": added.error,
                "within_interval": added.covered,
            }
        )
        return
    text = f"Device '{name}' is added, from {added.measured} networks measured"
    text += f" ({added.left_out} more did not settle and were left out)" if added.left_out else ""
    text += f": '{added.file}'."
    if math.isfinite(added.error):
        text += (
            f" Each predicted from the others, half of them are within {100 * added.error:.1f} % of what was measured, "
            f"and {100 * added.covered:.0f} % lie in their 90 % interval."
        )
    output.print_text(text + f"\nUse it: --max latency@{name}=20ms, or archscout measure ... --device {name}.")
