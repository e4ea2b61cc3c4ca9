"""`archscout data`: what your data are read as."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from archscout.cli import output
from archscout.cli.options import Debug, Json, Load
from archscout.core.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Your own data, looked over before anything is spent on them.")


@app.command("check")
def check(
    data: Annotated[
        str, typer.Argument(metavar="PATH|NAME", help="What --data would be, parameters included.", show_default=False)
    ],
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE", help="Write a PNG of some images of each class.", show_default=False),
    ] = None,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Show what would be read of some data: kind, classes, sizes, splits, and whatever is odd about them."""
    if sheet is not None and not sheet.parent.is_dir():
        raise UsageError(f"there is no folder '{sheet.parent}' for the contact sheet: make it, or name another file.")
    with output.only_the_answer():
        from archscout.tasks import survey

        report = survey.look(data)
        if sheet is not None:
            survey.contact_sheet(report.task, sheet)
    if as_json:
        output.print_json(report.as_json())
        return
    about = report.as_json()
    what = "classes" if "classification" in about["kind"] else "targets"
    shape, values = " x ".join(map(str, about["input_shape"])), f"{about['values'][0]:g} to {about['values'][1]:g}"
    output.print_text(
        f"{about['name']}: {about['kind']}, inputs of {shape} ({about['stored']}, values from {values}), "
        f"{len(about['classes'])} {what}, {about['bytes'] / 2**20:,.1f} MB"
    )
    output.print_table(("class", *report.splits), survey.lines(report))
    output.print_text("\n".join(f"- {oddity}" for oddity in report.oddities) or "Nothing is odd about them.")


@app.command("cache")
def cached(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of it; nothing must be running.")] = False,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Where decoded images are kept for data larger than memory, and how much of the disk they take."""
    with output.only_the_answer():
        from archscout.tasks import cache

        removed = cache.clear() if clear else 0
        size = sum(file.stat().st_size for file in cache.files())
    if as_json:
        output.print_json({"folder": str(cache.folder()), "bytes": size, "removed_bytes": removed})
    else:
        said = f", after {removed / 2**20:,.1f} MB were removed" if clear else ""
        output.print_text(f"{cache.folder()}: {size / 2**20:,.1f} MB{said}")
