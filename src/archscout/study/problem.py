"""What a comparison of estimators is about: a table as arrays, and who is compared."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import DataError, UsageError, nearest
from archscout.core.registry import create, names, parse_name
from archscout.core.seeds import stream
from archscout.core.sheet import read_sheet
from archscout.core.space import Space
from archscout.estimators.curves.base import Curve, CurveReader, Curves
from archscout.estimators.curves.features import features_of, reader
from archscout.estimators.curves.learned import LearnedFromCurves
from archscout.estimators.encodings.encode import encode
from archscout.estimators.encodings.scores import ranked
from archscout.estimators.predictors.learned import Learned
from archscout.tables.table import Table

ALIASES = {"jacov": "jacob_cov", "nwot": "naswot"}
"""Scores that go by another name in published tables, and how `archscout score` calls them."""

_DRAWN, _BEST, _TRIES = 10, 5, 30
"""Of `mutants`: random architectures, those of them that are mutated, and attempts for each mutant."""

SPARSE = 0.1
"""Share of the architectures without a value beyond which a score is sparse: the rest cannot count as its worst."""

LEAST_COMMON = 50
"""Architectures at least of which every sparse score has a value."""

FIDELITIES = 8
"""After how many epochs, at most, curves are looked at."""


@dataclass(frozen=True)
class Problem:
    """A table as arrays over its architectures; all values are such that higher is better.

    `alike` holds one or more partitions: architectures with equal numbers are one network (or isomorphic ones), and no
    network that was learned from is ever predicted. `seconds` of full training are NaN where the table does not say.

    `features` are what a predictor learns from, `begun` further ones by the number of epochs that they take, for those
    that look at curves; `curves` is what readers of curves say after so many. `queries` maps each epoch count below
    full training to the seconds that it takes.
    """

    table: str
    metric: str
    higher: bool
    truth: np.ndarray
    seconds: np.ndarray
    alike: tuple[np.ndarray, ...]
    features: dict[str, np.ndarray] = field(repr=False)
    begun: dict[str, dict[int, np.ndarray]] = field(repr=False)
    widths: dict[str, tuple[int, ...]] = field(repr=False)
    scores: dict[str, np.ndarray] = field(repr=False)
    score_seconds: dict[str, float]
    curves: dict[str, dict[int, np.ndarray]] = field(repr=False)
    queries: dict[int, np.ndarray] = field(repr=False)
    space: Space = field(repr=False)
    architectures: list[Architecture] = field(repr=False)
    canonical: list[str] = field(repr=False)
    asked: np.ndarray = field(repr=False)
    sparse: dict[str, int]

    def __len__(self) -> int:
        return len(self.truth)

    def split(self, seed: int, most: int) -> np.ndarray:
        """All architectures in a random order: of a repeat, the first are learned from."""
        return stream(seed, "study", self.table, self.metric).permutation(len(self))[:most]

    def unseen(self, train: np.ndarray) -> np.ndarray:
        """The architectures that are not alike with any of these."""
        known = np.zeros(len(self), dtype=bool)
        for numbers in self.alike:
            known |= np.isin(numbers, numbers[train])
        return np.flatnonzero(~known)

    def mutants(self, seed: int, train: int, test: int) -> tuple[np.ndarray, np.ndarray]:
        """Architectures to learn from and to predict as a search meets them, and not as drawn from the whole space.

        Of ten random architectures the best five are mutated once to three times, which gives what is predicted. What
        is learned from are single mutants of these, none of them alike with one of them (the ablation of White, Zela,
        Ru, Liu, Hutter 2021, arXiv 2104.01177, there without the last condition).

        Raises `UsageError` where the table has too few of them.
        """
        rng = stream(seed, "study", "mutants", self.table, self.metric)
        number = {form: place for place, form in reversed(list(enumerate(self.canonical)))}
        number |= {architecture.text: place for place, architecture in enumerate(self.architectures)}
        drawn = rng.permutation(len(self))[:_DRAWN]
        best = drawn[np.argsort(-self.truth[drawn], kind="stable")][:_BEST]

        def collect(count: int, parents: np.ndarray, most: int, excluded: np.ndarray) -> np.ndarray:
            found: dict[int, None] = {}
            for _ in range(_TRIES * count):
                if len(found) == count:
                    break
                mutant = self.architectures[int(rng.choice(parents))]
                for _ in range(int(rng.integers(1, most + 1))):
                    mutant = self.space.mutate(mutant, rng)
                place = number.get(mutant.text, -1)
                if place < 0:  # a table may have one architecture of those that build the same network
                    place = number.get(self.space.canonical(mutant), -1)
                if place >= 0 and not excluded[place]:
                    found[place] = None
            if len(found) < count:
                raise UsageError(
                    f"table '{self.table}' has only {len(found)} of {count} mutants of good architectures: ask for "
                    "fewer (--train-sizes, --test), or take a table of a whole space."
                )
            return np.asarray(list(found))

        asked = collect(test, best, 3, ~self.asked)
        seen = np.ones(len(self), dtype=bool)
        seen[self.unseen(asked)] = False
        return collect(train, asked, 1, seen), asked


def problem(
    table: Table, contenders: Sequence[str], *, metric: str | None = None, scores: Path | Sequence[Path] | None = None
) -> Problem:
    """The arrays that these contenders need.

    Args:
        table: the ground truth.
        contenders: names: of predictors, of readers of curves, or of scores that the table or `scores` has.
        metric: what is predicted; the table's default metric if not given.
        scores: CSV or Parquet files of `archscout score`: columns `architecture`, NAME and NAME_seconds. They go
            before the table's own columns.

    Raises:
        UsageError: an unknown name, one that the table has nothing for, or scores of too few architectures.
        DataError: fewer than 10 architectures with a value, or a score missing for all of them.
    """
    about = table.metric(metric)
    sign = 1.0 if about.higher else -1.0
    rows, means = _known_rows(table, about.name)
    if len(rows) < 10:
        raise DataError(f"'{table.path}' has {len(rows)} architectures with a value of '{about.name}': 10 are needed.")
    networks = table.networks[rows]
    architectures = [table.space.parse(table.architectures[row]) for row in rows]
    alike = [networks]
    published = getattr(table.space, "isomorphism_class", None)
    if published is not None:
        alike.append(np.unique([published(one) for one in architectures], return_inverse=True)[1])
    given = _Scores(table, rows, scores)
    features: dict[str, np.ndarray] = {}
    blocks: dict[str, tuple[int, ...]] = {}
    values: dict[str, np.ndarray] = {}
    seconds: dict[str, float] = {}
    beginnings = _Beginnings(table, about.name)
    curves: dict[str, dict[int, np.ndarray]] = {}
    begun: dict[str, dict[int, np.ndarray]] = {}
    for name in contenders:
        read = reader(name)
        if read is not None:
            curves[name] = {e: read.read(c, beginnings.full)[networks] for e, c in beginnings.of(read).items()}
            continue
        learned = learner(name)
        if learned is None:
            values[name], seconds[name] = given.column(name)
            continue
        features[name] = encode(learned.encoded_by(table.space), table.space, architectures)
        blocks[name] = learned.widths(table.space)
        if learned.scores:
            columns = [given.column(score) for score in learned.scores]
            ranks = ranked(np.stack([values for values, _ in columns], axis=1))
            features[name] = np.concatenate([features[name], ranks], axis=1)
            seconds[name] = sum(each for _, each in columns)
        if isinstance(learned, LearnedFromCurves) and learned.curve:
            begun[name] = {
                e: features_of(learned.curve, known, beginnings.full)[networks]
                for e, known in beginnings.for_features(learned.curve).items()
            }
    epochs = {e for found in (*curves.values(), *begun.values()) for e in found}
    queries = {e: np.asarray(table.all_seconds(epochs=e, metric=about.name))[networks] for e in epochs}
    for name in (*curves, *begun):
        if not {**curves, **begun}[name]:
            raise UsageError(f"table '{table.name}' has no shorter trainings that '{name}' could read: leave it out.")
    asked = _asked(table, given.sparse)
    return Problem(
        table.name, about.name, bool(about.higher), sign * means,
        np.asarray(table.all_seconds(metric=about.name))[networks], tuple(alike), features, begun, blocks, values,
        seconds, curves, queries, table.space, architectures, [table.canonical[row] for row in rows],
        np.ones(len(rows), dtype=bool) if asked is None else asked,
        {name: int(known.sum()) for name, known in given.sparse.items()},
    )  # fmt: skip


def _known_rows(table: Table, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each architecture with a value, in the order of the file, and the mean of its values."""
    column = table.column(metric)
    # One architecture may have several rows (seeds).
    number = {text: place for place, text in enumerate(dict.fromkeys(table.architectures))}
    place = np.asarray([number[text] for text in table.architectures])
    first = np.unique(place, return_index=True)[1]
    there = np.isfinite(column)
    counts = np.bincount(place[there], minlength=len(first))
    means = np.bincount(place[there], column[there], minlength=len(first)) / np.maximum(counts, 1)
    kept = np.flatnonzero(counts)
    return first[kept], means[kept]


