"""Whether a table is sound: everything that is wrong with it, by row and column, and what is merely worth knowing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from archscout.core.errors import UsageError
from archscout.tables.table import Table

_NAMED = 5
"""Rows of one kind of finding that are named; the rest are counted."""


@dataclass(frozen=True)
class Finding:
    """One kind of finding in one column.

    What is `wrong` makes a table unusable in part; the rest is what a reader of its numbers should know.
    """

    wrong: bool
    column: str
    rows: tuple[int, ...]
    count: int
    message: str

    def __str__(self) -> str:
        named = ", ".join(map(str, self.rows)) + (", ..." if self.count > len(self.rows) else "")
        place = f" (row{'s' if self.count > 1 else ''} {named})" if self.rows else ""
        return f"column '{self.column}': {self.message}{place}"


def check(table: Table) -> list[Finding]:
    """What is wrong with a table or worth knowing, faults first.

    Faults: architectures that are missing or that the space does not parse, a canonical index that is not the space's,
    accuracies outside 0 to 1, infinite values, negative seconds, curves of different lengths or with gaps. Notes:
    missing values, curves that end early, networks with several rows, and how far the values of these lie apart.

    Raises `DataError` for a table that cannot be read at all.
    """
    findings = [*_architectures(table)]
    if not any(finding.wrong for finding in findings):
        findings += _duplicates(table)
    for name in table.metrics:
        findings += _values(table, name, table.column(name))
    for name in table.curves:
        findings += _curves(table, name)
    findings += _sparse_scores(table)
    return sorted(findings, key=lambda finding: not finding.wrong)


def _finding(wrong: bool, column: str, rows: Any, message: str) -> Iterator[Finding]:
    """A finding, if there are rows of it; `{n}` in the message is their number."""
    places = [int(row) for row in rows]
    if places:
        yield Finding(wrong, column, tuple(places[:_NAMED]), len(places), message.replace("{n}", str(len(places))))


def _architectures(table: Table) -> Iterator[Finding]:
    texts = table.texts("architecture")
    stored = table.texts("canonical")
    missing, stale, unparsed = [], [], []
    reason = ""
    for row, text in enumerate(texts):
        if not text:
            missing.append(row)
            continue
        try:
            form = table.space.canonical(table.space.parse(text))
        except UsageError as error:
            reason = reason or str(error)
            unparsed.append(row)
            continue
        if stored and stored[row] != form:
            stale.append(row)
    yield from _finding(True, "architecture", missing, "{n} rows have no architecture")
    yield from _finding(
        True, "architecture", unparsed, f"{{n}} are not of space '{table.space.name}', the first since {reason}"
    )
    yield from _finding(True, "canonical", stale, "{n} are not the space's canonical form: make the table again")
    if not texts:
        yield Finding(True, "architecture", (), 0, "the table has no rows")


def _values(table: Table, name: str, values: np.ndarray) -> Iterator[Finding]:
    kind = table.metric(name).kind
    if kind == "accuracy":
        yield from _finding(
            True, name, np.flatnonzero((values < 0) | (values > 1)), "{n} accuracies are not fractions from 0 to 1"
        )
    if kind == "seconds":
        yield from _finding(True, name, np.flatnonzero(values < 0), "{n} are negative")
    yield from _finding(True, name, np.flatnonzero(np.isinf(values)), "{n} are infinite")
    missing = np.flatnonzero(np.isnan(values))
    if len(missing) == len(values) > 0:
        yield Finding(True, name, (), len(missing), "all values are missing")
    elif kind != "score":
        yield from _finding(False, name, missing, f"{{n}} of {len(values)} values are missing")


def _sparse_scores(table: Table) -> Iterator[Finding]:
    """Scores are often published for some architectures only: one note for all of them."""
    known = {n: int((~np.isnan(table.column(n))).sum()) for n in table.metrics if table.metric(n).kind == "score"}
    partial = {name: count for name, count in known.items() if 0 < count < len(table)}
    if partial:
        least = min(partial, key=partial.__getitem__)
        message = f"{len(partial)} columns of scores have values for some rows only, this one for {partial[least]}"
        yield Finding(False, least, (), len(partial), message)


def _curves(table: Table, name: str) -> Iterator[Finding]:
    curves = table.lists(name)
    lengths = np.array([len(curve or ()) for curve in curves])
    epochs = table.metric(name).epochs or (int(np.bincount(lengths).argmax()) if len(lengths) else 0)
    yield from _finding(
        True, name, np.flatnonzero((lengths != epochs) & (lengths > 0)), f"{{n}} curves do not have {epochs} epochs"
    )
    yield from _finding(False, name, np.flatnonzero(lengths == 0), f"{{n}} of {len(lengths)} curves are missing")
    whole = [row for row, length in enumerate(lengths) if length == epochs]
    matrix = np.array([[np.nan if v is None else v for v in curves[row] or ()] for row in whole], dtype=float)
    matrix = matrix.reshape(len(whole), epochs)
    empty = np.isnan(matrix)
    known = np.array([epochs - int(np.argmax(~row[::-1])) if not row.all() else 0 for row in empty], dtype=int)
    gaps = [row for place, row in enumerate(whole) if empty[place, : known[place]].any()]
    early = [row for place, row in enumerate(whole) if known[place] < epochs]
    yield from _finding(True, name, gaps, "{n} curves have gaps")
    yield from _finding(False, name, early, f"{{n}} curves end before epoch {epochs} (diverged, or stopped)")
    kind = table.metric(name).kind
    if kind == "accuracy":
        outside = ((matrix < 0) | (matrix > 1)).any(axis=1)
        yield from _finding(
            True,
            name,
            [whole[place] for place in np.flatnonzero(outside)],
            "{n} curves are not fractions from 0 to 1",
        )
    infinite = np.isinf(matrix).any(axis=1)
    yield from _finding(True, name, [whole[place] for place in np.flatnonzero(infinite)], "{n} curves become infinite")


def _duplicates(table: Table) -> Iterator[Finding]:
    networks = table.networks
    if not len(networks):
        return
    counts = np.bincount(networks)
    again = np.flatnonzero(counts[networks] > 1)
    if not len(again):
        return
    yield Finding(
        False, "canonical", (), len(again),
        f"{len(counts)} networks in {len(networks)} rows: {int((counts > 1).sum())} have several rows "
        "(other architectures of one network, or other seeds), whose mean answers for them",
    )  # fmt: skip
    for name in table.metrics:
        if table.metric(name).kind not in ("accuracy", "loss"):
            continue
        values = table.column(name)
        low = np.full(len(counts), np.inf)
        high = np.full(len(counts), -np.inf)
        known = np.isfinite(values)
        np.minimum.at(low, networks[known], values[known])
        np.maximum.at(high, networks[known], values[known])
        apart = np.where(high > low, high - low, 0.0)
        count = int((apart > 0).sum())
        if count:
            worst = int(apart.argmax())
            mine = np.flatnonzero((networks == worst) & known)
            ends = (int(mine[values[mine].argmin()]), int(mine[values[mine].argmax()]))
            typical = float(np.median(apart[apart > 0]))
            yield Finding(
                False, name, ends, 2,
                f"rows of one network disagree for {count} networks, by {typical:.4g} in the median and at most by "
                f"{apart[worst]:.4g}: {values[ends[0]]:.6g} and {values[ends[1]]:.6g}",
            )  # fmt: skip
