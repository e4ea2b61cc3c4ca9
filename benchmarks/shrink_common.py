"""What the benchmarks of trained starts have in common: rows in docs/results/shrink.json, progress as lines."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archscout.core.files import write_text
from archscout.costs.machine import conditions

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "shrink.json"


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


def read(file: Path = RESULTS) -> list[dict[str, Any]]:
    """The rows that are there."""
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    return rows


def add(kind: str, row: Mapping[str, Any], file: Path = RESULTS) -> None:
    """Add a row, with the machine's name and how busy it was."""
    about = {**conditions(1, "cpu"), "load": round(os.getloadavg()[0], 1), "nice": os.nice(0)}
    rows = [*read(file), {"kind": kind, **row, "conditions": about}]
    write_text(file, json.dumps(rows, indent=1) + "\n")
