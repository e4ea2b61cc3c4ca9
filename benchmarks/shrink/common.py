"""What the benchmarks of trained starts have in common: rows in docs/results/shrink.json, progress as lines."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archscout.core.files import write_text
from benchmarks.common import RESULTS, machine

FILE = RESULTS / "shrink.json"


class Lines:
    """Progress of a run as lines, each with the processor seconds since it began."""

    def __init__(self) -> None:
        self.began = time.process_time()

    def say(self, text: str) -> None:
        print(f"{time.process_time() - self.began:7.1f}  {text}", flush=True)

    def update(self, phase: str, done: float, total: object, best: float | None, left: float | None) -> None:
        self.say(f"{phase}: {done:g}, {best}")

    def close(self) -> None:
        pass


def read(file: Path = FILE) -> list[dict[str, Any]]:
    """The rows that are there."""
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    return rows


def add(kind: str, row: Mapping[str, Any], file: Path = FILE) -> None:
    """Add a row, with the machine's name and how busy it was."""
    rows = [*read(file), {"kind": kind, **row, "conditions": machine()}]
    write_text(file, json.dumps(rows, indent=1) + "\n")