def _asked(table: Table, sparse: dict[str, np.ndarray]) -> np.ndarray | None:
    """Where every sparse score has a value; None where none is sparse. Raises `UsageError` where that is too little."""
    if not sparse:
        return None
    common = np.logical_and.reduce(list(sparse.values()))
    if common.sum() < LEAST_COMMON:
        least = min(sparse, key=lambda name: int(sparse[name].sum()))
        raise UsageError(
            f"of {len(common):,} architectures of table '{table.name}' only {common.sum()} have a value of each of "
            f"{', '.join(sparse)} ('{least}' has {sparse[least].sum()}), and {LEAST_COMMON} are needed: score more "
            "('archscout score', --scores), or leave them out."
        )
    return np.asarray(common)


def comparable(
    table: Table, *, metric: str | None = None, scores: Path | Sequence[Path] | None = None
) -> tuple[list[str], list[str]]:
    """Of all registered predictors and readers of curves, and the scores at hand: who can be compared, and who cannot.

    The latter with the reason, as text: scores that are sparse are among them.
    """
    about = table.metric(metric)
    beginnings = _Beginnings(table, about.name)
    given = _Scores(table, _known_rows(table, about.name)[0], scores)
    able, unable = [], []
    for name in names("estimator"):
        if name == "table":
            continue
        try:
            read, learned = reader(name), learner(name)
            if read is None and learned is None:
                continue
            if read is not None and not beginnings.of(read):
                raise UsageError("the table has no curve for it")
            if learned is not None:
                encode(learned.encoded_by(table.space), table.space, [])
                for score in learned.scores:
                    if given.find(score) is None:
                        raise UsageError(f"there is no score '{score}' at hand")
                    given.check_dense(score)
                if isinstance(learned, LearnedFromCurves) and not beginnings.for_features(learned.curve):
                    raise UsageError("the table has no curve for it")
                if learned.predictor.library and importlib.util.find_spec(learned.predictor.library) is None:
                    raise UsageError(f"'{learned.predictor.library}' is not installed")
            able.append(name)
        except UsageError as error:
            unable.append(f"{name} ({str(error).rstrip('.')})")
    for name in given.known():
        try:
            given.check_dense(name)
            able += [name] if name not in able else []
        except (UsageError, DataError) as error:
            unable.append(f"{name} ({str(error).rstrip('.')})")
    return able, unable


