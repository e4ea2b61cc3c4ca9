"""Scores of many architectures, written row by row to a CSV file from which an interrupted scoring goes on.

A score depends on the architecture, the setting and the estimator alone, so the values are the same for any number of
workers and after any interruption. Rows are in the order of the architectures. Beside the file `scores.csv` lies
`scores.csv.json`, which says how it was made; another setting does not continue it.
"""

from __future__ import annotations

import csv
import io
import math
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archscout.core import options
from archscout.core.architecture import Architecture
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.estimator import Estimator, Setting
from archscout.core.files import read_json, write_json, write_text
from archscout.core.identity import differences, identity, sentence, set_aside
from archscout.core.listed import at_hand
from archscout.core.progress import Progress
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.core.trial import Estimate
from archscout.estimators.zero_cost import harness
from archscout.workers.device import check_device

if TYPE_CHECKING:
    from archscout.workers.engines import Engine

_CHUNK = 8
"""Architectures a job: enough to make the way to a worker cheap, few enough to lose little when stopped."""

_ANOTHER = "name another file with --out, or give --fresh to set this one aside"

Row = tuple[Estimate, ...]


@dataclass(frozen=True)
class Scores:
    """A finished scoring: how many rows the file has, and how many of them are new.

    `undefined` counts undefined scores by estimator, `reasons` has one reason for those found this time.
    """

    file: Path
    rows: int
    added: int
    undefined: Mapping[str, int]
    reasons: Mapping[str, str]
    seconds: float


def score(
    space: Space,
    task: Task,
    estimators: Sequence[str],
    architectures: Sequence[Architecture | str],
    *,
    file: str | Path,
    engine: Engine,
    seed: int = 0,
    batch: int | None = None,
    device: str = "cpu",
    fresh: bool = False,
    progress: Progress | None = None,
) -> Scores:
    """Score every architecture with every estimator, into `file`.

    Args:
        space: what the architectures are of.
        task: data for the estimators; its test split must be sealed.
        estimators: names, perhaps with parameters.
        architectures: one row each; equal networks (one canonical form) are scored once.
        file: a CSV file with the columns `architecture`, and `NAME` and `NAME_seconds` for each estimator.
        engine: workers with the payload (space, task, device).
        seed: of the weights and the batch.
        batch: examples that a score looks at; by the estimators' own choice where None.
        device: where networks run.
        fresh: whether a file that is there is set aside, for this one to begin anew.
        progress: who is told how it goes.

    Raises:
        UsageError: for an unknown estimator, or a file that was made otherwise or cannot be written.
    """
    began = time.monotonic()
    watch = options.watch(progress)
    seed, device = options.seed(seed), check_device(device)
    batch = None if batch is None else options.whole(batch, "the batch", 1)
    estimators, file = options.several(estimators, "estimators"), options.path(file, "the file of scores")
    if not estimators:
        raise UsageError("nothing is scored: name estimators (--with naswot,params).")
    for name in estimators:
        estimator = _made(name, batch)
        if "history" in estimator.needs:
            raise UsageError(
                f"estimator '{name}' learns from finished trials, which a scoring has none of: leave it out."
            )
    refusal = f"architectures must be several, as such or as text, not {options.shown(architectures)}."
    architectures = at_hand(architectures, space, "the architectures", refusal)
    if file.is_dir():
        raise UsageError(f"'{file}' is a folder: name a file for the scores.")
    made_by = identity(space, task, estimators=list(estimators), seed=seed, batch=batch, device=device)
    with ScoreFile.open(file, estimators, made_by, fresh) as kept:
        finished = kept.finished([architecture.text for architecture in architectures])
        if finished:
            watch.say(f"'{file}' has {finished} of {len(architectures)} rows already.")
        jobs = _jobs(space, architectures[finished:], estimators, seed, batch, engine)
        for done, (architecture, row) in enumerate(jobs, start=1):
            kept.append(architecture.text, row)
            elapsed = time.monotonic() - began
            # The first rows bear the start of the workers, and tell little of the rest.
            left = elapsed / done * (len(architectures) - finished - done) if done > _CHUNK else None
            watch.update("scoring", finished + done, len(architectures), None, left)
        added = max(0, len(architectures) - finished)
        return Scores(file, finished + added, added, kept.undefined, kept.reasons, time.monotonic() - began)


