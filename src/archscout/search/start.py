"""A warm start: architectures that a search evaluates before any other, and trials of an earlier run to learn from.

They come from a list of the user's, from an earlier run, or from a table. Of a run or a table the best are evaluated;
of a table of another space, those of this space of which a network that has learned on the table alone expects most
(FLAN's transfer, Akhauri, Abdelfattah 2024, arXiv 2403.02484).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from archscout.core import options, registry
from archscout.core.architecture import Architecture
from archscout.core.digest import digest
from archscout.core.errors import DataError, UsageError
from archscout.core.estimator import PAUSED, is_training
from archscout.core.fresh import fresh
from archscout.core.listed import at_hand, read_architectures
from archscout.core.method import Run
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.core.trial import Trial
from archscout.methods.strategy import ranked
from archscout.search.continuing import STORE
from archscout.store.store import Store
from archscout.tables.load import load
from archscout.tables.parquet import KEY
from archscout.tables.table import Table

BEST = 10
"""Of an earlier run or of a table, so many architectures are evaluated first."""

SAMPLED = 1000
"""Architectures of this space that are looked at, where a table is of another."""

PHASE = "start"


@dataclass(frozen=True)
class Start:
    """What a search begins with.

    Args:
        architectures: evaluated before any other, in this order; each network once.
        lessons: trials of an earlier run of the same space on the same task. A method learns from those whose
            estimator and length of training are its own, and does not pay for them.
    """

    architectures: tuple[Architecture, ...] = ()
    lessons: tuple[Trial, ...] = ()

    @property
    def digest(self) -> str:
        """Tells one start from another; empty for none."""
        if not self.architectures:
            return ""
        return digest([*(a.text for a in self.architectures), *((t.canonical, t.value) for t in self.lessons)])


Source = str | Path | Table | Architecture | Iterable[str | Architecture] | Start


def read_start(source: Source | None, space: Space, task: Task | None = None) -> Start:
    """What a search of a space begins with.

    Args:
        source: architectures or their texts; a file that lists them (`archscout.core.listed`); the folder of an
            earlier search; a table, by name or file. None for nothing.
        space: that is searched.
        task: on which; trials of an earlier run are lessons only if it was the same.

    Raises:
        UsageError: a name that is none of these, a run or a table that is of no use here.
        DataError: a file that cannot be read or has a malformed architecture, with its row.
    """
    if source is None or isinstance(source, Start):
        return source or Start()
    if isinstance(source, Table):
        return _start(space, _of_table(source, str(source.path), space))
    source = getattr(source, "folder", source)  # of a result
    if not isinstance(source, str | os.PathLike):
        refusal = (
            f"a search cannot start from {options.shown(source)}: give architectures, a file that lists them, the "
            "folder of an earlier run, or a table."
        )
        return _start(space, at_hand(source, space, "the start", refusal))
    path = options.path(source, "the start")
    if path.is_dir():
        return _of_run(path, space, task)
    if path.is_file() and not _is_table(path):
        return _start(space, read_architectures(path, space))
    if path.is_file() or str(source).partition(":")[0] in registry.names("table"):
        return _start(space, _of_table(load(str(source)), str(source), space))
    raise UsageError(
        f"there is nothing {options.shown(str(source))} to start from: name a file with one architecture a line, "
        "the folder of an earlier run, or a table ('archscout list tables')."
    )


def begin(run: Run, start: Start) -> list[Trial]:
    """Evaluate in full what a search begins with; these trials, and the lessons, are then known to its method.

    What breaks a limit is left out, and said.
    """
    admitted = run.admit(start.architectures, len(start.architectures))
    if len(admitted) < len(start.architectures):
        run.say(
            f"{len(start.architectures) - len(admitted)} of the {len(start.architectures)} architectures to start from "
            "break a limit, and are left out."
        )
    length = run.epochs if run.trains else None
    trials = run.evaluate(admitted, run.estimator, fidelity=length, phase=PHASE) if admitted else []
    own = {trial.canonical for trial in trials}
    lessons = [
        trial
        for trial in start.lessons
        if (trial.estimator, trial.fidelity) == (run.estimator, length) and trial.canonical not in own
    ]
    run.start = (*lessons, *trials)
    return trials


def with_start(run: Run, trials: Sequence[Trial], candidates: Sequence[Trial]) -> list[Trial]:
    """A method's candidates, best first, and among them the trials that its search began with.

    Trainings of full length are ranked together, whether they paused or not; where the candidates are of other kinds,
    whose values do not compare, the trials of the start come last.
    """
    known = {trial.canonical for trial in candidates}
    more = [trial for trial in trials if trial.canonical not in known]
    kinds = {(run.estimator, run.epochs if run.trains else None), (PAUSED, run.epochs)}
    full = [trial for trial in candidates if (trial.estimator, trial.fidelity) in kinds]
    if not more or not full:
        return [*candidates, *ranked(run, more)]
    others = [trial for trial in candidates if (trial.estimator, trial.fidelity) not in kinds]
    return [*ranked(run, [*full, *more]), *others]


def _start(space: Space, architectures: Sequence[Architecture], lessons: Sequence[Trial] = ()) -> Start:
    simple = [space.simplify(architecture) for architecture in architectures]
    return Start(tuple(fresh(space, simple, set())), tuple(lessons))


def _of_run(folder: Path, space: Space, task: Task | None) -> Start:
    """The best of an earlier run, and its trials as lessons where it was about the same space and task."""
    file = folder / STORE
    if not file.is_file():
        raise UsageError(f"'{folder}' has no trials of a search ('{STORE}'): name the folder of an earlier search.")
    with Store.open(file, create=False) as store:
        name = folder.name if folder.name in store.runs() else next(iter(store.runs()), "")
        config, stored = (store.config(name), store.trials(name)) if name else ({}, [])
    known = [trial for trial in stored if is_training(trial.estimator) and trial.status == "completed"]
    best = sorted(
        (trial for trial in known if math.isfinite(trial.value)), key=lambda t: (-(t.fidelity or 0), -t.value, t.number)
    )
    if not best:
        raise UsageError(f"run '{folder}' has trained no network yet: there is nothing to start from.")
    unique = list({trial.canonical: trial for trial in reversed(best)}.values())[::-1][:BEST]
    try:
        architectures = [space.parse(trial.architecture) for trial in unique]
    except UsageError as error:
        raise UsageError(
            f"run '{folder}' is of space '{config.get('space')}', whose architectures space '{space.name}' does not "
            f"read ({error}): start from a run of the same space, or from a table."
        ) from error
    same = config.get("space_parts") == dict(space.parts) and task is not None and config.get("data") == task.digest
    same = same and task is not None and config.get("recipe", "") == task.recipe
    lessons = [
        replace(trial.trial(space.parse(trial.architecture)), phase=f"of run {folder.name}") for trial in known if same
    ]
    return _start(space, architectures, lessons)


def _is_table(file: Path) -> bool:
    """Whether it is a table, and not only a column of architectures."""
    if file.suffix.lower() != ".parquet":
        return False
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    try:
        return KEY in (parquet.read_schema(file).metadata or {})
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"'{file}' is no readable Parquet file: check it.") from error


def _of_table(table: Table, name: str, space: Space) -> list[Architecture]:
    """The best of a table, or what is expected to be best by one that has learned on a table of another space."""
    about = table.metric(table.searched_metric)
    values = np.asarray(table.values(about.name), dtype=float) * (1 if about.higher else -1)
    best = [table.architectures[table.first_rows[place]] for place in np.argsort(-np.nan_to_num(values, nan=-np.inf))]
    try:
        return [space.parse(text) for text in best[:BEST]]
    except UsageError:
        pass  # of another space
    from archscout.estimators.predictors.flan import transferred

    rng = stream(0, "start", table.name)
    some = list(fresh(space, (space.simplify(space.sample(rng)) for _ in range(SAMPLED)), set()))
    expected = transferred(name, "", space, some)
    return [some[place] for place in np.argsort(-expected, kind="stable")[:BEST]]
