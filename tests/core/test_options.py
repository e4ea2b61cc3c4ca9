"""Every option is read in one place: natural forms are taken, all else is refused in one sentence."""

import math
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from archscout.core import options
from archscout.core.budget import Budget
from archscout.core.cost import Cost
from archscout.core.errors import UsageError
from archscout.core.progress import Silent
from archscout.costs.latency import Latency
from archscout.search.result import Result
from archscout.workers.device import check_device


def repr_of(value) -> str:
    """The name of a case: some values are too long to be written."""
    return options.shown(value)


def refused(call) -> str:
    """The sentence with which a call is refused; it is one, and short."""
    with pytest.raises(UsageError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    assert message.endswith((".", "?", ")"))
    return message


@pytest.mark.parametrize("value", [0, 7, np.int64(7), np.uint8(7), np.array(7), 2**63 - 1])
def test_a_seed_is_a_whole_number_of_python_or_numpy(value) -> None:
    seed = options.seed(value)
    assert type(seed) is int
    assert seed == int(value)


@pytest.mark.parametrize(
    "value", [True, np.True_, -1, np.int64(-3), 1.0, np.float64(2), 2**63, 10**5000, "3", None, [1], np.array([1])],
    ids=repr_of,
)  # fmt: skip
def test_other_seeds_are_refused(value) -> None:
    assert "the seed must be a whole number" in refused(lambda: options.seed(value))


@pytest.mark.parametrize("value", [0, False, -1, 1.5, "10", 10**7, np.float32(3)])
def test_other_epochs_are_refused(value) -> None:
    assert "epochs" in refused(lambda: options.epochs(value))


def test_epochs_and_workers_that_are_not_given() -> None:
    assert options.epochs(None) is None
    assert options.epochs(np.int32(4)) == 4
    assert options.workers(None) >= 1
    assert options.workers(0) == 0
    refused(lambda: options.workers(-1))
    refused(lambda: options.workers(10**9))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("5m", 300), ("90s", 90), ("60", 60), (" 1.5 H ", 5400), (".5m", 30), (60, 60), (0.5, 0.5), (np.float32(2), 2),
     (np.int64(60), 60), (timedelta(minutes=2), 120), ("1h30m", 5400), ("1h 2 min 3 s", 3723), ("2 hours", 7200),
     (Decimal("2.5"), 2.5), (Fraction(1, 2), 0.5), (None, 300), (np.timedelta64(90, "s"), 90),
     (np.timedelta64(2 * 10**9, "ns"), 2), (pd.Timedelta("3m"), 180), (np.array(7), 7)],
)  # fmt: skip
def test_budgets_of_time(value, seconds: float) -> None:
    budget = Budget.read(value)
    assert (budget.seconds, budget.trials) == (seconds, math.inf)


def test_budgets_of_trials() -> None:
    assert Budget.read("200trials").trials == Budget.read(" 200 Trials").trials == 200
    assert Budget.read(None, "200trials").trials == 200
    assert Budget.read(Budget(trials=3)) == Budget(trials=3)


@pytest.mark.parametrize(
    "value",
    ["", "soon", "5 fortnights", "0", 0, -1, "-5m", True, math.nan, math.inf, "1.5trials", "1" * 400,
     "1" * 20_000 + "!", "1e9s", 10**400, 1e30, "9" * 60, "9" * 50 + "trials", b"5m", [5], {},
     "3s 5m", "5m 5m", "5m 3", "1h2trials", "٣m",
     np.array([60, 60]), timedelta(0), np.timedelta64(1, "M"), np.timedelta64("NaT"), pd.NaT, -timedelta(1)],
    ids=repr_of,
)  # fmt: skip
def test_other_budgets_are_refused(value) -> None:
    assert "budget" in refused(lambda: Budget.read(value))


@pytest.mark.parametrize("given", [{"seconds": -1}, {"trials": 0}, {"seconds": math.nan}])
def test_a_budget_is_above_zero(given) -> None:
    refused(lambda: Budget(**given))