def score_job(
    payload: Any, architectures: Sequence[Architecture], estimators: Sequence[str], seed: int, batch: int | None
) -> list[Row]:
    """Runs in a worker: one row an architecture, with one estimate an estimator."""
    space, task, device = payload
    setting = Setting(space, task, seed=seed, device=device)
    columns = harness.score(architectures, estimators, setting, batch=batch)
    return list(zip(*(columns[name] for name in estimators), strict=True))


def sample(space: Space, count: int, seed: int) -> list[Architecture]:
    """Different architectures drawn uniformly; a larger sample of one seed begins with the smaller one.

    Raises `UsageError` where the space has fewer.
    """
    count, seed = options.whole(count, "the number of architectures to sample", 1), options.seed(seed)
    if space.size() < count:
        raise UsageError(
            f"space '{space.name}' has {space.size():,} architectures, not {count}: sample at most so many."
        )
    rng = stream(seed, "score", "sample")
    drawn: dict[str, Architecture] = {}
    while len(drawn) < count:
        architecture = space.sample(rng)
        drawn.setdefault(architecture.text, architecture)
    return list(drawn.values())


# -- jobs -------------------------------------------------------------------------------------------------------------


def _jobs(
    space: Space,
    architectures: Sequence[Architecture],
    estimators: Sequence[str],
    seed: int,
    batch: int | None,
    engine: Engine,
) -> Iterator[tuple[Architecture, Row]]:
    """Each architecture with its row, in order; a few chunks are under way at a time."""
    trains = any("training" in _made(name, batch).needs for name in estimators)
    forms = {architecture.text: space.canonical(architecture) for architecture in architectures}
    unique = {forms[architecture.text]: architecture for architecture in reversed(architectures)}
    first = sorted(unique.items(), key=_order(architectures))
    chunks = _chunks(first, 1 if trains else _CHUNK)
    under_way: deque[tuple[Sequence[tuple[str, Architecture]], Future[list[Row]]]] = deque()
    rows: dict[str, Row] = {}

    def submit(chunk: Sequence[tuple[str, Architecture]]) -> Future[list[Row]]:
        return engine.submit(score_job, [a for _, a in chunk], tuple(estimators), seed, batch)

    for architecture in architectures:
        while forms[architecture.text] not in rows:
            for chunk in islice(chunks, 2 * max(1, engine.workers) - len(under_way)):
                under_way.append((chunk, submit(chunk)))
            chunk, future = under_way.popleft()
            try:
                scored = future.result()
            except ArchscoutError as error:
                if isinstance(error, UsageError):
                    raise
                # One of the chunk brought the worker down: each alone tells which.
                scored = [_alone(submit, member, len(estimators)) for member in chunk]
            rows |= zip((canonical for canonical, _ in chunk), scored, strict=True)
        yield architecture, rows[forms[architecture.text]]


def _made(name: str, batch: int | None) -> Estimator:
    estimator: Estimator = create("estimator", name, **({} if batch is None else {"batch": batch}))
    return estimator


def _alone(submit: Any, member: tuple[str, Architecture], estimators: int) -> Row:
    try:
        return submit([member]).result()[0]  # type: ignore[no-any-return]
    except ArchscoutError as error:
        return (Estimate(math.nan, reason=str(error)),) * estimators


def _order(architectures: Sequence[Architecture]) -> Any:
    place: dict[str, int] = {}
    for position, architecture in enumerate(architectures):
        place.setdefault(architecture.text, position)
    return lambda item: place[item[1].text]


def _chunks(members: Iterable[tuple[str, Architecture]], size: int) -> Iterator[Sequence[tuple[str, Architecture]]]:
    iterator = iter(members)
    while chunk := list(islice(iterator, size)):
        yield chunk


# -- the file ---------------------------------------------------------------------------------------------------------


