"""Every benchmark says what it does; result files are written whole, with a row a line, and gone on with."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks.common import RESULTS, ROOT, Rows, read_result, write_result

SCRIPTS = sorted(
    file.relative_to(ROOT) for file in (ROOT / "benchmarks").rglob("*.py") if "__main__" in file.read_text("utf-8")
)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem if isinstance(path, Path) else None)
def test_each_script_answers_help(script, monkeypatch, capsys):
    name = ".".join(script.with_suffix("").parts)
    module = importlib.import_module(name)
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert module.__doc__.split("\n")[0] in text
    assert f"python -m {name}" in text


def test_scripts_that_are_named_are_there():
    """In documentation, in the package, in benchmarks and tests, and in the table of results."""
    texts = [ROOT / "README.md", ROOT / "pyproject.toml"]
    for folder in ("docs", "src", "benchmarks", "tests"):
        texts += [file for ending in ("*.md", "*.py") for file in (ROOT / folder).rglob(ending)]
    named = {name for file in texts for name in re.findall(r"\bbenchmarks/[\w/]+\.py\b", file.read_text("utf-8"))}
    table = (RESULTS / "README.md").read_text("utf-8")
    named |= {f"benchmarks/{name}" for name in re.findall(r"`(\w+/\w+\.py)`", table)}
    assert len(named) > 30
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_results_have_a_line_for_each_row(tmp_path):
    file = tmp_path / "result.json"
    result = {"about": {"seeds": 2}, "rows": [{"a": 1, "b": [1, 2]}, {"a": 2, "b": []}], "empty": []}
    write_result(file, result)
    assert read_result(file) == result
    assert file.read_text().splitlines()[2:5] == ['"rows": [', '{"a": 1, "b": [1, 2]},', '{"a": 2, "b": []}']
    assert read_result(tmp_path / "none.json") == {}


def test_rows_go_on_where_they_were(tmp_path):
    file = tmp_path / "rows.json"
    rows = Rows(file, ("name", "seed"), {"unit": "ms"}, sort=True)
    for name, seed, value in (("b", 0, 1), ("a", 1, 2), ("b", 0, 3)):
        rows.add({"name": name, "seed": seed, "value": value})
    again = Rows(file, ("name", "seed"))
    assert [row["value"] for row in again.rows] == [2, 3]
    assert again.has(name="a", seed=1)
    assert not again.has(name="a", seed=0)
    assert json.loads(file.read_text())["unit"] == "ms"
    assert list(tmp_path.iterdir()) == [file]


def test_searches_on_tables_join_what_was_measured_before():
    from benchmarks.strategies.on_tables import GROUNDS, joined

    def ground(place, common=2, winners=("w",), **repeats):
        entries = [{"estimator": name, "repeats": count, "of": place} for name, count in repeats.items()]
        return {"title": GROUNDS[place][2], "trials": 100, "entries": entries, "common": common, "winners": [*winners]}

    def found(grounds):
        return [(g["winners"], {e["estimator"]: e["repeats"] for e in g["entries"]}) for g in grounds]

    before = [ground(1, cascade=20, random=20, asha=3, bohb=3), ground(3, cascade=20, random=20)]
    now = [ground(1, winners=("x",), random=6, asha=6), ground(0, cascade=2)]
    assert found(joined(before, now)) == [
        (["w"], {"cascade": 2}),
        (["w"], {"cascade": 20, "random": 20, "asha": 6, "bohb": 3}),
        (["w"], {"cascade": 20, "random": 20}),
    ]
    (whole,) = joined([ground(1, cascade=3, asha=1)], [ground(1, winners=("x",), cascade=3, random=3)])
    assert whole["winners"] == ["x"]
