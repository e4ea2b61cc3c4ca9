"""The commands of studies: what they print, write and refuse."""

import json

import numpy as np
import pytest

from archscout.cli.main import run
from archscout.core.registry import create


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    pa = pytest.importorskip("pyarrow", reason="tables need pyarrow")
    import pyarrow.parquet as pq

    space, rng = create("space", "nasbench201"), np.random.default_rng(0)
    texts = list(dict.fromkeys(str(space.sample(rng)) for _ in range(120)))
    values = [0.5 + 0.05 * text.count("conv_3x3") + 0.01 * rng.normal() for text in texts]
    about = {
        "format": 1, "name": "made", "space": "nasbench201", "task": "", "default": "valid", "source": "made up",
        "metrics": {"valid": {"kind": "accuracy", "split": "valid"}, "params": {"kind": "cost"}},
    }  # fmt: skip
    columns = pa.table({"architecture": texts, "valid": values, "params": [text.count("conv") for text in texts]})
    file = tmp_path_factory.mktemp("study") / "made.parquet"
    pq.write_table(columns.replace_schema_metadata({b"archscout": json.dumps(about)}), file)
    return file


def test_estimators_are_compared_from_the_command_line(table, tmp_path, capfd):
    command = [
        "study",
        "estimators",
        "--table",
        str(table),
        "--with",
        "bayesian_ridge,params",
        "--train-sizes",
        "10,30",
    ]
    command += ["--repeats", "3", "--workers", "1", "--out", str(tmp_path / "s")]
    assert run(command) == 0
    shown = capfd.readouterr()
    assert "bayesian_ridge" in shown.out
    assert "6 of 6 done" in shown.err
    assert {f.name for f in (tmp_path / "s").iterdir()} >= {"report.html", "winners.svg", "summary.csv", "rows.csv"}
    assert run([*command, "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert {entry["estimator"] for entry in answer["summary"]} == {"bayesian_ridge", "params"}
    assert len(answer["winners"]) == 3


@pytest.mark.usefixtures("in_process")
def test_searches_are_compared_from_the_command_line(table, tmp_path, capfd):
    command = ["study", "strategies", "--table", str(table), "--budget", "20trials", "--repeats", "2", "--json"]
    assert run([*command, "--workers", "1", "--out", str(tmp_path / "s")]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert {entry["estimator"] for entry in answer["summary"]} == {"random", "evolution"}
    assert answer["summary"][0]["regret"] <= answer["summary"][1]["regret"]


@pytest.mark.usefixtures("in_process")
def test_searches_are_named_in_one_option_or_several_and_missing_scores_are_told(table, tmp_path, capfd):
    command = ["study", "strategies", "--table", str(table), "--with", "random", "--with", "guided,evolution"]
    assert run([*command, "--budget", "6trials", "--repeats", "1", "--workers", "1", "--out", str(tmp_path / "s")]) == 0
    shown = capfd.readouterr()
    assert "has no scores naswot, zen: guided searched without them" in shown.err
    assert {line.split()[0] for line in shown.out.splitlines()[2:5]} == {"random", "guided", "evolution"}


@pytest.mark.usefixtures("in_process")
def test_searches_go_by_validation_where_the_default_is_the_same_on_test(table, tmp_path, capfd):
    """As a single search of a table does; `--metric` names another column."""
    from archscout.tables.metric import Metric
    from archscout.tables.table import Table, write

    made = Table.open(table)
    held = made.column("valid").tolist()
    columns = {"architecture": made.architectures, "held": held, "tested": [1 - value for value in held]}
    kinds = [Metric("held", split="valid"), Metric("tested", split="test")]
    both = write(tmp_path / "both.parquet", made.space, columns, kinds, default="tested")
    command = ["study", "strategies", "--table", str(both.path), "--with", "random", "--budget", "6trials"]
    command += ["--repeats", "1", "--workers", "1", "--json"]
    regrets = {}
    for name, more in {"held": [], "tested": ["--metric", "tested"]}.items():
        assert run([*command, *more, "--out", str(tmp_path / name)]) == 0
        answer = json.loads(capfd.readouterr().out)
        assert answer["metric"] == name
        regrets[name] = answer["summary"][0]["regret"]
    assert regrets["held"] != regrets["tested"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["estimators", "--with", "scuot"], "did you mean 'scout'"),
        (["estimators", "--with", "scout", "--train-sizes", "2"], "fewer than 3 networks"),
        (["estimators", "--with", "scout", "--train-sizes", "a"], "no whole number"),
        (["estimators", "--with", "scout", "--train-sizes", "100"], "more than half"),
        (["estimators", "--with", "valacc", "--train-sizes", "10"], "no shorter trainings"),
        (["estimators", "--with", "scout", "--mutants", "--test", "all"], "predicted in a number"),
        (["estimators", "--with", "scout", "--metric", "vlaid"], "did you mean 'valid'"),
        (["strategies", "--with", "rondam"], "did you mean 'random'"),
        (["strategies", "--budget", "1h"], "does not say how long trainings took"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(table, tmp_path, capfd, arguments, sentence):
    kind, *rest = arguments
    command = ["study", kind, "--table", str(table), *rest, "--workers", "1", "--out", str(tmp_path / "s")]
    assert run(command) in (1, 2)
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert sentence in error
    assert error.startswith("Error: ")


@pytest.mark.usefixtures("in_process")
def test_supernets_are_compared_from_the_command_line(table, tmp_path, capfd):
    command = ["study", "supernets", "--table", str(table), "--space", "nasbench201:width=4,cells=1"]
    command += ["--passes", "2", "--batch", "16", "--sample", "8", "--repeats", "1", "--with", "fixed,untrained"]
    command += ["--workers", "1", "--out", str(tmp_path / "s")]
    assert run(command) == 2
    assert "give --data" in capfd.readouterr().err
    assert run([*command, "--data", "digits", "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert [entry["paths"] for entry in answer["summary"]] == ["fixed", "untrained", "params", "macs", "random"]
    assert {f.name for f in (tmp_path / "s").iterdir()} >= {"summary.csv", "bias.csv", "rows.jsonl"}
    assert run([*command, "--data", "digits"]) == 0
    assert "best fifth" in capfd.readouterr().out


@pytest.mark.usefixtures("in_process")
def test_the_name_of_a_table_leads_nowhere_else(table, tmp_path, monkeypatch, capfd):
    """A name inside a file that somebody sent must not choose where we write."""
    import pyarrow.parquet as pq

    content = pq.read_table(table)
    about = json.loads(content.schema.metadata[b"archscout"]) | {"name": "../../../evil"}
    file = tmp_path / "sent.parquet"
    pq.write_table(content.replace_schema_metadata({b"archscout": json.dumps(about)}), file)
    home = tmp_path / "a" / "b" / "c"
    home.mkdir(parents=True)
    monkeypatch.chdir(home)
    command = ["study", "estimators", "--table", str(file), "--with", "params", "--train-sizes", "10", "--repeats", "1"]
    assert run([*command, "--workers", "1"]) == 0
    capfd.readouterr()
    (folder,) = (home / "runs").iterdir()
    assert folder.name.startswith("study-estimators-")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "sent.parquet"}
    assert [path for path in tmp_path.rglob("report.html") if home / "runs" not in path.parents] == []


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_quantisations_are_compared_from_the_command_line(tmp_path, capfd):
    command = [
        "study", "quantisation", "--architecture", "stem8k3s1_residual16x1k3_inverted16x1k3e2", "--schemes", "papers",
        "--with", "nearest", "--bits", "w3a8", "--epochs", "1", "--repeats", "1", "--examples", "32", "--workers", "1",
        "--out", str(tmp_path / "grid"),
    ]  # fmt: skip
    assert run(command) == 0
    told = capfd.readouterr()
    assert "papers" in told.out
    assert "w3a8" in told.out
    assert (tmp_path / "grid" / "report.html").is_file()
    assert (tmp_path / "grid" / "rows.csv").read_text().count("\n") == 2
    assert run([*command, "--bits", "w4"]) == 2
    assert "write w4a8" in capfd.readouterr().err
