"""Figures: what they show, what they say, how they are thinned, and that no text in them is markup."""

import json
import math
import re
from types import ModuleType
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from archscout.core.metric import ACCURACY, Metric
from archscout.report import candidates, figures
from archscout.report.candidates import Network
from archscout.report.style import DARK, LIGHT, SHOWN, Figure, clean

LOSS = Metric("loss", "lower")


def trace(figure: Figure, name: str) -> Any:
    (found,) = [t for t in figure.figure.data if t.name == name]
    return found


def points(figure: Figure) -> list[tuple[float, float]]:
    marks = [t for t in figure.figure.data if t.mode == "markers"]
    return [(x, y) for t in marks for x, y in zip(t.x, t.y, strict=True)]


def network(i: int, value: float, cost: float, level: str = "2 epochs of training") -> Network:
    return Network(f"a{i}", value, 2.0, level, {"latency_ms": cost})


def tradeoff(networks: list[Network], **changes: Any) -> Figure | None:
    options = {"value_title": "accuracy", "limit": None, "winner": "a0"} | changes
    return figures.tradeoff(networks, "latency_ms", ACCURACY, **options)


def test_colours_of_light_have_one_twin_each_in_dark() -> None:
    assert LIGHT.keys() == DARK.keys()
    assert len(set(LIGHT.values())) == len(LIGHT)


def test_figures_use_no_colour_that_has_no_twin(samples: ModuleType) -> None:
    report, trials = samples.sample()
    course = candidates.course(trials, "trained")
    networks = candidates.networks(trials, report, "trained")
    made = [
        figures.progress(course, ACCURACY, by="time", value_title="accuracy"),
        tradeoff(networks, limit=0.4, winner=report["winner"]["architecture"]),
        figures.confusion(report["confusion"], report["class_names"]),
        figures.agreement(report["notes"]["rungs"]),
        figures.learning(report["winner"]["curve"], [("valid_loss", "validation")], "loss", LOSS),
        over_steps(report),
    ]
    for figure in made:
        assert figure is not None
        assert set(re.findall(r"#[0-9a-fA-F]{6}\b", figure.figure.to_json())) <= set(LIGHT.values())


@pytest.mark.parametrize("colours", [LIGHT, DARK])
@pytest.mark.parametrize("ground", ["paper", "surface"])
def test_text_stands_out_from_its_ground(colours: dict[str, str], ground: str) -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    # The contrast ratio of the Web Content Accessibility Guidelines 2.1, level AA.
    for text in ("ink", "muted", "accent"):
        light, dark = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_progress_is_a_staircase_of_the_best_value(samples: ModuleType) -> None:
    _, trials = samples.sample()
    course = candidates.course(trials, "trained")
    figure = figures.progress(course, ACCURACY, by="count", value_title="accuracy")
    steps = trace(figure, "best so far")
    values = [t.value for t in trials if t.estimator == "trained" and t.status == "completed"]
    best = [max(values[: i + 1]) for i in range(len(values))]
    for x, y in zip(steps.x, steps.y, strict=True):
        assert y == best[int(x) - 1]
    assert len(points(figure)) == figure.shown == figure.total == len(values)


def test_tradeoff_draws_front_limit_and_winner() -> None:
    networks = [network(0, 0.9, 2.0), network(1, 0.8, 1.0), network(2, 0.7, 1.5), network(3, 0.95, 4.0)]
    figure = tradeoff(networks, limit=3.0)
    assert figure is not None
    front = trace(figure, "the front")
    assert list(zip(front.x, front.y, strict=True))[:-1] == [(1.0, 0.8), (2.0, 0.9), (4.0, 0.95)]
    assert trace(figure, "the limit, 3\u202fms").x == (3.0, 3.0)
    assert (trace(figure, "the winner").x, trace(figure, "the winner").y) == ((2.0,), (0.9,))
    assert sorted(points(figure)) == sorted((n.costs["latency_ms"], n.value) for n in networks)
    assert "3 of them are on the front" in figure.says


def test_tradeoff_of_one_network_is_no_figure() -> None:
    assert tradeoff([network(0, 0.9, 1.0)]) is None
    assert tradeoff([network(0, 0.9, 1.0), Network("b", 0.5, 2.0, "", {"params": 3.0})]) is None


def test_costs_over_orders_of_magnitude_get_a_logarithmic_axis() -> None:
    near, far = [network(i, 0.5 + 0.01 * i, 1.0 + i) for i in range(9)], [network(i, 0.5, 10.0**i) for i in range(5)]
    for networks, kind in ((near, None), (far, "log")):
        figure = tradeoff(networks, limit=2.0)
        assert figure is not None
        assert figure.figure.layout.xaxis.type == kind
        low, high = figure.figure.layout.xaxis.range
        low, high = (10**low, 10**high) if kind else (low, high)
        costs = [n.costs["latency_ms"] for n in networks]
        assert low < min(costs) or low == 0
        assert high > max(*costs, 2.0)


