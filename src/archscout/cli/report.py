"""`archscout report`: the page about a run."""

from __future__ import annotations

from typing import Annotated

import typer

from archscout.cli import output
from archscout.cli.options import Debug, Json, Load, run_folder


def report(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's folder, or its name in runs/.", show_default=False)
    ],
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Write the report page of a run again, and say where it lies."""
    folder = run_folder(run)
    with output.only_the_answer():
        from archscout.report.page import write

        page = write(folder)
        if open_page:
            import webbrowser

            if not webbrowser.open(page.resolve().as_uri()):
                output.say("No browser could be opened here.")
    if as_json:
        output.print_json({"report": page})
    else:
        output.print_text(page)