def lacking(
    table: Table, contenders: Sequence[str], *, metric: str | None = None, scores: Sequence[Path] = ()
) -> list[str]:
    """The scores that these contenders are or learn from, and that are not at hand, or sparse.

    Raises `UsageError` for a name that nothing has.
    """
    given = _Scores(table, _known_rows(table, table.metric(metric).name)[0], scores)
    wanted: list[str] = []
    for name in contenders:
        if reader(name) is None:
            learned = learner(name)
            wanted += [name] if learned is None else learned.scores
    missing = []
    for name in dict.fromkeys(wanted):
        try:
            given.check_dense(name)
        except (UsageError, DataError):
            if given.find(name) is None and parse_name(name)[0] not in names("estimator"):
                raise
            missing.append(name)
    return missing


def learner(name: str) -> Learned | None:
    """The predictor of a name; None where the name is not one of a predictor. Raises `UsageError`."""
    if parse_name(name)[0] not in names("estimator"):
        return None
    estimator: Any = create("estimator", name)
    return estimator if isinstance(estimator, Learned) else None


class _Scores:
    """Zero-cost scores from files of `archscout score`, or from the table's own columns.

    `sparse` gathers, of the columns that were asked for, where those have a value that are sparse.
    """

    def __init__(self, table: Table, rows: np.ndarray, files: Path | Sequence[Path] | None) -> None:
        self.table, self.rows = table, rows
        self.files = [_ScoreSheet(table, file) for file in ([files] if isinstance(files, Path) else files or ())]
        self.sparse: dict[str, np.ndarray] = {}

    def known(self) -> list[str]:
        """The names of all scores at hand; of the table's, those of the metric's own data set are not told apart."""
        own = [m for m in self.table.metrics if self.table.metric(m).kind in ("score", "cost")]
        return list(dict.fromkeys([*own, *(name for file in self.files for name in file.scores)]))

    def find(self, name: str) -> str | None:
        """The name under which a score is at hand, if it is."""
        known = self.known()
        others = {**ALIASES, **{ours: theirs for theirs, ours in ALIASES.items()}}
        return next((one for one in (name, others.get(name, name)) if one in known), None)

    def check_dense(self, name: str) -> None:
        """Raises `UsageError` for a sparse score."""
        there = self._look_up(name)[2]
        if _is_sparse(there):
            raise UsageError(f"'{name}' has values for {there.sum():,} of {len(there):,} architectures")

    def column(self, name: str) -> tuple[np.ndarray, float]:
        """The score of each architecture and the mean seconds that it takes; NaN where there is none, or not known."""
        values, seconds, there = self._look_up(name)
        if _is_sparse(there):
            self.sparse[name] = there
        return values, seconds

    def _look_up(self, name: str) -> tuple[np.ndarray, float, np.ndarray]:
        """The same, and where there is a value; a score that was computed and is undefined is one."""
        found = self.find(name)
        if found is None:
            if parse_name(name)[0] in names("estimator"):
                raise UsageError(
                    f"neither table '{self.table.name}' nor a file of scores has '{name}': compute it with 'archscout "
                    "score' and give the file with --scores, or leave it out."
                )
            if parse_name(name)[0] in {*names("strategy"), *names("method")}:
                raise UsageError(f"'{name}' is a search, no estimator: 'archscout study strategies' compares searches.")
            raise UsageError(
                f"neither table '{self.table.name}' nor a file of scores has '{name}', and no estimator is called so: "
                f"{nearest(name, {*self.known(), *names('estimator')})} (--scores takes a file of 'archscout score')."
            )
        file = next((file for file in self.files if found in file.scores), None)
        if file is not None:
            values, seconds, there = file.column(found, [self.table.canonical[row] for row in self.rows])
        else:
            values = np.asarray(self.table.values(found))[self.table.networks[self.rows]]
            seconds, there = np.nan, np.isfinite(values)
        if not np.isfinite(values).any():
            raise DataError(f"score '{name}' has no finite value for any architecture of table '{self.table.name}'.")
        return values, seconds, there


