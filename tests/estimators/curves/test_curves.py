"""Readers of curves against numpy and known curves; what learns from curves; early stopping."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.trial import Trial
from archscout.estimators.curves.base import Curve, begun, from_rows
from archscout.estimators.curves.families import FAMILIES, fitted
from archscout.estimators.curves.features import features_of, finite, summary
from archscout.estimators.curves.stopping import Stopped, StoppingRule, course, differences
from archscout.testing import EstimatorConformance, tiny_task

READERS = ("sotl", "sotl_e", "valacc", "valloss", "lce", "lce_m")


def curve(values):
    values = np.asarray(values, dtype=float)
    return Curve(np.arange(1, values.shape[1] + 1), values)


def test_simple_readers_are_those_of_numpy():
    values = np.random.default_rng(0).random((5, 4))
    for name, expected in {
        "sotl": -np.sum(values, axis=1), "sotl_e": -values[:, 3], "valacc": values[:, 3], "valloss": -values[:, 3],
    }.items():  # fmt: skip
        np.testing.assert_allclose(create("estimator", name).read(curve(values), 10), expected)


def test_a_curve_is_cut_and_known_to_be_whole():
    part = Curve(np.array([1, 2, 3, 5]), np.arange(8.0).reshape(2, 4))
    assert part.until(3).values.tolist() == [[0, 1, 2], [4, 5, 6]]
    assert part.until(3).whole
    assert not part.whole


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_fits_a_curve_of_its_own(name):
    family, start = FAMILIES[name]
    x = np.arange(1.0, 21.0)
    truth = np.asarray(start)[None] * np.array([[0.9], [1.05]])
    y = family(x, truth)
    theta, errors = fitted(family, start, x, y)
    assert (errors < 1e-5).all()
    np.testing.assert_allclose(family(np.array([40.0]), theta), family(np.array([40.0]), truth), atol=0.03)


@pytest.mark.parametrize("name", ["lce", "lce_m"])
def test_extrapolation_comes_closer_to_the_end_than_the_last_value(name):
    rng = np.random.default_rng(0)
    x = np.arange(1, 41)
    top, rate = rng.uniform(0.6, 0.95, size=(12, 1)), rng.uniform(0.4, 0.9, size=(12, 1))
    whole = top - 0.5 * x**-rate + 0.002 * rng.normal(size=(12, 40))
    reader = create("estimator", name)
    said = reader.read(curve(whole).until(12), 40)
    assert np.abs(said - whole[:, -1]).mean() < 0.6 * np.abs(whole[:, 11] - whole[:, -1]).mean()
    alone = reader.read(curve(whole[3:4]).until(12), 40)
    np.testing.assert_allclose(alone, said[3:4], rtol=1e-9, err_msg="a curve's answer is its own")
    np.testing.assert_array_equal(reader.read(curve(whole).until(2), 40), whole[:, 1])
    losses = reader.read(curve(-30 * (1 - whole)).until(12), 40)
    assert np.isfinite(losses).all(), "any scale will do"
    whole[2, 5] = np.nan
    assert np.isnan(reader.read(curve(whole).until(12), 40)).tolist() == [place == 2 for place in range(12)]


def test_features_are_those_of_numpy_and_undefined_ones_are_the_worst():
    values = np.random.default_rng(1).random((6, 5))
    first, second = values[:, 1:] - values[:, :-1], values[:, 2:] - 2 * values[:, 1:-1] + values[:, :-2]
    expected = [f(part, axis=1) for part in (values, first, second) for f in (np.mean, np.std)]
    np.testing.assert_allclose(summary(curve(values)), np.stack(expected, axis=1))
    assert summary(curve(values[:, :1]))[:, 1:].tolist() == [[0.0] * 5] * 6
    made = features_of(("sotl_e", "summary"), {"valid": curve(values), "train_loss": curve(values)}, 9)
    assert made.shape == (6, 7)
    with pytest.raises(UsageError, match="nothing called 'sotle' reads curves"):
        features_of(("sotle",), {"valid": curve(values)}, 9)
    filled = finite(np.array([[np.nan], [0.5]]), np.array([[0.2], [np.nan], [0.7]]))
    assert filled[0, 0] < 0.2
    assert filled[1, 0] == 0.5


def test_rows_of_trainings_become_curves():
    rows = [[{"valid_accuracy": 0.5, "train_loss": 2.0}, {"valid_accuracy": 0.6, "train_loss": 1.0}], [{}]]
    made = from_rows(rows, "accuracy")
    assert made["valid"].values[0].tolist() == [0.5, 0.6]
    assert np.isnan(made["valid"].values[1]).all()
    assert np.isnan(made["valid_loss"].values).all()


def made_up(count, seed=0):
    """Curves that rise to their ends, and the ends."""
    rng = np.random.default_rng(seed)
    ends, epochs = rng.uniform(0.5, 0.9, size=count), np.arange(1, 21)
    return ends[:, None] * (1 - 0.6 * 0.8**epochs) + 0.004 * rng.normal(size=(count, 20)), ends


@pytest.mark.parametrize("linear", [False, True])
def test_the_rule_leaves_what_will_not_be_the_best_and_keeps_what_will(linear):
    curves, ends = made_up(60)
    rule = StoppingRule(draws=5, linear=linear).fit(curves[:30], ends[:30])
    best = [ends[:30].max()]
    for row, end in zip(curves[30:], ends[30:], strict=True):
        left = next((e for e in range(1, 20) if rule.stops(row[:e], best)), None)
        if end < best[0] - 0.1:
            assert left is not None
            assert left <= 10
        if end > best[0]:
            assert left is None
    assert not rule.stops(curves[30][:1], best), "not before its first epoch"
    careful = StoppingRule(draws=5, margin=1.0).fit(curves[:30], ends[:30])
    assert not any(careful.stops(row[:e], best) for row in curves[30:] for e in range(1, 20))
    assert StoppingRule().fit(curves[:9], ends[:9]).models_ == {}, "ten finished curves are needed"
    assert not StoppingRule(top=3, draws=5).fit(curves[:30], ends[:30]).stops(curves[30][:9], best)
    with pytest.raises(UsageError, match=r"between 0\.5 and 1"):
        StoppingRule(sure=1.0)


def test_a_line_is_as_unsure_as_it_errs_on_what_is_left_out():
    curves, ends = made_up(25)
    line, deviation = StoppingRule(linear=True).fit(curves, ends).models_[5]
    x = line[0].transform(course(curves[:, :5]))
    said = [
        Ridge(line[-1].alpha_).fit(np.delete(x, row, axis=0), np.delete(ends, row)).predict(x[[row]])[0]
        for row in range(25)
    ]
    assert deviation == pytest.approx(np.sqrt(np.mean((said - ends) ** 2)), rel=1e-6)
    assert course(np.array([[5.0, 1.0, 3.0, 2.0]])).tolist() == [[2, 2, 5, 1]]
    assert course(np.array([[1.0, 3.0]])).tolist() == [[3, 2, 3, 2]]


def test_the_features_of_the_rule():
    assert differences(np.array([[1.0, 3.0, 4.0]])).tolist() == [[1, 3, 4, 2, 1, -1]]
    assert differences(np.array([[1.0]])).tolist() == [[1.0]]


@pytest.fixture(scope="module")
def setting():
    return Setting(create("space", "nasbench201:width=2,cells=1"), tiny_task().sealed(), seed=0)


def test_a_training_is_begun_as_a_full_one_and_left(setting):
    architecture = setting.space.sample(np.random.default_rng(0))
    (two,), (three,) = (begun([architecture], setting, epochs, final=4) for epochs in (2, 3))
    assert [len(one.curve) for one in (two, three)] == [2, 3]
    assert [row["train_loss"] for row in two.curve] == [row["train_loss"] for row in three.curve[:2]]
    (left,) = begun([architecture], setting, 4, lambda rows: len(rows) == 1, final=4)
    assert len(left.curve) == 1
    with pytest.raises(UsageError, match="after one epoch or more"):
        begun([architecture], setting, -1)


def test_trainings_stop_early_by_what_was_learned(setting):
    rng = np.random.default_rng(0)
    curves, ends = made_up(20)
    trials = [
        Trial(n, setting.space.sample(rng), str(n), "trained", 20, "completed", float(end),
              curve=tuple({f"valid_{setting.task.metric}": float(v)} for v in row))
        for n, (row, end) in enumerate(zip(curves, ends, strict=True))
    ]  # fmt: skip
    rule = Stopped(epochs=20)
    with pytest.raises(UsageError, match="learned nothing yet"):
        rule.estimate([trials[0].architecture], setting)
    rule.fit(trials, setting)
    (found,) = rule.estimate([setting.space.sample(rng)], setting)
    assert found.extra["epochs"] == len(found.curve) < 20, "chance level is soon known to be too little"


class _Reader(EstimatorConformance):
    count, fidelity, tolerance, examples = 3, 2, 1e-5, 2

    def space(self):
        return create("space", "nasbench201:width=2,cells=1")


class TestSumOfLosses(_Reader):
    def estimator(self):
        return create("estimator", "sotl")


class TestLastAccuracy(_Reader):
    def estimator(self):
        return create("estimator", "valacc")


class _LearnsFromCurves(_Reader):
    def trials(self, setting):
        rng = np.random.default_rng(0)
        return [
            Trial(t.number, t.architecture, t.canonical, t.estimator, t.fidelity, t.status, t.value,
                  curve=tuple({f"valid_{setting.task.metric}": t.value * e / 3, "train_loss": 2.0 - t.value * e / 3
                               + 0.01 * rng.random()} for e in (1, 2, 3)))
            for t in super().trials(setting)
        ]  # fmt: skip


class TestSVR(_LearnsFromCurves):
    def estimator(self):
        made = create("estimator", "lcsvr")
        made.tune = 1  # setting that is tried before it learns
        return made


def test_score_encoding_and_curve_are_learned_from_together(setting):
    trials = TestSVR().trials(setting)
    omni = create("estimator", "omni:scores=params,tune=0")
    with pytest.raises(UsageError, match="learned nothing yet"):
        omni.estimate([trials[0].architecture], setting, fidelity=1)
    omni.fit(trials, setting)
    (found,) = omni.estimate([trials[0].architecture], setting, fidelity=1)
    assert omni.predictor.n_features_in_ == 30 + 1 + 1
    assert np.isfinite(found.value)
    assert found.std > 0
    assert len(found.curve) == 1
    assert create("estimator", "omni:curve=").curve == ()