def test_many_networks_are_thinned_but_the_front_stays_whole() -> None:
    rng = np.random.default_rng(1)
    networks = [network(i, float(v), float(c)) for i, (v, c) in enumerate(rng.random((20_000, 2)))]
    figure = tradeoff(networks, winner="a77")
    assert figure is not None
    assert (figure.shown, figure.total) == (SHOWN, 20_000)
    shown = set(points(figure))
    assert len(shown) == SHOWN
    costs, values = (
        np.asarray(column) for column in zip(*((n.costs["latency_ms"], n.value) for n in networks), strict=True)
    )
    on_front = np.flatnonzero(candidates.front(costs, values))
    assert {(costs[i], values[i]) for i in on_front} <= shown
    assert (costs[77], values[77]) in shown


def test_confusion_separates_right_answers_from_mistakes() -> None:
    figure = figures.confusion([[5, 1], [0, 7]], ["cat", "dog"])
    right, wrong = figure.figure.data
    assert list(right.z) == [[5.0, None], [None, 7.0]]
    assert list(wrong.z) == [[None, 1.0], [None, None]]
    assert figure.says == "Of 13 test images, 12 are named correctly and 1 are mistaken."
    perfect = figures.confusion([[5, 0], [0, 7]], ["cat", "dog"])
    assert "0 are mistaken" in perfect.says


def test_two_classes_of_one_name_stay_apart() -> None:
    figure = figures.confusion(np.eye(3, dtype=int).tolist(), ["a", "a", "b"])
    assert figure.figure.layout.xaxis.tickvals == (0, 1, 2)


def test_learning_curves_leave_gaps_out() -> None:
    curve = [
        {"epoch": 1, "loss": 2.0},
        {"epoch": 2, "loss": math.nan},
        {"epoch": 3, "loss": None},
        {"epoch": 4, "loss": 1.0},
    ]
    figure = figures.learning(curve, [("loss", "training")], "loss", LOSS)
    assert figure is not None and figure.figure.data[0].x == (1.0, 4.0)
    assert figures.learning([], [("loss", "training")], "loss", LOSS) is None


def test_agreement_without_an_interval_shows_the_point_alone() -> None:
    figure = figures.agreement(
        [{"estimator": "naswot", "against": "trained@2", "spearman": -0.4, "low": None, "high": None}]
    )
    assert len(figure.figure.data) == 1
    assert figure.figure.layout.xaxis.range[0] < -0.4


def test_texts_in_figures_are_no_markup(samples: ModuleType) -> None:
    report, trials = samples.hostile()
    networks = candidates.networks(trials, report, "trained")
    course = candidates.course(trials, "trained")
    made = [
        figures.progress(course, ACCURACY, by="time", value_title="accuracy"),
        tradeoff(networks, winner=report["winner"]["architecture"]),
        figures.confusion(report["confusion"], report["class_names"]),
        figures.agreement(report["notes"]["rungs"]),
        over_steps(report),
    ]
    for figure in made:
        assert figure is not None
        texts = re.findall(r"<[^>]*>", json.dumps(json.loads(figure.figure.to_json()), ensure_ascii=False))
        assert set(texts) <= {"<br>", "<extra>", "</extra>"}


def over_steps(report):
    rows = report["notes"]["weight_sharing"]["history"]
    options = dict.fromkeys(name for row in rows for name in row["probabilities"])
    lines = {name: [row["probabilities"][name] for row in rows] for name in options}
    return figures.over_steps(rows, lines, "mean probability")


def test_probabilities_over_steps_are_drawn_as_recorded(samples: ModuleType) -> None:
    report, _ = samples.sample()
    figure = over_steps(report)
    line = trace(figure, "skip_connect")
    assert list(line.x) == [10, 20, 30]
    assert list(line.y) == pytest.approx([0.2 + step / 60 for step in (10, 20, 30)])
    assert figure.figure.data[0].name == "skip_connect", "what ends highest comes first"
    assert "skip_connect 0.7" in figure.says
    assert figures.over_steps([{"step": 1}], {"a": [None]}, "nothing") is None


def test_clean_shortens_and_escapes() -> None:
    assert clean("<b>&") == "&lt;b&gt;&amp;"
    assert len(clean("x" * 500)) == 110


def test_plotly_accepts_every_figure(samples: ModuleType) -> None:
    report, trials = samples.sample()
    figure = tradeoff(candidates.networks(trials, report, "trained"))
    assert figure is not None
    assert isinstance(go.Figure(json.loads(figure.figure.to_json())), go.Figure)
