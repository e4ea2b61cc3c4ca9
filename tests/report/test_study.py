"""The pages about studies: self-contained, escaped, and true to their numbers."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from archscout.report.study import quality, winner_map, write_estimators, write_strategies
from archscout.study.summary import summary, winners

EVIL = "scout<script>alert(1)</script>"


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    shifts = {EVIL: 0.7, "score": 0.4}
    return [
        {"repeat": r, "estimator": n, "train": t, "epochs": 0, "kendall": s + t / 1000 + 0.01 * rng.normal(),
         "simulated_seconds": 10.0 * t, "query_seconds": float("nan"), "precision@10": 0.5}
        for r in range(6) for n, s in shifts.items() for t in ((10, 50) if n == EVIL else (0,))
    ]  # fmt: skip


def test_the_page_of_estimators_stands_alone(rows, tmp_path):
    about = {"table": "made", "metric": "valid", "repeats": 6}
    page = write_estimators(tmp_path, about=about, entries=summary(rows), winners=winners(rows), version="1")
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "default-src 'none'" in text
    assert "2 estimators on made" in text
    mean = np.mean([row["kendall"] for row in rows if row["train"] == 50])
    assert f"{mean:.3g} [" in text
    assert (tmp_path / "winners.svg").is_file()


def test_the_winner_map_is_a_picture_with_a_field_a_budget(rows):
    won = winners(rows)
    picture = winner_map(won, {EVIL: "#0b7a6d", "score": "#c2571a"})
    root = ElementTree.fromstring(picture)
    fields = root.findall("{http://www.w3.org/2000/svg}g")
    assert len(fields) == len(won) == 3
    for field, entry in zip(fields, won, strict=True):
        assert field[0].text.startswith(entry["winner"])
        assert field[1].get("fill") == ("#0b7a6d" if entry["winner"] == EVIL else "#c2571a")
        clear = entry["p"] is not None and entry["p"] < 0.05
        assert field[2].text == f"{entry['kendall']:.3f}" + ("" if clear else " ~")


def test_nothing_of_the_winner_map_is_cut_at_the_edge(rows):
    """With one size of training sets, the caption was wider than the picture."""
    long = "random_forest:encoding=plain,scores=naswot+synflow+params+macs,tune=30,features=all"
    one = [{**entry, "winner": long} for entry in winners(rows) if not entry["train"]]
    root = ElementTree.fromstring(winner_map(one, {long: "#0b7a6d"}))
    width = float(root.get("width"))
    texts = [text for text in root.iter("{http://www.w3.org/2000/svg}text") if text.get("text-anchor") == "start"]
    assert {long} < {text.text for text in texts}
    for text in texts:  # 7 pixels a letter is wide, for a typeface of 13
        assert float(text.get("x")) + 7 * len(text.text) < width


def test_tables_are_as_narrow_as_the_page(rows, tmp_path):
    """All columns beside each other were cut at the right edge."""
    about = {"table": "made", "metric": "valid", "repeats": 6}
    page = write_estimators(tmp_path, about=about, entries=summary(rows), winners=winners(rows), version="1")
    tables = page.read_text(encoding="utf-8").split('<table class="numbers">')[1:]
    heads = [table.split("</thead>")[0].count("<th ") for table in tables]
    assert len(heads) == 4
    assert max(heads) <= 8  # of "0.123 [0.101, 0.145]" each, beside the name
    assert all(table.count(EVIL.split("<")[0]) for table in tables)


def test_what_learns_is_a_line_with_a_band_and_what_does_not_is_level(rows):
    figure = quality(summary(rows), {EVIL: "#0b7a6d", "score": "#c2571a"}, "kendall").figure
    band, line, level = figure.data
    assert line.x == (10, 50)
    assert band.fill == "toself"
    assert level.y[0] == level.y[1]


def test_the_page_of_searches_stands_alone(tmp_path):
    points = np.array([1.0, 10.0])
    curves = {"regret_after": (points, points / 100, points / 200, points / 50), "regret_at": (np.empty(0),) * 4}
    entries = [
        {"estimator": name, "regret": 0.1, "regret_low": 0.05, "regret_high": 0.2, "mean_regret": 0.2, "found": 0.5,
         "to_optimum": 7.0, "evaluations": 10.0, "seconds": 0.0, "p_against_best": 1.0, "curves": curves}
        for name in ("random", EVIL)
    ]  # fmt: skip
    about = {"table": "made", "metric": "valid", "repeats": 6, "budget": "10trials"}
    text = write_strategies(tmp_path, about=about, entries=entries, version="1").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "Regret against trainings" in text
    assert "Regret against simulated seconds" not in text
    assert "0.1 [0.05, 0.2]" in text
