"""What the benchmarks share: where results lie, arguments, result files with one row a line, the machine.

A benchmark is run from the root of the repository, as `python -m benchmarks.FOLDER.NAME`. Its result is one JSON file
in `docs/results/`; where there is a page, a script beside it writes the page from that file.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archscout.core.files import write_text
from archscout.costs.machine import conditions

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser that shows the docstring of the script as it is written."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def machine() -> dict[str, Any]:
    """What figures depend on besides the seed: processor, versions, one thread, and how busy the machine is now."""
    return {**conditions(1, "cpu"), "load": round(os.getloadavg()[0], 1), "nice": os.nice(0)}


def read_result(file: Path) -> dict[str, Any]:
    """A result file; empty where there is none."""
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return result


def write_result(file: Path, result: Mapping[str, Any]) -> None:
    """Write a result whole or not at all: a line for each entry, and for each row of a list of rows."""
    write_text(
        file, "{\n" + ",\n".join(f"{json.dumps(key)}: {_entry(value)}" for key, value in result.items()) + "\n}\n"
    )


def _entry(value: Any) -> str:
    if isinstance(value, list | tuple) and value and all(isinstance(row, Mapping) for row in value):
        return "[\n" + ",\n".join(json.dumps(row) for row in value) + "\n]"
    return json.dumps(value)


class Rows:
    """Rows of a result file, which is written after each: a benchmark that was stopped goes on where it was.

    `about` stands before the rows. Of two rows with the same values of `keys` the later one counts; without keys all
    stay. `sort` has the file in the order of the keys, not in that of the measurements.
    """

    def __init__(
        self,
        file: Path,
        keys: Sequence[str] = (),
        about: Mapping[str, Any] | None = None,
        sort: bool = False,
    ) -> None:
        self.file, self.keys, self.about, self.sort = file, tuple(keys), dict(about or {}), sort
        self.rows: list[dict[str, Any]] = read_result(file).get("rows", [])

    def has(self, **values: Any) -> bool:
        """Whether a row with these values is there."""
        return any(all(row.get(key) == value for key, value in values.items()) for row in self.rows)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row, in place of the one with the same keys, write the file, and print the plain values of the row."""
        if self.keys:
            self.rows = [other for other in self.rows if any(other.get(key) != row.get(key) for key in self.keys)]
        self.rows.append(dict(row))
        if self.sort:
            self.rows.sort(key=lambda row: tuple(row[key] for key in self.keys))
        write_result(self.file, {**self.about, "rows": self.rows})
        print({key: value for key, value in row.items() if isinstance(value, int | float | str)}, flush=True)