class _ScoreSheet:
    """A file of `archscout score`, by the networks of a table's space."""

    def __init__(self, table: Table, file: Path) -> None:
        self._columns = _read(file)
        self.scores = [name for name in self._columns if name != "architecture" and not name.endswith("_seconds")]
        self._place: dict[str, int] = {}
        for number, text in enumerate(self._columns["architecture"]):
            self._place.setdefault(table.space.canonical(table.space.parse(str(text))), number)

    def column(self, name: str, canonical: Sequence[str]) -> tuple[np.ndarray, float, np.ndarray]:
        """The score of each network, the mean seconds that it takes, and which of them the file has."""
        places = np.asarray([self._place.get(form, -1) for form in canonical])
        there = places >= 0
        seconds = self._columns.get(f"{name}_seconds")
        each = float(np.nanmean(np.asarray(seconds, dtype=np.float64))) if seconds is not None else np.nan
        return np.where(there, np.asarray(self._columns[name], dtype=np.float64)[places], np.nan), each, there


def _is_sparse(there: np.ndarray) -> bool:
    return bool((~there).mean() > SPARSE)


def _read(file: Path) -> dict[str, Sequence[Any]]:
    if not file.is_file():
        raise UsageError(f"there is no file '{file}': name a CSV or Parquet file of 'archscout score'.")
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        columns: dict[str, Sequence[Any]] = pq.read_table(file).to_pydict()
    else:
        sheet = read_sheet(file)
        columns = {name: sheet.column(name) for name in sheet.headings}
    if "architecture" not in columns:
        raise DataError(f"'{file}' has no column 'architecture': name a file of 'archscout score'.")
    return {
        name: values if name == "architecture" else [_number(value, file, name) for value in values]
        for name, values in columns.items()
        if name == "architecture" or not _is_text(values)
    }


