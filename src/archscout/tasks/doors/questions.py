"""What the columns of a table ask of an example: a class, labels, numbers, a text, or several of these."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from archscout.tasks.contents import Contents
from archscout.tasks.decode import shown
from archscout.tasks.heads import Asks, Head
from archscout.tasks.labels import numbered, text_of

PARTED = ("|", ";")
"""Between several labels in one cell."""


def is_number(text: str) -> bool:
    """Whether a text is a finite number; an underscore, which Python reads over, is in none."""
    try:
        return "_" not in text and math.isfinite(float(text))
    except ValueError:
        return False


@dataclass(frozen=True)
class Question:
    """What a column answers: its head's name, and whether with a class, any number of labels, a number, or a text."""

    name: str
    column: str
    asks: Asks | Literal["text"]

    def fault(self, text: str) -> str:
        """What is wrong with an answer, as the predicate of a sentence; empty where nothing is."""
        if self.asks == "numbers":
            return (
                "has no target"
                if not text
                else ""
                if is_number(text)
                else (f"has a target that is no number ('{shown(text)}')")
            )
        if text or self.asks == "labels":
            return ""
        return "has no transcript" if self.asks == "text" else "has no label"


def questions_of(
    columns: Mapping[str, Sequence[Any]], roles: Mapping[str, str], named: Mapping[str, str | None]
) -> list[Question]:
    """What the columns answer: one label, numbers of several columns, or a head for each of several columns."""
    if "transcript" in roles and roles.get("label") == roles["transcript"]:
        return [Question(roles["label"], roles["label"], "text")]
    if "label" in roles:
        column = roles["label"]
        several = named.get("kind") in (None, "multilabel") and (
            named.get("kind") == "multilabel" or any(_is_several(value) for value in columns[column])
        )
        return [Question(column, column, "labels" if several else "class")]
    if "target" in roles:
        return [Question(column, column, "numbers") for column in target_columns(roles["target"], columns)]
    questions = []
    for column in columns:
        first, _, name = str(column).partition("_")
        if name and first.casefold() in ("label", "target"):
            several = first.casefold() == "label" and any(_is_several(value) for value in columns[column])
            asks: Asks = "numbers" if first.casefold() == "target" else "labels" if several else "class"
            questions.append(Question(name, column, asks))
    return questions


def mixed_labels(questions: Sequence[Question], columns: Mapping[str, Sequence[Any]], source: str) -> list[str]:
    """What is to be told of classes that are numbers with fractions, or numbers in some rows and texts in others."""
    sentences = []
    for question in questions:
        if question.asks != "class":
            continue
        cells = [cell for cell in columns[question.column] if text_of(cell)]
        texts = {text_of(cell) for cell in cells}
        written = [cell for cell in cells if isinstance(cell, str | bytes)]
        if 0 < len(written) < len(cells):
            other = next(cell for cell in cells if not isinstance(cell, str | bytes))
            sentences.append(
                f"column '{shown(question.column)}' of {source} has texts and numbers ('{shown(text_of(written[0]))}', "
                f"{shown(text_of(other))}): each is the class of its text."
            )
        elif all(map(is_number, texts)) and any(not float(text).is_integer() for text in texts):
            sentences.append(
                f"column '{shown(question.column)}' of {source} has numbers with fractions, of which {len(texts)} are "
                "different: each is a class (kind=regression where they measure something)."
            )
    return sentences


def target_columns(named: str, columns: Mapping[str, Sequence[Any]]) -> list[str]:
    """One column, or several with a plus between them."""
    return [named] if named in columns else named.split("+")


def _is_several(cell: Any) -> bool:
    """Whether a cell has several labels: a list (JSON lines, Parquet), or a text with signs that part them."""
    return isinstance(cell, list | tuple) or bool(_parts(cell)[1:])


def _parts(cell: Any) -> list[str]:
    """The labels of a cell.

    >>> _parts("cat|dog; cow"), _parts("cat"), _parts(""), _parts(["cat", "d|g"])
    (['cat', 'dog', 'cow'], ['cat'], [], ['cat', 'd|g'])
    """
    if isinstance(cell, list | tuple):
        return [text for value in cell if (text := text_of(value))]
    text = text_of(cell)
    for sign in PARTED:
        text = text.replace(sign, PARTED[0])
    return [part.strip() for part in text.split(PARTED[0]) if part.strip()]


def of_several(questions: Sequence[Question], columns: Mapping[str, Sequence[Any]], row: int) -> str:
    """Which column a fault lies in, where there are several."""
    if len(questions) == 1:
        return ""
    column = next(q.column for q in questions if q.fault(text_of(columns[q.column][row])))
    return f" in column '{shown(column)}'"


def answers_of(
    questions: Sequence[Question], columns: Mapping[str, Sequence[Any]], rows: Sequence[int], contents: Contents
) -> np.ndarray:
    """The targets of some rows: N, or N x K; what they mean is noted in the contents."""
    if questions[0].asks == "text":
        contents.kind = "lines"
        return np.asarray([text_of(columns[questions[0].column][row]) for row in rows], np.str_)
    blocks: list[np.ndarray] = []
    names: list[list[str]] = []
    for question in questions:
        texts = [text_of(columns[question.column][row]) for row in rows]
        if question.asks == "numbers":
            blocks.append(np.asarray([float(text) for text in texts])[:, None])
            names.append([question.name])
        elif question.asks == "labels":
            cells = [_parts(columns[question.column][row]) for row in rows]
            known = sorted({part for cell in cells for part in cell})
            marks = [[name in cell for name in known] for cell in cells]
            blocks.append(np.asarray(marks, np.float64).reshape(len(texts), len(known)))
            names.append(known)
        else:
            numbers, called = numbered(texts)
            blocks.append(numbers[:, None])
            names.append(called)
    if len(questions) > 1 and any(question.asks != "numbers" for question in questions):
        contents.kind = "heads"
        contents.heads = tuple(
            Head(q.name, q.asks, tuple(called))  # type: ignore[arg-type] # no text among them
            for q, called in zip(questions, names, strict=True)
        )
        return np.concatenate([block.astype(np.float64) for block in blocks], 1)
    contents.class_names = [name for called in names for name in called]
    contents.kind = {"numbers": "regression", "labels": "multilabel", "class": None}[questions[0].asks]
    y = np.concatenate(blocks, 1)
    return y if questions[0].asks == "labels" or len(questions) > 1 else y[:, 0]
