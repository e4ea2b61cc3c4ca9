"""A table whose rows are the examples: CSV, JSON lines or Parquet without a column of files, or one of pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from archscout.core.errors import DataError
from archscout.tasks import sound, table
from archscout.tasks.contents import Contents, Raw
from archscout.tasks.decode import SUFFIXES, shown
from archscout.tasks.doors.archive import listed
from archscout.tasks.doors.questions import answers_of, is_number, of_several, questions_of
from archscout.tasks.labels import text_of

FEW = 20
"""Whole numbers of a column that is named as targets are: so many different ones are taken for classes."""

_LOOKED_AT = 50

ASKED = frozenset({"label", "labels", "target", "targets", "class"})
"""Names of columns of what is asked."""

PARTS = frozenset({"split", "subset", "fold", "folds", "cv_fold", "kfold"})
"""Names of columns that say which rows are learned from together."""


def is_rows(columns: Mapping[str, Sequence[Any]], roles: Mapping[str, str], named: Mapping[str, Any]) -> bool:
    """Whether a table is of rows: that is said, or there is no column of files, nor one that looks like it."""
    if named.get("medium") is not None:
        return bool(named["medium"] == "rows")
    if "path" in roles or named.get("kind") in ("lines", "verification", "retrieval", "multilabel"):
        return False
    return not any(_is_file(cell) for cells in columns.values() for cell in cells[:_LOOKED_AT])


def _is_file(cell: Any) -> bool:
    if isinstance(cell, Mapping | bytes | bytearray | list | tuple) or hasattr(cell, "getbands"):
        return True
    return Path(text_of(cell)).suffix.lower() in {*SUFFIXES, *sound.SUFFIXES, *sound.OTHERS}


def rows_contents(
    columns: Mapping[str, Sequence[Any]],
    roles: Mapping[str, str],
    splits: Sequence[str],
    source: str,
    where: Sequence[str],
    named: Mapping[str, Any],
) -> Contents:
    """The rows of a table: every column that has no role is learned from.

    Args:
        columns: all of one length.
        roles: the columns of label or target, split, group, weight.
        splits: of each row.
        source: what messages call the table.
        where: what messages call each row.
        named: parameters of the door, as the user gave them.

    Raises `DataError` where there is no column of targets, or nothing to learn from.
    """
    roles, contents = dict(roles), Contents({}, medium="rows")
    if named.get("label") is None and roles.get("label") == roles.get("transcript"):
        roles.pop("label", None)
    if named.get("weight") is None and roles.get("weight") == "weight":
        del roles["weight"]  # a weight in kilograms, as likely as one of examples
    if "target" in roles and named.get("target") is None and named.get("kind") is None:
        texts = [text for value in columns[roles["target"]] if (text := text_of(value))]
        numbers = {text for text in texts if is_number(text)}
        mostly = sum(text in numbers or table.is_written(text) for text in texts) >= table.MOSTLY * len(texts)
        if not mostly or (len(set(texts)) <= FEW and all(float(text).is_integer() for text in numbers)):
            roles["label"] = roles.pop("target")
            contents.notices.append(
                f"column '{shown(roles['label'])}' of {source} is read as classes (kind=regression for numbers)."
            )
    questions = questions_of(columns, roles, {**named, "kind": named.get("kind") or "classification"})
    if not questions or (len(questions) > 1 and any(question.asks != "numbers" for question in questions)):
        raise DataError(
            f"{source} has no column of labels (it has: {listed([str(name) for name in columns])}): say which with "
            "label=COLUMN, or target=COLUMN for numbers; path=COLUMN where rows name files."
        )
    roles.pop("transcript", None)
    used = {*roles.values(), *(question.column for question in questions)}
    reading = table.read({name: cells for name, cells in columns.items() if name not in used}, source)
    bad = dict(reading.bad)
    for question in questions:
        for row, value in enumerate(columns[question.column]):
            fault = question.fault(text_of(value))
            if fault:
                bad.setdefault(row, fault + of_several(questions, columns, row))
    for role, check in (("group", bool), ("weight", lambda text: is_number(text) and float(text) >= 0)):
        if role in roles:
            for row, value in enumerate(columns[roles[role]]):
                if not check(text_of(value)):
                    bad.setdefault(row, f"has no {role} that can be used ('{shown(text_of(value))}')")
    contents.notices += [
        f"column '{shown(column.name)}' of {source} names no splits: it is learned from, and splits are drawn at "
        f"random; leave it out, or say group={shown(column.name)} so that none of its parts is divided."
        for column in reading.columns
        if column.name.strip().casefold() in PARTS
    ]
    if len(set(splits)) < 2:
        contents.notices += [
            f"column '{shown(name)}' of {source} holds dates, and splits are drawn at random: give your own (column "
            "split) where what comes later is to be told from what came before."
            for name in table.dates({name: cells for name, cells in columns.items() if name not in used})
        ]
    contents.notices += [
        f"{source} has the columns '{shown(target)}' and '{shown(name)}', which both are named as what is asked: the "
        "former is asked, the latter learned from; leave it out if it is not known before."
        for name, target in ((column.name, questions[0].column) for column in reading.columns)
        if name.strip().casefold() in ASKED and named.get("label") is None is named.get("target")
    ]
    contents.bad = [(f"{where[row]} of {source}", fault) for row, fault in sorted(bad.items())]
    contents.notices += reading.notices
    contents.columns = reading.columns
    good = [row for row in range(len(splits)) if row not in bad]
    y = answers_of(questions, columns, good, contents)
    if len(questions) == 1:
        contents.notices += _answers_given(reading, columns[questions[0].column], good, questions[0].column, source)
    place = {row: number for number, row in enumerate(good)}
    for split in dict.fromkeys(splits[row] for row in good):
        chosen = [row for row in good if splits[row] == split]
        contents.splits[split] = Raw(
            reading.values[chosen],
            y[[place[row] for row in chosen]],
            f"'{split}' of {source}" if len(set(splits)) > 1 else source,
            f"column '{' and '.join(question.column for question in questions)}' of {source}",
            np.asarray([text_of(columns[roles["group"]][row]) for row in chosen]) if "group" in roles else None,
            np.asarray([float(columns[roles["weight"]][row]) for row in chosen]) if "weight" in roles else None,
        )
    if "train" not in contents.splits:
        name, fault = contents.bad[0] if contents.bad else (source, "has no row of the train split")
        raise DataError(f"{source} has no row for training that can be read; the first: {name} {fault}.")
    return contents


def _answers_given(
    reading: table.Reading, answers: Sequence[Any], rows: Sequence[int], target: str, source: str
) -> list[str]:
    """What is to be told of columns that say the answer: another value for each one, or numbers in proportion to it."""
    if len(rows) < FEW:
        return []
    texts = [text_of(answers[row]) for row in rows]
    count = len(set(texts))
    numbers = np.asarray([float(text) for text in texts]) if all(map(is_number, texts)) else None
    same = []
    for place, column in enumerate(reading.columns):
        values = reading.values[rows, place]
        if 2 * count <= len(rows):
            pairs = set(zip(values.tolist(), texts, strict=True))
            says = len(set(values.tolist())) == count == len(pairs)
        else:  # nearly all values are different in any column of measurements
            says = (
                numbers is not None
                and not column.categories
                and values.std() * numbers.std() > 0
                and abs(float(np.corrcoef(values, numbers)[0, 1])) > 1 - 1e-9
            )
        if says:
            same.append(f"'{shown(column.name)}'")
    if not same:
        return []
    return [
        f"in {source}, {' and '.join(same)} tell{'s' * (len(same) == 1)} what '{shown(target)}' is in each row: leave "
        "it out if it is not known before the answer is."
    ]
