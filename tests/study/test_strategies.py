"""A comparison of searches: curves, budgets, resuming."""

import numpy as np
import pytest

from archscout.core.errors import UsageError
from archscout.study.simulated import simulate
from archscout.study.strategies import Races, comparable, curve, race, spread, summary, winners


@pytest.fixture(scope="module")
def races():
    return Races(("random", "evolution"), "40trials", 3, "valid")


@pytest.fixture(scope="module")
def rows(small_table, races, tmp_path_factory):
    return race(small_table, races, tmp_path_factory.mktemp("race"))


def test_rows_are_those_of_the_simulated_search(small_table, rows):
    from archscout.core.seeds import derive

    for row in rows:
        found = simulate(small_table, row["estimator"], "40trials", derive(0, "race", row["repeat"]) % 2**31)
        assert row["regret"] == found.regret[-1]
        assert row["mean_regret"] == pytest.approx(found.regret.mean())
        assert row["evaluations"] == 40
        assert row["seconds"] == pytest.approx(found.seconds[-1])
        for count, regret in row["regret_after"].items():
            assert regret == found.regret[int(count) - 1]
        for time, regret in row["regret_at"].items():
            ended = np.flatnonzero(found.seconds <= float(time) * (1 + 1e-5))
            assert regret == found.regret[ended[-1]]


def test_curves_stand_on_common_points_and_fall(rows):
    for key in ("regret_after", "regret_at"):
        points, values = curve(rows, "evolution", key)
        assert values.shape == (3, len(points))
        assert (np.diff(points) > 0).all()
        assert (np.diff(values, axis=1) <= 1e-12).all(), "the true regret of what looks best falls where truth is seen"
    assert spread(1, 200)[0] == 1
    assert spread(1, 200)[-1] == 200


def test_the_summary_counts_who_found_the_best(rows):
    entries = {entry["estimator"]: entry for entry in summary(rows)}
    for name, entry in entries.items():
        mine = [row for row in rows if row["estimator"] == name]
        reached = [row["to_optimum"] for row in mine if row["to_optimum"] == row["to_optimum"]]
        assert entry["found"] == len(reached) / 3
        assert entry["regret"] == pytest.approx(np.mean([row["regret"] for row in mine]))
    assert min(entry["p_against_best"] for entry in entries.values()) <= 1


def test_it_goes_on_and_workers_change_nothing(small_table, races, rows, tmp_path):
    race(small_table, Races(races.contenders, races.budget, 1, "valid"), tmp_path)
    assert str(race(small_table, races, tmp_path, workers=2)) == str(rows)


def test_unknown_searches_are_refused(small_table, tmp_path):
    with pytest.raises(UsageError, match="evolutoin"):
        race(small_table, Races(("evolutoin",), "10trials", 1, "valid"), tmp_path / "no")
    with pytest.raises(UsageError, match="nothing is compared"):
        race(small_table, Races((), "10trials", 1, "valid"), tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_the_winner_of_each_budget_has_the_least_regret_and_ties_are_named():
    rng = np.random.default_rng(0)
    rows = []
    for repeat in range(12):
        early, late = 0.2 + 0.01 * rng.random(), 0.1 + 0.01 * rng.random()
        for name, after in (
            ("quick", (early, 0.15)),
            ("slow", (0.4, late)),
            ("alike", (early + 1e-3 * rng.normal(), 0.15)),
        ):
            rows.append(
                {"estimator": name, "repeat": repeat, "regret_after": {"1": 0.5, "9": after[0], "40": after[1]}}
            )
    found = {entry["trainings"]: entry for entry in winners(rows)}
    assert list(found) == [10, 20, 40], "the whole budget is the last"
    assert {found[10]["winner"], *found[10]["equal"]} == {"quick", "alike"}
    assert (found[40]["winner"], found[40]["equal"]) == ("slow", [])


@pytest.mark.slow
def test_all_are_those_that_can_search_the_table(small_table):
    able, unable = comparable(small_table, "valid")
    assert {"random", "evolution", "cascade", "guided", "asha", "local_search"} <= set(able)
    assert not {"darts", "naswot", "te_nas", "race"} & {*able, *(text.partition(" ")[0] for text in unable)}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("spos", "'spos' trains or scores networks of its own, which a table cannot answer"),
        ("early_stopping", "'early_stopping' trains or scores networks of its own, which a table cannot answer"),
        ("scout", "'scout' is an estimator, not a search"),
        ("evolutoin", "did you mean 'evolution'"),
    ],
)
def test_what_cannot_be_raced_is_refused_before_anything_is_paid_for(small_table, name, words, tmp_path):
    with pytest.raises(UsageError, match=words):
        race(small_table, Races(("random", name), "5trials", 1, "valid"), tmp_path / "race")
    assert not (tmp_path / "race").exists()
