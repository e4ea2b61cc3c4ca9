"""What every predictor promises, and what scout is for: order, uncertainty, speed."""

import time

import numpy as np
import pytest
from scipy.stats import kendalltau, multivariate_normal
from sklearn.base import clone

from archscout.core.errors import DataError, UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import create
from archscout.core.trial import Trial
from archscout.estimators.encodings.encode import encode, widths
from archscout.estimators.predictors.bayesian_ridge import BayesianRidge
from archscout.estimators.predictors.extra_trees import ExtraTrees
from archscout.estimators.predictors.forest import RandomForest
from archscout.estimators.predictors.gaussian_process import GaussianProcess, Process, matern, squared
from archscout.estimators.predictors.scout import Scout
from archscout.estimators.predictors.targets import Scale
from archscout.testing import EstimatorConformance, tiny_task

NAMES = ["bayesian_ridge", "extra_trees", "gaussian_process", "lightgbm", "lambdarank", "random_forest", "scout"]
QUICK = [BayesianRidge, ExtraTrees, GaussianProcess, RandomForest, Scout]


def predictor(name):
    if name in ("lightgbm", "lambdarank"):
        pytest.importorskip("lightgbm", reason="the extra 'predictors' is not installed")
    return create("estimator", name).predictor


@pytest.fixture(scope="module")
def cells():
    return create("space", "nasbench201")


@pytest.fixture(scope="module")
def data(cells):
    """Accuracies of a made-up law: more convolutions on the paths, diminishing returns, a low tail without any."""
    rng = np.random.default_rng(0)
    architectures = [cells.sample(rng) for _ in range(900)]
    live = encode("live", cells, architectures)
    convolutions = live[:, 1] + live[:, 2]
    y = 0.94 - 0.3 * np.exp(-convolutions) - 0.4 * (live[:, 1] + live[:, 2] == 0) + 0.004 * rng.normal(size=900)
    return encode("live+choices", cells, architectures), y, architectures


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_scikit_learn_regressor(name, data):
    matrix, y, _ = data
    made = predictor(name)
    copy = clone(made.set_params(seed=5))
    assert copy.get_params() == made.get_params()
    assert copy.get_params()["seed"] == 5
    first = copy.fit(matrix[:60], y[:60]).predict(matrix[60:])
    assert first.shape == (840,)
    np.testing.assert_array_equal(first, clone(copy).fit(matrix[:60], list(y[:60])).predict(matrix[60:]))
    mean, std = copy.predict(matrix[60:], return_std=True)
    np.testing.assert_array_equal(mean, first)
    assert std.shape == (840,)
    assert kendalltau(first, y[60:]).statistic > 0.5
    alone = np.concatenate([copy.predict(matrix[[row]]) for row in range(60, 65)])
    np.testing.assert_allclose(alone, first[:5], rtol=1e-9)
    assert -1 <= copy.score(matrix[60:], y[60:]) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_values_may_be_moved_and_stretched(name, data):
    matrix, y, _ = data
    made = predictor(name)
    plain = made.fit(matrix[:40], y[:40]).predict(matrix[40:140])
    moved = clone(made).fit(matrix[:40], 100 * y[:40] - 7).predict(matrix[40:140])
    assert kendalltau(plain, moved).statistic > 0.95
    assert abs(np.mean(moved) - np.mean(100 * plain - 7)) < 2


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_learned_from_is_refused_in_a_sentence(name, data):
    matrix, y, _ = data
    made = predictor(name)
    with pytest.raises(UsageError, match="cannot learn from 2 trained architectures"):
        made.fit(matrix[:2], y[:2])
    with pytest.raises(DataError, match=r"all 5 trained architectures have the value 0\.5"):
        made.fit(matrix[:5], [0.5] * 5)
    with pytest.raises(DataError, match="the value in row 1 is nan"):
        made.fit(matrix[:3], [0.1, float("nan"), 0.3])
    with pytest.raises(UsageError, match="4 architectures but 3 values"):
        made.fit(matrix[:4], y[:3])
    with pytest.raises(UsageError, match="learned nothing yet"):
        made.predict(matrix)
    broken = matrix[:5].copy()
    broken[2, 7] = np.inf
    with pytest.raises(DataError, match="feature 7 of row 2 is inf"):
        made.fit(broken, y[:5])
    with pytest.raises(UsageError, match="not of shape"):
        made.fit(matrix[0], y[:159])
    with pytest.raises(UsageError, match="features, not 3"):
        made.fit(matrix[:5], y[:5]).predict(matrix[:5, :3])


