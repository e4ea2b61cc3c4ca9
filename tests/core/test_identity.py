"""What differs between two identities, in words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import archscout
from archscout.core.identity import differences, identity, sentence, set_aside
from archscout.testing import tiny_task

SPACE = archscout.space("nasbench201:width=4,cells=1")
BASE = identity(SPACE, tiny_task(), seed=0, epochs=None, maximum={}, sizes=(10, 20))


def test_an_identity_is_json_and_like_itself() -> None:
    assert BASE["sizes"] == [10, 20]
    assert differences(BASE, identity(SPACE, tiny_task(), seed=0, epochs=None, maximum={}, sizes=(10, 20))) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "seed 0, not 1"),
        ({"epochs": 5}, "epochs none, not 5"),
        ({"maximum": {"params": 1e5, "latency_ms": 2.0}}, "maximum none, not params = 100000, latency_ms = 2"),
        ({"sizes": [10]}, "sizes 10, 20, not 10"),
        ({"data": "x"}, "other data 'tiny8x8' (examples, labels or class names have changed)"),
        (
            {"space_parts": {**SPACE.parts, "parameters": "x"}},
            f"another space '{SPACE.name}' (its parameters have changed)",
        ),
        ({"task": "y", "data": "x"}, "task tiny8x8, not y"),
        ({"space": "y", "space_parts": {}}, f"space {SPACE.name}, not y"),
        ({"later": True}, "later none, not true"),
        ({"later": "a" * 60}, f"later none, not {'a' * 60}"),
        ({"later": "a" * 61}, f"later none, not {'a' * 57}..."),
    ],
)
def test_each_difference_has_its_words(change: dict[str, object], words: str) -> None:
    assert differences(BASE, {**BASE, **change}) == [words]


def test_what_an_earlier_version_did_not_note_is_said() -> None:
    before = {key: value for key, value in BASE.items() if key != "space_parts"}
    assert "did not note" in differences(before, BASE)[0]
    assert differences({**BASE, "old": 1}, BASE) == ["old 1, not none"]


def test_several_are_one_sentence() -> None:
    assert sentence(["a"]) == "a"
    assert sentence(["a", "b", "c"]) == "a; b; and c"


def test_changed_data_of_one_name_differ() -> None:
    task = tiny_task()
    assert task.test is not None
    repaired = dataclasses.replace(task, test=task.test.head(3))
    assert differences(identity(SPACE, task), identity(SPACE, repaired))[0].startswith("other data")


def test_what_is_set_aside_never_replaces_anything(tmp_path: Path) -> None:
    for number in range(1, 4):
        (tmp_path / "a.csv").write_text(str(number))
        assert set_aside(tmp_path / "a.csv", taken=["a.csv.old2"]).name == f"a.csv.old{number + (number > 1)}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv.old1", "a.csv.old3", "a.csv.old4"]