class ScoreFile:
    """A CSV file of scores that grows by whole rows; what a stop left of a row is cut off when it is opened again."""

    def __init__(self, file: Path, estimators: Sequence[str], made_by: Mapping[str, Any]) -> None:
        self.file, self.estimators, self.made_by = file, tuple(estimators), dict(made_by)
        self.columns = ["architecture", *(column for name in estimators for column in (name, f"{name}_seconds"))]
        self.undefined = dict.fromkeys(estimators, 0)
        self.reasons: dict[str, str] = {}
        self._rows = self._read() if file.exists() and file.stat().st_size else []
        if not self._rows and not (file.exists() and file.stat().st_size):
            self._begin()
        self._stream = file.open("a", encoding="utf-8", newline="")
        self._writer = csv.writer(self._stream, lineterminator="\n")

    @classmethod
    @contextmanager
    def open(
        cls, file: Path, estimators: Sequence[str], made_by: Mapping[str, Any], fresh: bool = False
    ) -> Iterator[ScoreFile]:
        """The file, for this process alone while the block runs. Raises `UsageError` for a file that does not fit.

        With `fresh`, one that is there is set aside, with its settings.
        """
        from filelock import FileLock, Timeout

        lock, fresh = Path(f"{file}.lock"), options.switch(fresh, "fresh")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock, timeout=0):
                if fresh and file.exists():
                    aside, settings = set_aside(file), Path(f"{file}.json")
                    if settings.exists():
                        settings.replace(f"{aside}.json")
                kept = cls(file, estimators, made_by)
                try:
                    yield kept
                finally:
                    kept._stream.close()
            lock.unlink(missing_ok=True)
        except Timeout as error:
            raise UsageError(
                f"another process is writing to '{file}': wait for it, or name another file with --out."
            ) from error

    def finished(self, texts: Sequence[str]) -> int:
        """How many of these architectures have their row already. Raises `UsageError` where the rows are of others."""
        for number, (row, text) in enumerate(zip(self._rows, texts, strict=False), start=2):
            if row[0] != text:
                raise UsageError(
                    f"line {number} of '{self.file}' is of architecture '{row[0]}', not of '{text}': the file is of "
                    f"another list; {_ANOTHER}."
                )
        for row in self._rows[: len(texts)]:
            for name, value in zip(self.estimators, row[1::2], strict=True):
                self.undefined[name] += math.isnan(float(value))
        return min(len(self._rows), len(texts))

    def append(self, text: str, row: Row) -> None:
        """Write one row, and hand it to the system at once."""
        cells = [text]
        for name, estimate in zip(self.estimators, row, strict=True):
            value = repr(float(estimate.value))
            if not math.isfinite(estimate.value):
                value = "NaN"
                self.undefined[name] += 1
                self.reasons.setdefault(name, estimate.reason)
            cells += [value, f"{estimate.seconds:.6f}"]
        self._writer.writerow(cells)
        self._stream.flush()

    def _begin(self) -> None:
        self._note_settings()
        heading = io.StringIO()
        csv.writer(heading, lineterminator="\n").writerow(self.columns)
        write_text(self.file, heading.getvalue())

    def _read(self) -> list[list[str]]:
        """The finished rows. Raises `UsageError` where the file was made otherwise."""
        content = self.file.read_bytes()
        whole = content.rfind(b"\n") + 1
        try:
            lines = list(csv.reader(io.StringIO(content[:whole].decode("utf-8"))))
        except (UnicodeDecodeError, csv.Error) as error:
            raise UsageError(f"'{self.file}' is no file of scores: name another with --out.") from error
        if not lines or lines[0] != self.columns:
            header = ", ".join(lines[0]) if lines else "none"
            raise UsageError(f"'{self.file}' has the columns {header}, not {', '.join(self.columns)}: {_ANOTHER}.")
        if lines[1:]:
            self._check_settings()
        else:
            self._note_settings()
        for number, line in enumerate(lines[1:], start=2):
            if len(line) != len(self.columns) or not all(_is_number(cell) for cell in line[1:]):
                raise UsageError(
                    f"line {number} of '{self.file}' is damaged: remove the file, or name another with --out."
                )
        if whole < len(content):
            os.truncate(self.file, whole)
        return lines[1:]

    def _note_settings(self) -> None:
        write_json(Path(f"{self.file}.json"), self.made_by)

    def _check_settings(self) -> None:
        settings = Path(f"{self.file}.json")
        if not settings.is_file():
            raise UsageError(
                f"'{self.file}' has scores in it, and '{settings}', which says how they were made, is gone: {_ANOTHER}."
            )
        try:
            before = dict(read_json(settings, "remove it."))
        except (ValueError, TypeError) as error:
            raise UsageError(f"'{settings}', which says how '{self.file}' was made, is damaged: {_ANOTHER}.") from error
        differing = differences(before, self.made_by)
        if differing:
            raise UsageError(f"'{self.file}' was made with {sentence(differing)}: {_ANOTHER}.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
