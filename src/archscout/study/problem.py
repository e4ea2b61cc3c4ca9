"""What a comparison of estimators is about: a table as arrays, and who is compared."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.digest import digest
from archscout.core.errors import DataError, UsageError
from archscout.core.registry import create, names, parse_name
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.estimators.curves.features import features_of, reader
from archscout.estimators.curves.learned import LearnedFromCurves
from archscout.estimators.encodings.encode import encode
from archscout.estimators.encodings.scores import ranked
from archscout.estimators.predictors.learned import Learned
from archscout.study.beginnings import Beginnings
from archscout.study.score_columns import ScoreColumns
from archscout.tables.table import Table

_DRAWN, _BEST, _TRIES = 10, 5, 30
"""Of `mutants`: random architectures, those of them that are mutated, and attempts for each mutant."""

LEAST_COMMON = 50
"""Architectures at least of which every sparse score has a value."""


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

    def inputs(self, name: str) -> str:
        """A hash of all that a contender reads off this problem, but for the truth."""
        held: tuple[dict[str, Any], ...] = (self.scores, self.features, self.begun, self.curves)
        return digest([each.get(name) for each in held])

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
            numbers: dict[int, None] = {}
            for _ in range(_TRIES * count):
                if len(numbers) == count:
                    break
                mutant = self.architectures[int(rng.choice(parents))]
                for _ in range(int(rng.integers(1, most + 1))):
                    mutant = self.space.mutate(mutant, rng)
                place = number.get(mutant.text, -1)
                if place < 0:  # a table may have one architecture of those that build the same network
                    place = number.get(self.space.canonical(mutant), -1)
                if place >= 0 and not excluded[place]:
                    numbers[place] = None
            if len(numbers) < count:
                raise UsageError(
                    f"table '{self.table}' has only {len(numbers)} of {count} mutants of good architectures: ask for "
                    "fewer (--train-sizes, --test), or take a table of a whole space."
                )
            return np.asarray(list(numbers))

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
    given = ScoreColumns(table, rows, scores)
    features: dict[str, np.ndarray] = {}
    blocks: dict[str, tuple[int, ...]] = {}
    values: dict[str, np.ndarray] = {}
    seconds: dict[str, float] = {}
    beginnings = Beginnings(table, about.name)
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
    epochs = {e for by_epochs in (*curves.values(), *begun.values()) for e in by_epochs}
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
    place = np.asarray([number[text] for text in table.architectures], dtype=np.int64)
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
    beginnings = Beginnings(table, about.name)
    given = ScoreColumns(table, _known_rows(table, about.name)[0], scores)
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
    given = ScoreColumns(table, _known_rows(table, table.metric(metric).name)[0], scores)
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
