"""The page draws whatever panel it is told, and nothing of one can do harm."""

import json
from pathlib import Path
from types import ModuleType

from archscout.core.panel import Bars, Confusion, Lines, Pictures, Table, Text
from archscout.report import page, panels

PANELS = [
    Text("Words", ["<script>alert(1)</script>", "plain"]),
    Table("Each class", ["class", "overlap"], [["road", 0.5], ["<b>sky</b>", 0.123456]]),
    Lines("Answers", "true", "predicted", {"examples": [(0.0, 0.5), (1.0, 0.75)]}, joined=False),
    Bars("Heads", "share", ["colour", "shape"], [0.5, 0.75]),
    Confusion("Mixed", ["cat", "dog"], [[3, 2], [0, 4]]),
    Pictures("Worst", [("aGk=", "is cat, called dog"), ('" onerror="x', "damaged")]),
]


def test_every_panel_is_drawn_and_its_text_is_safe(tmp_path: Path, samples: ModuleType) -> None:
    report, trials = samples.sample()
    written = json.loads(json.dumps([panel.as_json() for panel in PANELS]))
    report |= {"panels": written, "confusion": None, "mistakes": []}
    report["notes"]["panels"] = written[:1]
    text = page.render(report, trials, folder=tmp_path)
    for panel in PANELS:
        assert f"<h3>{panel.title}</h3>" in text
    assert "<script>alert(1)" not in text
    assert "<b>sky" not in text
    assert 'onerror="x' not in text
    assert "What the method tells" in text
    assert "7 of 9 test examples are right, 2 are wrong." in text
    assert "cat taken for dog: 2" in text
    assert "data:image/png;base64,aGk=" in text


def test_a_damaged_panel_is_left_out_and_the_rest_is_shown() -> None:
    damaged = [{"panel": "bars", "title": "t", "y": "y", "labels": ["a"], "values": []}, {"panel": "table"}, 7]
    shown = panels.show([*damaged, PANELS[0].as_json()])
    assert [panel.title for panel in shown] == ["Words"]
    assert panels.show("nonsense") == []


def test_lines_say_what_they_are_against() -> None:
    (shown,) = panels.show([PANELS[2].as_json()])
    assert shown.figure is not None
    trace = shown.figure.figure.data[0]
    assert (list(trace.x), list(trace.y), trace.mode) == ([0.0, 1.0], [0.5, 0.75], "markers")
    assert "predicted against true" in shown.figure.says