@pytest.mark.parametrize("name", NAMES)
def test_three_samples_and_constant_features_are_enough(name, data):
    matrix, _, _ = data
    flat = matrix[:3].copy()
    flat[:, ::2] = 1.0
    said = predictor(name).fit(flat, [0.1, 0.5, 0.5]).predict(matrix[:20])
    assert np.isfinite(said).all()


def test_architectures_are_encoded_where_the_space_is_given(cells, data):
    matrix, y, architectures = data
    given = Scout(space=cells).fit(architectures[:30], y[:30])
    by_hand = Scout(widths=widths("live+choices", cells)).fit(matrix[:30], y[:30])
    np.testing.assert_array_equal(given.predict(architectures[30:60]), by_hand.predict(matrix[30:60]))
    np.testing.assert_array_equal(given.predict([str(a) for a in architectures[:5]]), given.predict(architectures[:5]))
    with pytest.raises(UsageError, match="its parameter 'space'"):
        Scout().fit(architectures[:30], y[:30])


def test_the_scale_rises_and_turns_back():
    rng = np.random.default_rng(1)
    y = np.round(rng.beta(8, 1, size=50), 2)
    scale = Scale(y)
    grid = np.linspace(-0.5, 1.5, 400)
    assert (np.diff(scale.up(grid)) > 0).all()
    np.testing.assert_allclose(scale.down(scale.up(grid)), grid)


def test_the_process_is_the_textbook_posterior():
    rng = np.random.default_rng(2)
    x, there = rng.normal(size=(12, 3)), rng.normal(size=(4, 3))
    z = np.sin(x[:, 0]) + 0.1 * rng.normal(size=12)
    process = Process(x, z, (1, 2))
    a = (x - process.middle) * process.stretch
    b = (there - process.middle) * process.stretch
    kernel = lambda p, q: process.variance * matern(squared(p, q))[0]  # noqa: E731
    noisy = kernel(a, a) + (process.noise + 1e-6) * np.eye(12)
    mean, std = process.predict(there)
    expected = kernel(b, a) @ np.linalg.solve(noisy, (z - z.mean()) / z.std()) * z.std() + z.mean()
    np.testing.assert_allclose(mean, expected, rtol=1e-8)
    variance = process.variance + process.noise - np.diag(kernel(b, a) @ np.linalg.solve(noisy, kernel(a, b)))
    np.testing.assert_allclose(std, np.sqrt(variance) * z.std(), rtol=1e-6)
    # Leaving one out by the closed form, and by hand.
    left, deviation = process.left_out(z)
    target = (z - z.mean()) / z.std()
    for out in range(12):
        rest = np.arange(12) != out
        weights = np.linalg.solve(noisy[np.ix_(rest, rest)], noisy[rest, out])
        assert left[out] == pytest.approx(weights @ target[rest] * z.std() + z.mean())
        assert deviation[out] == pytest.approx(np.sqrt(noisy[out, out] - weights @ noisy[rest, out]) * z.std())


