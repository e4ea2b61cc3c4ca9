"""What every study command begins and ends with: its folder, its CSV files, and the answer as tables or as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from archscout.cli import output
from archscout.core.files import write_text
from archscout.core.options import folder_name

CellTable = tuple[Sequence[str], Sequence[Sequence[object]]]
"""Headings, and a row of cells for each entry."""


@contextmanager
def studying() -> Iterator[None]:
    """While the block works, stdout is kept for the answer; a stop says that the same command goes on."""
    with output.only_the_answer(), output.resumable("the same command goes on."):
        yield


def folder_of(out: Path | None, kind: str, subject: str) -> Path:
    """Where a study lies: the folder that was named, or one in `runs` by the kind of study and what it is about."""
    return out or Path("runs") / folder_name(f"study-{kind}-{subject}")


def write_csv(folder: Path, **files: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as `NAME.csv` into the folder, for each name."""
    from archscout.study.summary import as_csv

    for name, rows in files.items():
        write_text(folder / f"{name}.csv", as_csv(rows))


def answer(folder: Path, about: Mapping[str, Any], *tables: CellTable, last: str, as_json: bool) -> None:
    """The answer of a study: one JSON object with the folder under `out`, or tables with one sentence after them."""
    if as_json:
        output.print_json({"out": folder, **about})
        return
    for headings, rows in tables:
        output.print_table(headings, rows)
        output.print_text("")
    output.print_text(last)
