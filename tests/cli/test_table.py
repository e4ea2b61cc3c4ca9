"""`archscout table` and `archscout search --table`, as a user types them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import archscout as package
from archscout.core.registry import create
from archscout.core.seeds import stream

Call = Callable[..., Any]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A CSV file of made-up results."""
    space = create("space", "nasbench201")
    cells = [space.sample(stream(number, "cli")).text for number in range(60)]
    lines = [
        f"{cell},{50 + cell.count('conv') * 5},{100 + number},{cell.count('3x3')}" for number, cell in enumerate(cells)
    ]
    file = tmp_path / "results.csv"
    file.write_text("\n".join(["cell,acc,time,size", *lines]) + "\n")
    return file


@pytest.fixture
def table(archscout: Call, results: Path) -> str:
    done = archscout(
        "table", "import", "generic", results, "--space", "nasbench201", "--column", "architecture=cell", "--column",
        "valid:percent=acc", "--column", "time:seconds=time", "--column", "params:cost=size", "--out", "t.parquet",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.out.startswith("t.parquet: 60 rows, ")
    return "t.parquet"


def test_import_check_show(archscout: Call, table: str) -> None:
    done = archscout("table", "check", table)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "t.parquet: 60 rows of space 'nasbench201' are sound."
    found = json.loads(archscout("table", "check", table, "--json").out)
    assert found["sound"] is True
    assert all(not finding["wrong"] for finding in found["findings"])
    shown = archscout("table", "show", table)
    assert "60 rows" in shown.out
    assert "best valid: row" in shown.out
    found = json.loads(archscout("table", "show", table, "--json").out)
    assert found["best"]["value"] == package.table(table).best()[1]
    assert json.loads(archscout("table", "show", table, "--metric", "time", "--json").out)["metric"] == "time"


def test_an_unsound_table_is_listed_and_refused(archscout: Call, tmp_path: Path) -> None:
    from archscout.tables.metric import Metric
    from archscout.tables.table import write

    cell = "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    columns = {"architecture": [cell, cell], "accuracy": [0.5, 50.0]}
    write(tmp_path / "bad.parquet", "nasbench201", columns, [Metric("accuracy")], default="accuracy")
    done = archscout("table", "check", "bad.parquet")
    assert done.code == 2
    assert "wrong: bad.parquet, column 'accuracy': 1 accuracies are not fractions from 0 to 1 (row 1)" in done.out
    assert "'bad.parquet' is not sound: column 'accuracy'" in done.sentence
    done = archscout("table", "check", "bad.parquet", "--json")
    assert done.code == 2
    assert json.loads(done.out)["sound"] is False


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("import", "nasbench21", "results.csv"), "'nasbench201'"),
        (("import", "darts", "results.csv"), "no readable Parquet file"),
        (("import", "darts", "gone.parquet"), "there is no file 'gone.parquet'"),
        (("import", "darts", "results.csv", "--space", "darts"), "--space and --column are for a generic import"),
        (("import", "generic", "results.csv", "--column", "v:percent=acc"), "give --space"),
        (("import", "generic", "results.csv", "--space", "nasbench201"), "--column METRIC=COLUMN"),
        (
            ("import", "generic", "results.csv", "--space", "nasbench21", "--column", "architecture=cell",
             "--column", "v:percent=acc"),
            "'nasbench201'",
        ),
        (
            ("import", "generic", "results.csv", "--space", "mobile", "--column", "architecture=cell",
             "--column", "v:percent=acc"),
            "row 0 of 'results.csv', column 'cell', is not of space 'mobile'",
        ),
        (
            ("import", "generic", "results.csv", "--space", "nasbench201", "--column", "architecture=cell",
             "--column", "v:percent=acc", "--out", "results.csv"),
            "is the file to import",
        ),
        (("check", "gone"), "there is no table or file 'gone'"),
        (("check", "results.csv"), "'archscout table import generic' makes tables of CSV"),
        (("show", "gone.parquet"), "there is no table 'gone.parquet'"),
    ],
)  # fmt: skip
def test_refusals(archscout: Call, results: Path, tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    before = results.read_text()
    done = archscout("table", *arguments)
    assert done.code == 2
    assert done.out == ""
    assert expected in done.sentence
    assert [file.name for file in tmp_path.iterdir()] == ["results.csv"]
    assert results.read_text() == before


def test_a_simulated_search(archscout: Call, table: str, tmp_path: Path) -> None:
    command = ("search", "--table", table, "--method", "random", "--budget", "20trials", "--seed", 3)
    done = archscout(*command, "--json")
    assert done.code == 0, done.err
    metrics = json.loads(done.out)
    opened = package.table(table)
    assert metrics["simulated"] is True
    assert metrics["value"] == opened.value(metrics["architecture"])
    assert metrics["regret"] == pytest.approx(opened.best()[1] - metrics["value"])
    assert metrics["trials"] == 20
    assert metrics["costs"] == {"params": opened.value(metrics["architecture"], "params")}
    folder = tmp_path / "runs" / "t-valid-random-seed3"
    assert metrics == json.loads((folder / "metrics.json").read_text())
    rows = list(csv.DictReader((folder / "trials.csv").read_text().splitlines()))
    assert len(rows) == 20
    values = [opened.value(row["architecture"]) for row in rows]
    np.testing.assert_allclose([float(row["best"]) for row in rows], np.maximum.accumulate(values))
    assert float(rows[-1]["seconds"]) == pytest.approx(metrics["simulated_seconds"], rel=1e-5)
    page = archscout("report", folder)
    assert page.code == 2
    assert "is a simulated search, which has no page" in page.sentence
    again = archscout(*command)
    assert again.code == 0
    assert "finished" in again.err
    assert "simulated on table t" in again.out
    assert "trains and exports no network" in again.out


def test_a_stopped_simulation_begins_again_and_ends_the_same(archscout: Call, table: str, tmp_path: Path) -> None:
    command = ("search", "--table", table, "--method", "evolution", "--budget", "30trials", "--name", "r")
    archscout(*command)
    folder = tmp_path / "runs" / "r"
    trials = (folder / "trials.csv").read_text()
    (folder / "metrics.json").unlink()
    (folder / "trials.csv").write_text("half of")
    assert archscout(*command).code == 0
    assert (folder / "trials.csv").read_text() == trials


def test_scores_that_are_nowhere_are_named_and_computed_on_data(archscout: Call, table: str) -> None:
    command = ("search", "--table", table, "--method", "cascade:scores=params+naswot", "--budget", "6trials", "--json")
    done = archscout(*command)
    assert done.code == 0
    assert "table 't' has no scores naswot: --data would compute them." in done.err
    assert json.loads(done.out)["undefined_scores"] == ["naswot"]
    done = archscout(*command, "--data", "digits:train=200", "--name", "scored")
    assert json.loads(done.out)["undefined_scores"] == []


def test_limits_objectives_and_simulated_time(archscout: Call, table: str) -> None:
    done = archscout(
        "search", "--table", table, "--method", "nsga2", "--max", "params=2", "--objective", "params", "--budget", "1h",
        "--json",
    )  # fmt: skip
    metrics = json.loads(done.out)
    assert metrics["costs"]["params"] <= 2
    assert metrics["simulated_seconds"] <= 3600
    assert metrics["constraints"] == [{"name": "params", "key": "params", "limit": 2.0}]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--table", "gone"), "there is no table or file 'gone'"),
        (("--table", "t.parquet", "--metric", "valld"), "did you mean 'valid'"),
        (("--table", "t.parquet", "--space", "nasbench201"), "--space has no meaning with --table"),
        (("--table", "t.parquet", "--epochs", 3), "--epochs has no meaning with --table"),
        (("--table", "t.parquet", "--method", "randm"), "'random'"),
        (("--table", "t.parquet", "--max", "macs=3"), "has no column of the cost 'macs'"),
        (("--table", "t.parquet", "--max", "params=3kg"), "3kg"),
        (("--table", "t.parquet", "--budget", "5 moons"), "5 moons"),
    ],
)
def test_search_refuses(archscout: Call, table: str, tmp_path: Path, more: tuple[str, ...], expected: str) -> None:
    done = archscout("search", *more)
    assert done.code == 2
    assert done.out == ""
    assert expected in done.sentence
    assert not list(tmp_path.glob("runs/*/*.json"))


