"""A result as people read it: in the unit of its metric, and refused where there is none."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from archscout.core.errors import ArchscoutError, DataError, UsageError
from archscout.core.files import write_json
from archscout.core.metric import ACCURACY, Metric
from archscout.search.result import Result

METRICS: dict[str, Any] = {
    "architecture": "a-b", "metric": "accuracy", "valid_accuracy": 0.98765, "test_accuracy": 0.5, "trials": 7,
    "rejected": 2, "failed_trials": 1, "costs": {"params": 1234}, "seconds": {"total": 12.4}, "pareto": [],
}  # fmt: skip


def result(folder: Path, **changes: Any) -> Result:
    write_json(folder / "metrics.json", METRICS | changes)
    return Result.read(folder)


def test_a_share_is_said_in_percent(tmp_path: Path) -> None:
    found = result(tmp_path)
    assert found.metric == ACCURACY
    assert "accuracy 98.77% on validation, 50.00% on test" in found.summary()
    assert "7 trained, 2 rejected for their cost, 1 failed" in found.summary()


def test_what_was_scored_is_not_said_to_be_trained(tmp_path: Path) -> None:
    said = result(tmp_path, trials=20, trained=8, estimator="naswot").summary()
    assert "20 judged by 'naswot', 8 trained, 2 rejected for their cost" in said
    assert "20 trained" in result(tmp_path, trials=20, trained=20, estimator="trained:recipe=sgd").summary()


def test_where_the_winner_alone_was_trained_it_is_not_said_that_none_was(tmp_path: Path) -> None:
    training = {"epochs": 3, "planned_epochs": 3, "examples": 9, "short": False, "unused_seconds": 0.0}
    assert "no other network trained, 2 rejected" in result(tmp_path, trials=0, trained=1, training=training).summary()


def test_numbers_are_never_written_in_powers_of_ten(tmp_path: Path) -> None:
    costs = {"params": 50820, "macs": 72_370_000, "latency_ms": 0.841234, "peak_memory_bytes": 49152.0}
    said = result(tmp_path, costs=costs).summary()
    assert "params 50,820, macs 72,370,000, latency_ms 0.8412, peak_memory_bytes 49,152" in said


def test_one_epoch_is_an_epoch(tmp_path: Path) -> None:
    training = {"epochs": 1, "planned_epochs": 1, "examples": 1077, "short": True, "advised_epochs": 150}
    assert "trained for 1 epoch on 1,077 examples: a short training (about 150 epochs pay)" in (
        result(tmp_path, training=training).summary()
    )


def test_an_error_is_said_in_its_unit(tmp_path: Path) -> None:
    metric = Metric("mean_error", "lower", "mm", 3)
    values = {"valid_mean_error": 12.3456, "test_mean_error": None}
    found = result(tmp_path, metric="mean_error", metric_details=metric.as_json(), **values)
    assert found.metric == metric
    assert "mean error 12.3 mm on validation\n" in found.summary()
    assert "%" not in found.summary()
    assert "on test" not in found.summary()


def test_what_is_not_finite_is_null_and_no_half_file_stays(tmp_path: Path) -> None:
    write_json(tmp_path / "some.json", {"a": float("nan"), "b": [float("inf"), 1.5], 3: ("x",)})
    assert json.loads((tmp_path / "some.json").read_text()) == {"a": None, "b": [None, 1.5], "3": ["x"]}
    with pytest.raises(TypeError):
        write_json(tmp_path / "some.json", {"a": object()})
    assert json.loads((tmp_path / "some.json").read_text())["b"] == [None, 1.5]
    assert [file.name for file in tmp_path.iterdir()] == ["some.json"]


def test_a_folder_without_a_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no finished search"):
        Result.read(tmp_path)


TRAINING = {"epochs": 20, "planned_epochs": 20, "examples": 1500, "short": False, "advised_epochs": 90}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "trained for 20 epochs on 1,500 examples"),
        ({"planned_epochs": 30}, "trained for 20 epochs on 1,500 examples (30 were planned)"),
        (
            {"short": True},
            "trained for 20 epochs on 1,500 examples: a short training (about 90 epochs pay)",
        ),
    ],
)
def test_how_the_network_was_trained_is_a_line(tmp_path: Path, changes: dict[str, Any], line: str) -> None:
    lines = result(tmp_path, training=TRAINING | changes).summary().splitlines()
    (said,) = (said for said in lines if said.startswith("trained for"))
    assert said.startswith(line)
    assert ("a short training" in said) is bool(changes.get("short"))
    assert ("were planned" in said) is ("planned_epochs" in changes)


@pytest.mark.parametrize("key", ["metric", "valid_accuracy", "costs", "seconds", "rejected"])
@pytest.mark.parametrize("value", [None, "x", [1], {}])
def test_damaged_figures_are_told_in_a_sentence(tmp_path: Path, key: str, value: Any) -> None:
    with contextlib.suppress(ArchscoutError):  # "x" rejected networks can be written, too
        result(tmp_path, **{key: value}).summary()
    figures = {name: each for name, each in METRICS.items() if name != key}
    write_json(tmp_path / "metrics.json", figures)
    with pytest.raises(DataError, match=r"metrics.json' is damaged .*: remove this run's folder"):
        Result.read(tmp_path).summary()


def test_what_was_left_unused_is_said_where_it_is_worth_a_word(tmp_path: Path) -> None:
    summaries = [result(tmp_path, training=TRAINING | {"unused_seconds": left}).summary() for left in (None, 4.0, 31.4)]
    assert ["left unused" in summary for summary in summaries] == [False, False, True]
    assert "; 31 s of the budget were left unused" in summaries[-1]


def test_designs_that_were_trained_along_are_compared_the_best_first(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"name": "untrained", "epoch_seconds": 1.0}]
    rows += [{"name": name, "epochs": 9, "value": value} for name, value in (("a", 0.5), ("b", 0.75), ("c", 0.25))]
    lines = result(tmp_path, training=TRAINING | {"references": rows}).summary().splitlines()
    (line,) = (line for line in lines if line.startswith("hand-made designs"))
    assert line.index("'b' 75.") < line.index("'a' 50.") < line.index("'c' 25.")
    assert "untrained" not in line and "after 9 epochs" in line
    assert "hand-made" not in result(tmp_path, training=TRAINING | {"references": rows[:1]}).summary()


def test_a_form_that_was_chosen_is_told_with_what_it_gives_and_takes(tmp_path: Path) -> None:
    constraints = [{"name": key, "key": key, "limit": 500.0} for key in ("latency_ms", "macs", "params")]
    rows = (("latency_ms", 1.4, 2.61), ("macs", 100.0, 200.0), ("params", 50.0, 50.0), ("peak_bytes", 1.0, 2.0))
    costs = {key: {"alone": alone, "mirrored": both} for key, alone, both in rows}
    form = {"chosen": True, "reason": "", "valid_accuracy": {"alone": 0.767, "mirrored": 0.783}, "costs": costs}
    lines = result(tmp_path, mirrored=form, constraints=constraints).summary().splitlines()
    (line,) = (line for line in lines if "mirror image" in line)
    assert "accuracy 76.70% -> 78.30% on validation, latency_ms 1.4 -> 2.61, macs 100 -> 200 (mirrored=false" in line
    for other in ({"chosen": False, "reason": "no room"}, None):
        assert "mirror" not in result(tmp_path, mirrored=other, constraints=constraints).summary()


@pytest.mark.parametrize(
    ("details", "line"),
    [
        ({"trusted": True, "slowed": 1.9}, None),
        ({"slowed": 1.9}, None),
        ({"trusted": False, "slowed": 1.0}, "repeated measurements did not agree"),
        ({"trusted": False, "slowed": 1.04}, "repeated measurements did not agree"),
        ({"trusted": False, "slowed": 1.06}, "the machine was slowed down 1.1 times by other work"),
    ],
)
def test_a_measurement_that_is_not_to_be_trusted_is_said_to_be_so(
    tmp_path: Path, details: dict[str, Any], line: str | None
) -> None:
    summary = result(tmp_path, cost_details={"latency_ms": details}).summary()
    assert ("latency_ms is not to be trusted" in summary) is (line is not None)
    assert line is None or line in summary


def test_what_was_predicted_says_how_to_be_sure(tmp_path: Path) -> None:
    details = {"latency@phone_ms": {"predicted": True, "high": 3.25}}
    waiting = [{"key": "latency@phone_ms", "device": "phone", "bundle": "r/finalists-phone"}]
    lines = result(tmp_path, cost_details=details, measure_next=waiting).summary().splitlines()
    (line,) = (line for line in lines if line.startswith("latency@phone_ms is predicted"))
    assert "(19 times in 20 at most 3.25)" in line
    assert "carry 'r/finalists-phone' to the device" in line
    assert "--times phone=times.csv" in line
