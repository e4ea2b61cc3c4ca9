"""What a task or a method has to show: panels, which the report draws whoever made them.

A panel holds plain text and numbers. It is written to JSON with the run, and read back when the page is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

Point = tuple[float, float]


@dataclass(frozen=True)
class Panel:
    """Something to show under a title; see the kinds below."""

    shows: ClassVar[str] = ""
    title: str

    def as_json(self) -> dict[str, Any]:
        """What `read` reads."""
        return {"panel": self.shows, **asdict(self)}


@dataclass(frozen=True)
class Text(Panel):
    """Paragraphs."""

    shows: ClassVar[str] = "text"
    paragraphs: Sequence[str]


@dataclass(frozen=True)
class Table(Panel):
    """Rows of text or numbers, as many to a row as there are columns."""

    shows: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float]]


@dataclass(frozen=True)
class Lines(Panel):
    """Lines by name, each a sequence of points; with `joined` false the points alone."""

    shows: ClassVar[str] = "lines"
    x: str
    y: str
    lines: Mapping[str, Sequence[Point]]
    joined: bool = True


@dataclass(frozen=True)
class Bars(Panel):
    """A bar for each label, in the order given."""

    shows: ClassVar[str] = "bars"
    y: str
    labels: Sequence[str]
    values: Sequence[float]


@dataclass(frozen=True)
class Confusion(Panel):
    """How often (`counts[i][j]`) examples of class i were called class j."""

    shows: ClassVar[str] = "confusion"
    names: Sequence[str]
    counts: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Pictures(Panel):
    """Pictures (PNG files in base64), each with what is said below it."""

    shows: ClassVar[str] = "pictures"
    pictures: Sequence[tuple[str, str]]


KINDS: dict[str, type[Panel]] = {kind.shows: kind for kind in (Text, Table, Lines, Bars, Confusion, Pictures)}


def read(written: Any) -> Panel | None:
    """The panel that was written as JSON; None for what is none, for reports come from anywhere."""
    if not isinstance(written, Mapping) or written.get("panel") not in KINDS:
        return None
    try:
        return KINDS[written["panel"]](**{str(key): value for key, value in written.items() if key != "panel"})
    except TypeError:
        return None
