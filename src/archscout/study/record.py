"""The jobs of a study, and what they have found so far: a file to which each finished job adds one line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from archscout.core.errors import ArchscoutError, DataError, UsageError
from archscout.core.identity import differences, sentence, set_aside
from archscout.workers.engines import engine


class Record:
    """The finished jobs of a study: `rows.jsonl` in its folder, and `study.json`, which says what was asked.

    A line that was cut off when a study was stopped is done again. With `fresh`, a study that the folder holds is set
    aside first. Raises `UsageError` for a folder that holds another study, `DataError` for one whose files are damaged.
    """

    def __init__(self, folder: Path, setting: Mapping[str, Any], fresh: bool = False) -> None:
        if fresh and (folder / "study.json").is_file():
            set_aside(folder)
        setting = json.loads(json.dumps(setting))
        self.file = folder / "rows.jsonl"
        self.done: dict[tuple[str, int], list[dict[str, Any]]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        begun = folder / "study.json"
        if begun.is_file():
            try:
                before = json.loads(begun.read_text(encoding="utf-8"))
            except ValueError as error:
                raise DataError(f"'{begun}' is damaged ({error}): give another --out.") from error
            if before != setting:
                raise UsageError(
                    f"'{folder}' holds a study that was begun with {sentence(differences(before, setting))}: give "
                    "another --out, or --fresh to set it aside."
                )
        else:
            begun.write_text(json.dumps(setting, indent=2) + "\n", encoding="utf-8")
        self._read()

    def _read(self) -> None:
        if not self.file.is_file():
            return
        whole = []
        for line in self.file.read_text(encoding="utf-8").splitlines(keepends=True):
            try:
                name, repeat, rows = json.loads(line)
            except ValueError:
                continue
            self.done[name, repeat] = [{k: math.nan if v is None else v for k, v in row.items()} for row in rows]
            whole.append(line if line.endswith("\n") else line + "\n")
        self.file.write_text("".join(whole), encoding="utf-8")

    def add(self, name: str, repeat: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep what a job found; it is in the file when this returns."""
        plain = [{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in r.items()} for r in rows]
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps([name, repeat, plain]) + "\n")
        self.done[name, repeat] = [dict(row) for row in rows]


def carry_out(
    record: Record,
    jobs: Sequence[tuple[str, int]],
    payload: Any,
    measure: Callable[[Any, str, int], list[dict[str, Any]]],
    workers: int,
    progress: Callable[[int, int], None],
) -> None:
    """Do the jobs (a name and the number of a repeat each) that the record does not have: `measure(payload, *job)`.

    Raises `ArchscoutError`, naming it, for the first that fails.
    """
    missing = iter([job for job in jobs if job not in record.done])
    progress(sum(job in record.done for job in jobs), len(jobs))
    running: dict[Future[Any], tuple[str, int]] = {}
    # One thread here too, as in the workers: sums of more threads are rounded otherwise.
    with threadpool_limits(1), engine("local", workers, payload) as pool:
        while True:
            while len(running) < max(1, 2 * workers) and (job := next(missing, None)) is not None:
                running[pool.submit(measure, *job)] = job
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name, repeat = running.pop(future)
                try:
                    record.add(name, repeat, future.result())
                except ArchscoutError as error:
                    raise ArchscoutError(f"'{name}' failed in repeat {repeat}: {error}") from error
                progress(sum(job in record.done for job in jobs), len(jobs))
