"""Which network wins: ranked as trainings can be compared, measured again, and held against every limit."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from archscout.core.architecture import Architecture
from archscout.core.cost import Constraint, Measurement
from archscout.core.errors import ArchscoutError
from archscout.core.metric import ACCURACY, Metric
from archscout.core.trial import Trial
from archscout.costs.reported import REPORTED, measure_each, named_cost
from archscout.estimators.final import FINAL
from archscout.search import choose as choosing
from archscout.search.choose import choose, counts, no_network, trained_networks
from archscout.store.store import StoredTrial

LIMIT = Constraint("latency", "latency_ms", 2.0)


def row(number: int, name: str, value: float = 0.5, fidelity: int | None = 9, **fields: Any) -> StoredTrial:
    given = {"estimator": "trained", "status": "completed", "value": value} | fields
    return StoredTrial(f"key {number}", number, name, f"form of {name}", fidelity=fidelity, **given)


def trial(name: str, value: float) -> Trial:
    return row(0, name, value, curve=({"epoch": 1.0},)).trial(Architecture(name, ()))


class Book:
    """Measurements by architecture; whatever else is asked for costs 7."""

    def __init__(self, found: dict[str, dict[str, Measurement]]) -> None:
        self.found, self.asked = found, []

    def measured(self, architecture: Architecture, extra: Any = ()) -> dict[str, Measurement]:
        self.asked.append(architecture.text)
        return dict(self.found.get(architecture.text, {})) | {cost.key: Measurement(7.0) for cost in extra}


def run(
    rows: Any = (), found: Any = None, *, left: float = math.inf, metric: Metric = ACCURACY, limits: Any = (LIMIT,)
):
    notes: dict[str, Any] = {}
    return SimpleNamespace(
        name="r", store=SimpleNamespace(trials=lambda name: list(rows)), estimator="trained", budget="5 trials",
        space=SimpleNamespace(parse=lambda text: Architecture(text, ())), constraints=limits, notes=notes,
        task=SimpleNamespace(metric=metric), book=Book(found or {}), seconds_left=lambda: left,
        trains=True, note=notes.__setitem__,
    )  # fmt: skip


def latency(value: float, **details: Any) -> dict[str, Measurement]:
    return {"latency_ms": Measurement(value, 0.01, details)}


def test_networks_come_as_the_method_ranked_them_then_by_length_then_by_value() -> None:
    rows = [
        row(0, "short and good", 0.9, 3), row(1, "long", 0.6, 9), row(2, "long and better", 0.7, 9),
        row(3, "ranked second", 0.1, 9), row(4, "ranked first", 0.2, 3), row(5, "failed", 0.99, status="failed"),
        row(6, "undefined", math.nan), row(7, "scored", 99.0, None, estimator="naswot"),
        row(8, "final", 0.99, estimator=FINAL), row(9, "own", 0.3, 9, estimator="own", extra={"weights": "w"}),
    ]  # fmt: skip
    ranking = [rows[4].trial(Architecture("ranked first", ())), rows[3].trial(Architecture("ranked second", ()))]
    assert [each.architecture.text for each in trained_networks(run(rows), ranking)] == [
        "ranked first", "ranked second", "long and better", "long", "own", "short and good",
    ]  # fmt: skip


def test_of_several_trainings_of_a_network_the_longest_stands_for_it() -> None:
    rows = [row(0, "a", 0.9, 3), row(1, "a", 0.4, 9), row(2, "b", 0.5, 9)]
    assert [(each.canonical, each.value) for each in trained_networks(run(rows))] == [
        ("form of b", 0.5), ("form of a", 0.4),
    ]  # fmt: skip


def test_the_best_that_keeps_the_limit_when_measured_again_wins() -> None:
    search = run(found={"a": latency(2.01), "b": latency(2.0), "c": latency(1.0)})
    winner, finalists, measured = choose(search, [trial("a", 0.9), trial("b", 0.8), trial("c", 0.7)], {})
    assert winner.architecture.text == "b"
    assert [(f["architecture"], f["value"], f["meets"]) for f in finalists] == [
        ("a", 0.9, False), ("b", 0.8, True), ("c", 0.7, True),
    ]  # fmt: skip
    assert finalists[0]["costs"] == {"latency_ms": 2.01}
    assert measured["latency_ms"].value == 2.0
    assert {named_cost(name).key for name in REPORTED} <= set(measured)


def test_a_prediction_wins_only_where_its_upper_end_keeps_the_limit() -> None:
    search = run(found={"a": latency(1.5, low=1.0, high=2.2), "b": latency(1.9, low=1.8, high=2.0)})
    assert choose(search, [trial("a", 0.9), trial("b", 0.8)], {})[0].architecture.text == "b"


def test_three_finalists_are_measured_or_as_many_as_it_takes() -> None:
    names = "abcdef"
    trials = [trial(name, 0.9 - 0.1 * place) for place, name in enumerate(names)]
    everything = {name: latency(1.0) for name in names}
    assert len(choose(run(found=everything), trials, {})[1]) == 3
    late = everything | {name: latency(3.0) for name in "abcd"}
    winner, finalists, _ = choose(run(found=late), trials, {})
    assert (winner.architecture.text, len(finalists)) == ("e", 5)


def test_without_time_no_more_is_measured_than_is_needed() -> None:
    trials = [trial("a", 0.9), trial("b", 0.8), trial("c", 0.7)]
    everything = {name: latency(1.0) for name in "abc"}
    assert len(choose(run(found=everything, left=-2.5), trials, {})[1]) == 1
    assert len(choose(run(found=everything, left=-1.5), trials, {})[1]) == 3


def test_of_networks_that_are_not_trained_none_is_measured_but_the_one_to_train() -> None:
    untrained = [row(0, name, 0.5).trial(Architecture(name, ())) for name in "abc"]
    search = run(found={"a": latency(3.0), "b": latency(1.0), "c": latency(1.0)})
    winner, finalists, _ = choose(search, untrained, {})
    assert (winner.architecture.text, [each["architecture"] for each in finalists]) == ("b", ["a", "b"])
    assert "c" not in search.book.asked


def test_what_was_measured_elsewhere_counts_and_all_of_it_is_looked_at() -> None:
    trials = [trial(name, 0.9 - 0.1 * place) for place, name in enumerate("abcde")]
    times = {each.canonical: {"latency_ms": Measurement(5.0 - place)} for place, each in enumerate(trials)}
    winner, finalists, _ = choose(run(found={name: latency(1.0) for name in "abcde"}), trials, times)
    assert winner.architecture.text == "d"
    assert len(finalists) == 5


def test_where_none_keeps_the_limit_the_closest_is_named() -> None:
    search = run(found={"a": latency(4.0), "b": latency(2.5), "c": latency(9.0)})
    message = (
        r"none of 3 trained networks keeps latency_ms <= 2 when measured again; the closest has latency_ms = 2\.5: "
        "raise the limit, or repeat on a quieter machine"
    )
    with pytest.raises(ArchscoutError, match=message):
        choose(search, [trial("a", 0.9), trial("b", 0.8), trial("c", 0.7)], {})


def test_values_of_finalists_are_in_the_direction_of_the_metric() -> None:
    metric = Metric("mean_error", "lower", "mm")
    _, finalists, _ = choose(run(found={"a": latency(1.0)}, metric=metric), [trial("a", -3.5)], {})
    assert finalists[0]["value"] == 3.5


def test_a_reported_cost_that_cannot_be_measured_is_missing_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    search = run(found={"a": {}}, limits=())
    real = search.book.measured

    def measured(architecture: Architecture, extra: Any = ()) -> dict[str, Measurement]:
        if any(cost.name == "macs" for cost in extra):
            raise RuntimeError("no such operator.\nmore")
        return real(architecture, extra)

    monkeypatch.setattr(search.book, "measured", measured)
    _, _, found = choose(search, [trial("a", 0.9)], {})
    assert "params" in found
    assert "macs" not in found
    assert search.notes == {"missing": {"macs": "RuntimeError: no such operator"}}


def test_measuring_each_goes_on_after_a_failure() -> None:
    costs = [named_cost(name) for name in ("params", "macs")]

    def measure(cost: Any) -> Measurement:
        if cost.name == "params":
            raise ArchscoutError("it broke.")
        return Measurement(3.0)

    assert measure_each(costs, measure) == ({"macs": Measurement(3.0)}, {"params": "it broke"})


def test_trials_are_counted_without_those_that_only_told_the_pace() -> None:
    rows = [
        row(0, "a", phase="calibration"), row(1, "a"), row(2, "b"), row(3, "c", estimator="naswot"),
        *(row(10 + n, f"f{n}", math.nan, status="failed", reason=f"reason {n % 7}") for n in range(20)),
        row(40, "g", math.nan, status="failed", reason="reason 3"),
    ]  # fmt: skip
    counted = counts(run(rows))
    assert (counted["trials"], counted["scored"], counted["failed_trials"]) == (2 + 21, 3 + 21, 21)
    assert [each["count"] for each in counted["failures"]] == [4, 3, 3, 3, 3]
    assert counted["failures"][0] == {"reason": "reason 3", "count": 4}


def test_networks_are_counted_as_trained_once_and_where_a_training_was_finished() -> None:
    curve = ({"epoch": 1.0},)
    rows = [
        row(0, "only told the pace", curve=curve, phase="calibration"), row(1, "b", curve=curve, phase="calibration"),
        row(2, "a", curve=curve, fidelity=1), row(3, "a", curve=curve), row(4, "b", curve=curve),
        row(7, "c", curve=curve), row(5, "scored", estimator="naswot"), row(6, "broke", curve=curve, status="failed"),
    ]  # fmt: skip
    assert counts(run(rows))["trained"] == 3


def test_why_there_is_no_network_is_said() -> None:
    failed = [row(n, f"f{n}", math.nan, status="failed", reason="out of memory") for n in range(2)]
    assert no_network(run(failed)) == "no network was trained: 2 trainings failed, first with: out of memory"
    assert no_network(run(failed[:1])) == "no network was trained: 1 training failed, first with: out of memory"
    assert no_network(run([])).startswith("the budget of 5 trials ended before a network was trained")


def test_the_number_of_networks_that_are_looked_at_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "_CONSIDERED", 2)
    rows = [row(n, f"a{n}", n / 10) for n in range(5)]
    assert [each.architecture.text for each in trained_networks(run(rows))] == ["a4", "a3"]