def _is_text(values: Sequence[Any]) -> bool:
    try:
        [float(value) for value in values[:1] if value not in (None, "")]
    except (TypeError, ValueError):
        return True
    return False


def _number(value: Any, file: Path, column: str) -> float:
    try:
        return float("nan") if value in (None, "") else float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"'{file}', column '{column}', holds '{value}', which is no number.") from error


class _Beginnings:
    """The curves of a table, one row a network, as far as they are known below full training."""

    def __init__(self, table: Table, metric: str) -> None:
        about = table.metric(metric)
        splits = {m: table.metric(m) for m in (*table.metrics, *table.curves)}
        mine = {m: what for m, what in splits.items() if what.dataset == about.dataset}

        def first(split: str, kind: str) -> str | None:
            return next((m for m, what in mine.items() if (what.split, what.kind) == (split, kind)), None)

        found = {
            "valid": first("valid", about.kind) or metric,
            "train_loss": first("train", "loss"),
            "valid_loss": first("valid", "loss"),
        }
        self.full = about.epochs or max(table.fidelities(metric), default=0)
        self.curves: dict[str, Curve] = {}
        for measure, name in found.items():
            epochs = [] if name is None else [e for e in table.fidelities(name) if e < self.full]
            if name is None or not epochs:
                continue
            values = np.stack([np.asarray(table.values(name, epochs=e), dtype=np.float64) for e in epochs], axis=1)
            sign = -1.0 if measure == "valid" and not table.metric(name).higher else 1.0
            self.curves[measure] = Curve(np.asarray(epochs), sign * values)

    def of(self, read: CurveReader) -> dict[int, Curve]:
        """What a reader may look at after some epochs; nothing where the table has no such measure."""
        curve = self.curves.get(read.measure)
        if curve is None or (read.every and not curve.whole):
            return {}
        return {e: curve.until(e) for e in _some(curve.epochs.tolist())}

    def for_features(self, features: Sequence[str]) -> dict[int, Curves]:
        """The same for several readers at once; what is asked of all after the same epochs."""
        needed = [reader(name) for name in features]
        measures = {"valid" if read is None else read.measure for read in needed}
        if not measures <= set(self.curves) or any(
            read is not None and read.every and not self.curves[read.measure].whole for read in needed
        ):
            return {}
        if not measures:
            return {}
        common = set.intersection(*(set(self.curves[measure].epochs.tolist()) for measure in measures))
        return {e: {m: self.curves[m].until(e) for m in measures} for e in _some(sorted(common))}


def _some(epochs: list[int]) -> list[int]:
    """At most `FIDELITIES` of them, close together at the beginning."""
    if len(epochs) <= FIDELITIES:
        return epochs
    return sorted({epochs[round(place)] for place in np.geomspace(1, len(epochs), FIDELITIES) - 1})