@pytest.mark.parametrize(
    ("value", "limit"), [("2.5M", 2.5e6), (" 100 k ", 1e5), ("1e3", 1e3), (".5", 0.5), (7, 7.0), (np.float32(2.5), 2.5)]
)
def test_limits(value, limit: float) -> None:
    assert Cost.quantity(value, "params") == limit


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [(timedelta(milliseconds=2), 2), (np.timedelta64(2, "us"), 0.002), (pd.Timedelta("1s"), 1000), ("2 μs", 0.002)],
)  # fmt: skip
def test_limits_of_time(value, milliseconds: float) -> None:
    assert Latency.quantity(value, "latency") == pytest.approx(milliseconds)
    assert "limit for params" in refused(lambda: Cost.quantity(value, "params"))


@pytest.mark.parametrize(
    "value",
    ["", "1e999", "1e-999", "-1", 0, -3, True, math.inf, math.nan, 10**400, None, [1], "1" * 20_000 + "!",
     "1" + " " * 20_000 + "!"],
    ids=repr_of,
)  # fmt: skip
def test_other_limits_are_refused(value) -> None:
    assert "limit" in refused(lambda: Cost.quantity(value, "params"))


def test_truth_values_and_who_is_told() -> None:
    assert options.switch(np.True_, "fresh") is True
    assert "fresh must be True or False" in refused(lambda: options.switch("no", "fresh"))
    assert isinstance(options.watch(None), Silent)
    for given in (print, Silent, True):
        assert "an object with say, update and close" in refused(lambda given=given: options.watch(given))


@pytest.mark.parametrize("value", [True, False])
def test_truth_values_of_pytorch_are_no_numbers(value: bool) -> None:
    torch = pytest.importorskip("torch")
    given = torch.tensor(value)
    refused(lambda: options.seed(given))
    refused(lambda: options.number(given, "the value"))
    refused(lambda: Budget.read(given))
    assert options.seed(torch.tensor(7)) == 7
    refused(lambda: options.seed(torch.tensor([7])))


def test_names_one_or_several() -> None:
    assert options.several("params", "objectives") == ["params"]
    assert options.several(("params", "macs"), "objectives") == ["params", "macs"]
    assert options.several(None, "objectives") == []
    assert options.several(np.array(["a", "b"]), "objectives") == ["a", "b"]
    assert options.several({"c", "a", "b"}, "objectives") == ["a", "b", "c"], "in the same order in each process"
    for value in (3, b"params", {"params": 1}, [3], [""], ["a\nb"], ["x" * 5000], np.array("params")):
        assert "objectives" in refused(lambda value=value: options.several(value, "objectives"))


def test_whole_numbers_in_any_sequence() -> None:
    assert options.wholes(np.arange(3, 6), "sizes") == options.wholes(range(3, 6), "sizes") == (3, 4, 5)
    assert options.wholes(4, "sizes") == (4,)
    for value in ("10,50", [1.5], [True], b"1", {1: 2}):
        refused(lambda value=value: options.wholes(value, "sizes"))


def test_paths() -> None:
    assert options.path("runs", "the folder") == options.path(Path("runs"), "the folder") == Path("runs")
    for value in (3, "", "a\0b", None, b"runs", "~nobody-of-that-name/runs", "\ud800"):
        refused(lambda value=value: options.path(value, "the folder"))
    assert options.path("~/runs", "the folder") == Path.home() / "runs"
    assert options.run(Result(Path("runs/a"), {})) == options.run("runs/a") == Path("runs/a")
    refused(lambda: options.run(Path))


def test_an_unknown_option_is_told_with_the_nearest() -> None:
    assert "'budget'" in refused(lambda: options.check_names(["bugdet"], ["budget", "seed"], "search"))


class Loud:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("value", ["x" * 10**6, 10**10**5, list(range(10**5)), Loud(), "a\nb", "\ud800"], ids=repr_of)
def test_what_is_shown_of_a_value_is_short_and_one_line(value) -> None:
    shown = options.shown(value)
    assert len(shown) <= 60
    assert "\n" not in shown
    shown.encode()


@pytest.mark.parametrize("name", ["cpu", "cpu:0"])
def test_the_processor_is_always_there(name: str) -> None:
    assert check_device(name) == "cpu"


@pytest.mark.parametrize(
    "name", ["cudaa", "raspi4", "", "cuda:", "cuda:x", "CUDA:99999999", None, 0, True, "x" * 10**5, "cuda:999"]
)
def test_other_devices_are_refused_before_anything_is_tried(name) -> None:
    assert "device" in refused(lambda: check_device(name))


def test_a_device_of_pytorch_is_taken() -> None:
    torch = pytest.importorskip("torch")
    assert check_device(torch.device("cpu")) == "cpu"
