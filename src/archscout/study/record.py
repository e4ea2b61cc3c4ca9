"""The jobs of a study, and what they have found so far: a file to which each finished job adds one line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from archscout.core import options
from archscout.core.errors import ArchscoutError, DataError, UsageError
from archscout.core.files import append_line, read_json, write_text
from archscout.core.identity import differences, identity, sentence, set_aside
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.store.lock import run_lock
from archscout.workers.engines import engine

_INPUTS = "inputs"
_ANOTHER = "give another --out, or --fresh to set it aside"


class Record:
    """The finished jobs of a study: `rows.jsonl` in its folder, and `study.json`, which says what was asked.

    A line that was cut off when a study was stopped is done again. Raises `UsageError` for a folder that holds another
    study, `DataError` for one whose files are damaged.
    """

    def __init__(self, folder: Path, setting: Mapping[str, Any], inputs: Mapping[str, str] | None = None) -> None:
        asked: dict[str, Any] = json.loads(json.dumps(setting))
        self.file = folder / "rows.jsonl"
        self.done: dict[tuple[str, int], list[dict[str, Any]]] = {}
        self._read()
        begun = folder / "study.json"
        before = None
        if begun.is_file():
            try:
                before = read_json(begun, "give another --out.")
            except DataError:
                if self.done:
                    raise
        if isinstance(before, dict):
            known = before.pop(_INPUTS, None)
            if before != asked:
                differing = sentence(differences(before, asked))
                raise UsageError(f"'{folder}' holds a study that was begun with {differing}: {_ANOTHER}.")
            if isinstance(known, dict):
                before[_INPUTS] = known
                self._check_inputs(folder, known, inputs or {})
                inputs = {**known, **(inputs or {})}
        if inputs is not None:
            asked[_INPUTS] = dict(inputs)
        if before != asked:  # none yet, one that was cut off before any job was done, or of fewer contenders
            write_text(begun, json.dumps(asked, indent=2) + "\n")

    @classmethod
    @contextmanager
    def open(
        cls, folder: Path, setting: Mapping[str, Any], fresh: bool = False, inputs: Mapping[str, str] | None = None
    ) -> Iterator[Record]:
        """The record in a folder, for this process alone while the block runs.

        With `fresh`, a study that the folder holds is set aside first. `inputs` has a digest of what each contender
        gets, where that comes from elsewhere (files of scores, say): contenders may be added, but not change. Raises
        `ArchscoutError` where it cannot be written any more; what is finished stays.
        """
        folder = options.path(folder, "the folder of the study")
        if options.switch(fresh, "fresh") and (folder / "study.json").is_file():
            with run_lock(folder, "study"):  # not while another writes to it
                pass
            set_aside(folder)
        with run_lock(folder, "study"):
            try:
                yield cls(folder, setting, inputs)
            except OSError as error:
                raise ArchscoutError(
                    f"the study in '{folder}' cannot be written ({error.strerror or error}): free some space; the same "
                    "command goes on from the jobs that are finished."
                ) from error

    def _check_inputs(self, folder: Path, before: Mapping[str, Any], now: Mapping[str, str]) -> None:
        measured = {name for name, _ in self.done}
        changed = [name for name in now if name in measured and before.get(name, now[name]) != now[name]]
        if changed:
            raise UsageError(
                f"'{folder}' holds measurements of '{changed[0]}' from other values (scores, curves or features): "
                f"{_ANOTHER}."
            )

    def _read(self) -> None:
        if not self.file.is_file():
            return
        for line in self.file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                name, repeat, rows = json.loads(line)
                self.done[name, repeat] = [{k: math.nan if v is None else v for k, v in row.items()} for row in rows]
            except (ValueError, TypeError, AttributeError, RecursionError):  # cut off, or damaged: done again
                continue

    def forget(self, damaged: Callable[[dict[str, Any]], bool], jobs: Iterable[tuple[str, int]]) -> None:
        """Take those of the jobs for undone that have a damaged row; the file stays as it is."""
        for job in jobs:
            if any(damaged(row) for row in self.done.get(job, ())):
                del self.done[job]

    def add(self, name: str, repeat: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep what a job found; it is on the disk when this returns. Raises `OSError`."""
        plain = [{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in r.items()} for r in rows]
        append_line(self.file, json.dumps([name, repeat, plain]))
        self.done[name, repeat] = [dict(row) for row in rows]


def _fits(value: Any, kind: type) -> bool:
    """Whether a value of a row is of the type of its column; what is undefined is a number, too."""
    if kind is dict:
        return isinstance(value, dict) and all(_fits(each, float) for each in value.values())
    if kind in (int, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind)


def setting_of(
    space: Space, task: Task, study: str, plan: Mapping[str, Any], open_lists: Sequence[str]
) -> dict[str, Any]:
    """What the rows of a study are of, which may not change when it is gone on with.

    Args:
        space: of the networks.
        task: what is trained on.
        study: its kind.
        plan: what is compared. More repeats may be asked for later.
        open_lists: what of the plan may be made longer later.
    """
    setting = identity(space, task, **{**plan, "study": study, **{name: [] for name in open_lists}})
    setting.pop("repeats")
    return setting


def carry_out(
    record: Record,
    jobs: Sequence[tuple[str, int]],
    payload: Any,
    measure: Callable[[Any, str, int], list[dict[str, Any]]],
    workers: int,
    progress: Callable[[int, int], None],
    columns: Mapping[str, type] | None = None,
) -> list[dict[str, Any]]:
    """Do the jobs (a name and the number of a repeat each) that the record does not have: `measure(payload, *job)`.

    Jobs of which a row lacks one of the `columns`, or has a value of another type there, are done again: a file that
    was edited or damaged. The values of a column of dictionaries are numbers.

    Returns the rows of all of them, in the order of the jobs. Raises `ArchscoutError` for the first that fails, naming
    it.
    """
    record.forget(lambda row: not all(_fits(row.get(name), kind) for name, kind in (columns or {}).items()), jobs)
    missing = iter([job for job in jobs if job not in record.done])
    progress(sum(job in record.done for job in jobs), len(jobs))
    running: dict[Future[Any], tuple[str, int]] = {}
    failed: ArchscoutError | None = None
    # One thread here too, as in the workers: sums of more threads are rounded otherwise.
    with threadpool_limits(1), engine("local", workers, payload) as pool:
        while True:
            # After a failure nothing new is begun, but what others are about to finish is kept.
            while not failed and len(running) < max(1, 2 * workers) and (job := next(missing, None)) is not None:
                running[pool.submit(measure, *job)] = job
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name, repeat = running.pop(future)
                try:
                    record.add(name, repeat, future.result())
                except ArchscoutError as error:
                    failed = failed or ArchscoutError(f"'{name}' failed in repeat {repeat}: {error}")
                    failed.__cause__ = failed.__cause__ or error
                progress(sum(job in record.done for job in jobs), len(jobs))
    if failed:
        raise failed
    return [row for job in jobs for row in record.done[job]]
