"""A study of latency models on times that a formula gives."""

import json
from pathlib import Path

import numpy as np
import pytest

from archscout.cli.main import run
from archscout.core.errors import DataError, UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.study.latency import Contest, Times, compare, read_times, summary
from archscout.testing import tiny_task

SPACE = create("space", "nasbench201:width=4,cells=1")


def milliseconds(text: str, scale: float) -> float:
    return scale * (5.0 + 2 * text.count("conv_3x3") + text.count("conv_1x1"))


@pytest.fixture(scope="module")
def times() -> Times:
    drawn = {a.text: a for a in (SPACE.simplify(SPACE.sample(stream(n, "ms"))) for n in range(60))}
    ms = {
        device: np.asarray([milliseconds(text, scale) for text in drawn]) for device, scale in (("a", 1.0), ("b", 3.0))
    }
    return Times(tuple(drawn.values()), ms)


def test_who_knows_the_formula_predicts_the_rest(times: Times, tmp_path: Path) -> None:
    contest = Contest(("linear", "oneproxy"), ("a", "b"), (20,), repeats=1)
    rows = compare(SPACE, tiny_task(), times, contest, tmp_path)
    assert len(rows) == 2 * 2
    # The other device is this one at another scale, which OneProxy learns from.
    assert min(row["kendall"] for row in rows if row["model"] == "oneproxy") > 0.9
    entries = summary(rows)
    assert {(e["model"], e["train"]): e["devices"] for e in entries} == {
        (model, 20): 2 for model in ("linear", "oneproxy")
    }
    best = next(e for e in entries if e["train"] == 20)
    expected = np.mean([row["within"] for row in rows if row["model"] == best["model"] and row["train"] == 20])
    assert best["within"] == pytest.approx(expected)
    again = compare(SPACE, tiny_task(), times, contest, tmp_path)
    assert again == rows, "nothing is done twice"
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 4


def test_times_are_read_with_gaps_and_repeats(times: Times, tmp_path: Path) -> None:
    texts = [architecture.text for architecture in times.architectures[:3]]
    file = tmp_path / "t.csv"
    file.write_text(f"architecture,a,note,b\n{texts[0]},1,x,\n{texts[1]},2,y,4\n{texts[0]},3,z,\n{texts[2]},5,x,6\n")
    found = read_times(file, SPACE)
    assert [a.text for a in found.architectures] == texts
    assert found.ms["a"].tolist() == [2, 2, 5]
    assert np.isnan(found.ms["b"][0])
    assert list(found.ms) == ["a", "b"]
    file.write_text(f"architecture,a\n{texts[0]},0\n")
    with pytest.raises(DataError, match="line 2: 0 ms on 'a' is no time"):
        read_times(file, SPACE)
    file.write_text(f"architecture,a\n{texts[0]},x\n")
    with pytest.raises(DataError, match="has no column of milliseconds"):
        read_times(file, SPACE)


@pytest.mark.parametrize(
    ("contest", "message"),
    [
        (Contest(("lineal",), ("a",), (5,)), "there is no latency model 'lineal': did you mean 'linear'"),
        (Contest(("linear",), ("c",), (5,)), "there are no times of device 'c'"),
        (Contest(("linear",), ("a",), (1000,)), "1000 networks cannot be learned from: 'a' has"),
    ],
)
def test_what_cannot_be_compared_is_told(times: Times, tmp_path: Path, contest: Contest, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compare(SPACE, tiny_task(), times, contest, tmp_path)


@pytest.mark.slow
def test_the_command(times: Times, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{a.text},{times.ms['a'][row]},{times.ms['b'][row]}" for row, a in enumerate(times.architectures)]
    (tmp_path / "t.csv").write_text("architecture,a,b\n" + "\n".join(lines))
    command = ["study", "latency", str(tmp_path / "t.csv"), "--space", SPACE.name, "--with", "linear", "--device", "a",
               "--train-sizes", "8", "--repeats", "1", "--workers", "1", "--out", str(tmp_path / "s")]  # fmt: skip
    assert run([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [entry["model"] for entry in said["summary"]] == ["linear"]
    assert (tmp_path / "s" / "summary.csv").read_text().startswith("model,train,devices,kendall")
    assert run([*command[:-2], "--train-sizes", "x"]) == 2
    assert "'x' is no whole number" in capsys.readouterr().err