def test_the_hyper_parameters_are_at_a_maximum_of_the_posterior():
    from archscout.estimators.predictors.gaussian_process import PRIOR_MEAN, PRIOR_STD, _most_likely

    rng = np.random.default_rng(3)
    x = rng.normal(size=(25, 2))
    target = np.sin(2 * x[:, 0])
    target = (target - target.mean()) / target.std()
    distances = np.stack([squared(x[:, [k]], x[:, [k]]) for k in range(2)])
    theta = _most_likely(distances, target)

    def posterior(t):
        weights = np.exp(t[:2] + t[2])
        kernel = np.exp(t[3]) * matern(np.tensordot(weights, distances, 1))[0] + (np.exp(t[4]) + 1e-6) * np.eye(25)
        prior_mean, prior_std = (np.concatenate([np.full(2, p[0]), p[1:]]) for p in (PRIOR_MEAN, PRIOR_STD))
        likelihood = multivariate_normal(np.zeros(25), kernel).logpdf(target)
        return likelihood - 0.5 * (((t - prior_mean) / prior_std) ** 2).sum()

    best = posterior(theta)
    for place in range(5):
        for step in (-0.1, 0.1):
            assert posterior(theta + step * np.eye(5)[place]) < best
    assert theta[0] > theta[1], "the feature that matters has the larger weight"


def test_scout_is_calibrated(data):
    matrix, y, _ = data
    inside, errors, deviations = [], [], []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(y))
        train, test = order[:50], order[50:]
        mean, std = Scout(seed=seed).fit(matrix[train], y[train]).predict(matrix[test], return_std=True)
        error = np.abs(mean - y[test])
        inside.append([(error <= k * std).mean() for k in (1, 2)])
        errors.append(error)
        deviations.append(std)
    one, two = np.mean(inside, axis=0)
    assert 0.6 <= one <= 0.95, "68 % of a normal distribution lies within one deviation"
    assert 0.9 <= two <= 1.0, "95 % within two"
    assert kendalltau(np.concatenate(errors), np.concatenate(deviations)).statistic > 0.1, "it knows where it errs"


def test_scout_turns_to_plain_choices_where_the_graph_says_nothing(cells, data):
    """Features of graphs of other architectures beside the choices, and a law of single edges."""
    matrix, of_the_graph, architectures = data
    plain = encode("choices", cells, architectures)
    rng = np.random.default_rng(4)
    strangers = np.concatenate([rng.permutation(matrix[:, : -plain.shape[1]]), plain], axis=1)
    of_the_edges = plain @ rng.normal(size=plain.shape[1])
    train, test = slice(0, 60), slice(60, None)

    def fitted(features, y):
        return Scout(widths=widths("live+choices", cells)).fit(features[train], y[train])

    made = fitted(strangers, of_the_edges)
    assert of_the_choices(made) > of_the_choices(fitted(matrix, of_the_graph))
    forest = RandomForest().fit(plain[train], of_the_edges[train])
    taus = [
        kendalltau(predictor.predict(features[test]), of_the_edges[test]).statistic
        for predictor, features in ((made, strangers), (forest, plain))
    ]
    assert taus[0] > taus[1]


def of_the_choices(scout):
    """The share of the weights that members have which see the plain choices only."""
    return sum(w for w, member in scout.members_ if member.start) / sum(w for w, _ in scout.members_)


@pytest.mark.parametrize("law", ["sum", "product", "accuracy"])
def test_where_choices_are_layers_scout_beats_a_process_on_their_numbers(law):
    """Laws of a space of layers: milliseconds (a sum), work (products), and what saturates with depth and kernels."""
    space = create("space", "mobile")
    rng = np.random.default_rng(7)
    architectures = [space.sample(rng) for _ in range(400)]
    blocks = [
        [
            [int(a[f"stage{s}.block{b}.{name}"]) for name in ("kernel", "expansion")] + [int(a[f"stage{s}.width"])]
            for s in range(1, 5)
            for b in range(1, int(a[f"stage{s}.depth"]) + 1)
        ]
        for a in architectures
    ]
    laws = {
        "sum": lambda k, e, w: 1 + 0.3 * k + 0.5 * e,
        "product": lambda k, e, w: w * e * (k**2 + w),
        "accuracy": lambda k, e, w: (k - 1) * np.sqrt(e * w / 100),
    }
    y = np.asarray([sum(laws[law](*block) for block in network) for network in blocks])
    y = 1 - np.exp(-y / 40) if law == "accuracy" else -np.log(y) if law == "product" else -y
    written = numbers_as_written(space, architectures)
    taus = []
    for n in (25, 100):
        scout = Scout(space=space).fit(architectures[:n], y[:n]).predict(architectures[100:])
        rival = GaussianProcess().fit(written[:n], y[:n]).predict(written[100:])
        taus.append([kendalltau(said, y[100:]).statistic for said in (scout, rival)])
    (few, rival_few), (many, rival_many) = taus
    assert few > rival_few + 0.05
    assert many > rival_many + 0.02


