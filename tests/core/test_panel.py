"""Panels go through JSON unchanged, and what is none is none."""

import json

import pytest

from archscout.core import panel
from archscout.core.panel import Bars, Confusion, Lines, Panel, Pictures, Table, Text

ALL: list[Panel] = [
    Text("a", ["one", "two"]),
    Table("b", ["name", "value"], [["x", 1.5]]),
    Lines("c", "x", "y", {"line": [[0.0, 1.0], [1.0, 2.0]]}, joined=False),
    Bars("d", "y", ["left"], [2.0]),
    Confusion("e", ["cat", "dog"], [[3, 1], [0, 2]]),
    Pictures("f", [["aGk=", "said"]]),
]


@pytest.mark.parametrize("made", ALL, ids=lambda made: made.shows)
def test_json_keeps_a_panel(made: Panel) -> None:
    assert panel.read(json.loads(json.dumps(made.as_json()))) == made


@pytest.mark.parametrize("wrong", [None, 3, "text", {}, {"panel": "dance"}, {"panel": "text", "title": "no text"}])
def test_what_is_no_panel_is_none(wrong: object) -> None:
    assert panel.read(wrong) is None


def test_every_kind_of_panel_is_tried_here() -> None:
    assert {type(made) for made in ALL} == set(panel.KINDS.values())
