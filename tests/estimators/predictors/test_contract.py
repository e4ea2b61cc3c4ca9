"""What every registered predictor promises, whatever it is: checked on all of them, with tiny settings."""

import numpy as np
import pytest
from sklearn.base import clone

from archscout.core.errors import DataError, UsageError
from archscout.core.registry import create, factory, names
from archscout.estimators.encodings.encode import encode
from archscout.estimators.predictors.base import block_widths
from archscout.estimators.predictors.learned import Learned

SMALL = {
    "epochs": 2, "rounds": 5, "members": 2, "steps": 3, "draws": 2, "sweeps": 2, "burn_in": 1, "keep": 1, "trees": 8,
    "tasks": 2,
}  # fmt: skip


# Those of the package: a benchmark that is imported beside this file registers one that needs trained weights.
OWN = [name for name in names("estimator") if factory("estimator", name).__module__.startswith("archscout.")]
NAMES = [name for name in OWN if name != "table" and isinstance(create("estimator", name), Learned)]


@pytest.fixture(scope="module")
def cells():
    return create("space", "nasbench201")


@pytest.fixture(scope="module")
def data(cells):
    rng = np.random.default_rng(0)
    architectures = [cells.sample(rng) for _ in range(80)]
    live = encode("live", cells, architectures)
    convolutions = live[:, 1] + live[:, 2]
    y = 0.94 - 0.3 * np.exp(-convolutions) + 0.004 * rng.normal(size=80)
    return architectures, y


def made(name, cells):
    """The predictor, small, and the matrix of architectures that it is meant for."""
    learned = create("estimator", name)
    predictor = clone(learned.predictor)
    if predictor.library:
        pytest.importorskip(predictor.library, reason="the extra 'predictors' is not installed")
    known = predictor.get_params()
    predictor.set_params(**{key: value for key, value in SMALL.items() if key in known})
    if "widths" in known:
        predictor.set_params(widths=learned.widths(cells))

    def matrix(architectures):
        encoded = encode(learned.encoded_by(cells), cells, architectures).astype(float)
        extra = sum(learned.widths(cells)) - encoded.shape[1]
        scores = np.random.default_rng(len(architectures)).random((len(architectures), extra))
        return np.concatenate([encoded, scores], axis=1)

    return predictor, matrix


def test_all_of_the_study_and_the_systems_are_there():
    assert set(NAMES) >= {
        "bananas", "mlp", "bonas", "gcn", "nao", "seminas", "lgb", "ngb", "rf", "xgb", "bayes_lin_reg", "bohamiann",
        "dngo", "gp", "sparse_gp", "var_sparse_gp", "lcsvr", "omni", "omni_seminas", "acenas", "brp_nas", "fr_nas",
        "wl_gp", "scout", "combined", "gin", "pinat", "flan", "nn_former",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_it_fits_predicts_clones_and_repeats(name, cells, data):
    predictor, matrix = made(name, cells)
    architectures, y = data
    x = matrix(architectures)
    predictor.set_params(seed=5)
    copy = clone(predictor)
    assert repr(copy.get_params()) == repr(predictor.get_params())
    pool = x[60:] if predictor.unlabelled else None
    first, std = predictor.fit(x[:24], y[:24], pool).predict(x[24:], return_std=True)
    assert first.shape == std.shape == (56,)
    assert first.dtype == np.float64
    assert np.isfinite(first).all()
    assert np.isnan(std).all() or (std >= 0).all()
    np.testing.assert_array_equal(copy.fit(x[:24], list(y[:24]), pool).predict(x[24:]), first)
    alone = np.concatenate([predictor.predict(x[[row]]) for row in (24, 50)])
    np.testing.assert_allclose(alone, first[[0, 26]], rtol=1e-3, atol=1e-4)
    assert predictor.predict(x[:0]).shape == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_few_samples_are_enough_and_too_few_are_refused(name, cells, data):
    predictor, matrix = made(name, cells)
    x = matrix(data[0])
    said = clone(predictor).fit(x[:3], [0.1, 0.5, 0.5]).predict(x[3:20])
    assert np.isfinite(said).all()
    with pytest.raises(UsageError, match="cannot learn from 2 trained architectures"):
        predictor.fit(x[:2], [0.1, 0.2])
    with pytest.raises(DataError, match=r"all 5 trained architectures have the value 0\.5"):
        predictor.fit(x[:5], [0.5] * 5)
    with pytest.raises(UsageError, match="learned nothing yet"):
        clone(predictor).predict(x)


@pytest.mark.parametrize("name", NAMES)
def test_what_may_be_tuned_are_its_parameters(name, cells):
    predictor, _ = made(name, cells)
    drawn = predictor.drawn(np.random.default_rng(0))
    assert set(drawn) <= set(predictor.get_params())
    assert drawn == predictor.drawn(np.random.default_rng(0))
    assert bool(create("estimator", name).tune) <= bool(drawn)


def test_architectures_are_encoded_as_the_predictor_is_meant(cells, data):
    from archscout.estimators.predictors.gin import GIN

    architectures, y = data
    given = GIN(space=cells, epochs=2).fit(architectures[:10], y[:10])
    x = encode("live_graph", cells, architectures).astype(float)
    by_hand = GIN(widths=(64, 64), epochs=2).fit(x[:10], y[:10])
    np.testing.assert_array_equal(given.predict(architectures[10:]), by_hand.predict(x[10:]))
    assert block_widths(GIN(space=cells), x) == (64, 64)
    with pytest.raises(UsageError, match="give it the encoding 'graph'"):
        GIN(widths=(30,)).fit(x[:10, :30], y[:10])


def test_tuning_takes_what_is_best_in_cross_validation(cells, data):
    from archscout.estimators.predictors.forest import RandomForest
    from archscout.estimators.predictors.tune import best_parameters, cross_validated, tune

    architectures, y = data
    x = encode("live", cells, architectures).astype(float)
    worst = RandomForest(trees=2, features=0.01, leaf=19, seed=1)
    found = best_parameters(worst, x, y, 3)
    fold = np.random.default_rng(0).permutation(len(y)) % 3
    assert cross_validated(clone(worst).set_params(**found), x, y, fold) > cross_validated(worst, x, y, fold)
    assert best_parameters(worst, x, y, 3) == found
    assert best_parameters(worst, x[:5], y[:5], 3) == {}, "too few to leave some out"
    assert best_parameters(worst, x, y, 3, seconds=0.0) in ({}, found)
    assert tune(worst, x, y, 3).get_params() == (worst.get_params() | found)