def test_a_folder_of_another_search_is_left_alone(archscout: Call, table: str, tmp_path: Path) -> None:
    command = ("search", "--table", table, "--method", "random", "--budget", "5trials", "--name", "r")
    assert archscout(*command).code == 0
    assert "was started with seed 0, not 1" in archscout(*command, "--seed", 1).sentence
    folder = tmp_path / "runs" / "trained"
    folder.mkdir()
    (folder / "search.sqlite").touch()
    assert "is the run of a search, not of a search of a table" in archscout(*command[:-1], "trained").sentence


def test_build_trains_and_goes_on(archscout: Call, data: Path, tmp_path: Path) -> None:
    command = (
        "table", "build", "--space", "nasbench201:width=4", "--data", data, "--networks", 3, "--seeds", 2,
        "--several", 1, "--epochs", 1, "--workers", 1, "--out", "mine.parquet",
    )  # fmt: skip
    done = archscout(*command, "--json")
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    assert (answer["out"], answer["rows"], answer["networks"]) == ("mine.parquet", 4, 3)
    again = archscout(*command)
    assert again.code == 0
    assert "4 of 4 trainings are there already" in again.err
    assert again.out.startswith("mine.parquet: 4 trainings of 3 networks; best test_accuracy ")
    assert archscout("table", "check", "mine.parquet").code == 0
    refused = archscout(*command, "--seed", 1)
    assert refused.code == 2
    assert "was begun with seed " in refused.err
