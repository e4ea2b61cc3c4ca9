"""`archscout ask` and `archscout tell`: a search whose evaluations another program makes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from archscout.cli import output
from archscout.cli.options import Debug, Json, Load, Out, Start, split_names

RunName = Annotated[str, typer.Argument(metavar="RUN", help="The name of the run.", show_default=False)]


def ask(
    run: RunName,
    space: Annotated[
        str | None,
        typer.Option("--space", metavar="NAME", help="What is searched; the first time.", show_default=False),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy", metavar="NAME", help="Who proposes; the first time. Default: surrogate.", show_default=False
        ),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            "--objective", metavar="KEY", help="A cost that is told, to keep low besides the value. Repeatable."
        ),
    ] = None,
    start: Start = None,
    count: Annotated[int, typer.Option("--count", min=1, metavar="N", help="So many, to be tried side by side.")] = 1,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, metavar="N", help="Of all random decisions; the first time. Default: 0."),
    ] = None,
    out: Out = Path("runs"),
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Ask which architectures to try next, in a search whose evaluations you make yourself.

    The first question begins the run, and says the space. Tell what came of a trial with 'archscout tell'.
    """
    with output.only_the_answer():
        from archscout.search import asking
        from archscout.store.folder import check_name

        check_name(run)
        proposals = asking.ask(
            out / run,
            space=space,
            strategy=strategy,
            seed=seed,
            objectives=split_names(objective or ()),
            start=start,
            count=count,
        )
    if as_json:
        output.print_json(proposals)
    else:
        for proposal in proposals:
            output.print_text(f"{proposal['trial']} {proposal['architecture']}")


def tell(
    run: RunName,
    answers: Annotated[
        str,
        typer.Argument(
            metavar="JSON",
            help='What came of it: \'{"trial": 0, "value": 0.91, "costs": {"params": 1200}}\', \'{"trial": 1, '
            '"failed": "out of memory"}\', a list of such, or - for stdin. "architecture" in place of "trial" tells '
            "of one that was not asked for.",
            show_default=False,
        ),
    ],
    out: Out = Path("runs"),
    as_json: Json = False,
    load: Load = None,
    debug: Debug = False,
) -> None:
    """Tell what came of trials that 'archscout ask' proposed, or of architectures of your own."""
    with output.only_the_answer():
        from archscout.search import asking
        from archscout.store.folder import check_name

        check_name(run)
        state = asking.tell(out / run, asking.parse_answers(sys.stdin.read() if answers == "-" else answers))
    if as_json:
        output.print_json(state)
    else:
        output.print_text(f"{state['completed']} of {state['trials']} trials completed, {state['under_way']} under way")
        if state["best"]:
            output.print_text(f"best so far {output.number(state['best']['value'])}: {state['best']['architecture']}")
