"""The panel of predicted and measured latency."""

from types import ModuleType

from archscout.report import figures, sections
from archscout.report.headline import headline
from archscout.report.view import View

KEY = "latency@board_ms"


def told(ms: float, predicted: float, reach: float = 1.2) -> dict[str, float]:
    return {"ms": ms, "predicted": predicted, "low": predicted / reach, "high": predicted * reach}


def report(samples: ModuleType, *, at_hand: bool, measured: list[dict[str, object]]) -> View:
    made, trials = samples.sample()
    made["devices"] = {
        KEY: {"title": "A board", "source": "20 networks measured", "at_hand": at_hand, "measured": measured}
    }
    for number, row in enumerate(made["finalists"]):
        prediction = {"low": 3.0, "high": 5.0}
        row["costs"] = row["costs"] | {KEY: 4.5 if at_hand else 4.0}
        details = (
            {"predicted_ms": 4.0, **{f"predicted_{k}": v for k, v in prediction.items()}} if at_hand else prediction
        )
        row["details"] = {KEY: details if number < 2 else {}}
    return View.of(made, trials)


def test_at_hand_both_are_shown(samples: ModuleType) -> None:
    [device] = sections.devices(report(samples, at_hand=True, measured=[{"architecture": "a", **told(2.0, 2.1)}]))
    assert device["title"] == "Latency on board"
    assert [row["predicted"] for row in device["rows"][:2]] == ["4\u202fms", "4\u202fms"]
    assert device["rows"][0]["measured"] == "4.5\u202fms"
    assert device["rows"][0]["interval"] == "3\u202fms to 5\u202fms"
    assert device["figure"].says == "3 of 3 measured networks lie in the 90 % interval of their prediction."


def test_elsewhere_nothing_counts_as_measured(samples: ModuleType) -> None:
    [device] = sections.devices(report(samples, at_hand=False, measured=[]))
    assert device["figure"] is None
    assert [row["measured"] for row in device["rows"]] == ["–"] * 3
    assert device["rows"][0]["predicted"] == "4\u202fms"
    assert [row["interval"] for row in device["rows"]] == ["3\u202fms to 5\u202fms"] * 2 + ["–"]


def test_the_card_says_what_the_spread_is(samples: ModuleType) -> None:
    for at_hand, says in ((True, "repeats differ by 2.0"), (False, "its 90 % interval reaches 2.0")):
        view = report(samples, at_hand=at_hand, measured=[])
        view.winner["costs"][KEY], view.winner["spread"][KEY] = 4.0, 0.02  # type: ignore[index]
        [card] = [card for card in headline(view)["cards"] if card["title"] == "Latency on board"]
        assert says in card["gloss"]


def test_rows_without_a_prediction_are_left_out_of_the_figure(samples: ModuleType) -> None:
    rows = [{"architecture": "a", "ms": 2.0}, {"architecture": "b", **told(3.0, 2.0)}]
    [device] = sections.devices(report(samples, at_hand=False, measured=rows))
    assert device["figure"].says == "0 of 1 measured networks lie in the 90 % interval of their prediction."


def test_the_figure_shows_intervals_and_the_line_of_equals() -> None:
    rows = [{"architecture": "<b>a", **told(2.0, 2.5)}, {"architecture": "b", **told(8.0, 7.0)}]
    line, points = figures.measured_predicted({"measured": rows}, KEY).figure.data
    assert tuple(line.x) == tuple(line.y)
    assert (min(points.x), max(points.y)) == (2.0, 7.0)
    assert points.error_y.array[0] == 2.5 * 1.2 - 2.5
    assert points.customdata[0][0] == "&lt;b&gt;a"


def test_a_report_without_devices_has_no_panel(samples: ModuleType) -> None:
    assert sections.devices(View.of(*samples.sample())) == []