def numbers_as_written(space, architectures):
    """Every choice as one number: itself, or the place of its option; 0 where it is not made."""
    return np.asarray(
        [[1.0 + c.index(a[c.name]) if c.name in a else 0.0 for c in space.choices] for a in architectures]
    )


def test_scout_beats_a_forest_on_the_plain_encoding_on_the_published_table(shared_data):
    """Clean protocol: no isomorph of a training network among the test ones; seeds apart from those of the results."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="reading the table needs pyarrow (extra 'tables')")
    columns = ["arch", "c10_test_200", "iso_class"]
    rows = parquet.read_table(shared_data / "nasbench201" / "accuracy.parquet", columns=columns).to_pydict()
    cells = create("space", "nasbench201")
    architectures = [cells.parse(text) for text in rows["arch"]]
    y, published = np.asarray(rows["c10_test_200"]), np.asarray(rows["iso_class"])
    ours = np.unique([cells.canonical(a) for a in architectures], return_inverse=True)[1]
    matrix, plain = encode("live+choices", cells, architectures), encode("plain", cells, architectures)
    taus = []
    for seed in (2000, 2001, 2002):
        train = np.random.default_rng(seed).permutation(len(y))[:100]
        test = ~(np.isin(ours, ours[train]) | np.isin(published, published[train]))
        said = Scout(widths=widths("live+choices", cells), seed=seed).fit(matrix[train], y[train]).predict(matrix[test])
        rival = RandomForest(seed=seed).fit(plain[train], y[train]).predict(plain[test])
        taus.append([kendalltau(said, y[test]).statistic, kendalltau(rival, y[test]).statistic])
    scout, forest = np.mean(taus, axis=0)
    assert scout > 0.79
    assert forest < 0.65


def test_scout_is_fast(cells, data):
    matrix, y, _ = data
    everyone = np.tile(matrix, (18, 1))[:15625]
    start = time.process_time()
    Scout(widths=widths("live+choices", cells)).fit(matrix[:100], y[:100]).predict(everyone)
    assert time.process_time() - start < 4  # under 1.5 s by itself (benchmarks/predictors/scout.py)


class TestScoutIsAnEstimator(EstimatorConformance):
    count, examples = 4, 2

    def estimator(self):
        return create("estimator", "scout")


class TestScoutWithScoresIsAnEstimator(EstimatorConformance):
    count, examples = 3, 2

    def estimator(self):
        return create("estimator", "scout:scores=params+synflow")

    def space(self):
        return create("space", "nasbench201:width=2,cells=1")


class TestForestIsAnEstimator(EstimatorConformance):
    def estimator(self):
        return create("estimator", "random_forest:encoding=plain")


def test_scores_beside_the_encoding_are_used(cells):
    setting = Setting(create("space", "nasbench201:width=2,cells=1"), tiny_task().sealed(), seed=0)
    rng = np.random.default_rng(0)
    architectures = [setting.space.sample(rng) for _ in range(30)]
    params = create("estimator", "params").estimate(architectures, setting)
    trials = [
        Trial(number, architecture, str(number), "trained", 1, "completed", estimate.value)
        for number, (architecture, estimate) in enumerate(zip(architectures, params, strict=True))
    ]  # fmt: skip
    made = create("estimator", "bayesian_ridge:encoding=plain,scores=params")
    assert made.name == "bayesian_ridge:encoding=plain,scores=params"
    made.fit(trials[:20], setting)
    assert made.predictor.n_features_in_ == 31
    with pytest.raises(UsageError, match="learned nothing yet"):
        create("estimator", "scout").estimate(architectures, setting)
