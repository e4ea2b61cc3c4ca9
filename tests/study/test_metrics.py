"""Every metric against SciPy, pymoo or the definition written out."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from archscout.study import metrics


def samples(seed, n=40, ties=True):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    predictions = truth + rng.normal(size=n)
    return (np.round(truth, 1), np.round(predictions, 1)) if ties else (truth, predictions)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [False, True])
def test_correlations_are_those_of_scipy(seed, ties):
    truth, predictions = samples(seed, ties=ties)
    assert metrics.pearson(truth, predictions) == pytest.approx(stats.pearsonr(truth, predictions).statistic)
    assert metrics.spearman(truth, predictions) == pytest.approx(stats.spearmanr(truth, predictions).statistic)
    concordant = discordant = ties_truth = ties_predictions = 0
    for i, j in itertools.combinations(range(len(truth)), 2):
        product = np.sign(truth[i] - truth[j]) * np.sign(predictions[i] - predictions[j])
        concordant += product > 0
        discordant += product < 0
        ties_truth += truth[i] == truth[j]
        ties_predictions += predictions[i] == predictions[j]
    pairs = len(truth) * (len(truth) - 1) / 2
    tau = (concordant - discordant) / math.sqrt((pairs - ties_truth) * (pairs - ties_predictions))
    assert metrics.kendall(truth, predictions) == pytest.approx(tau)


@pytest.mark.parametrize("name", ["kendall", "spearman", "pearson", "sparse_kendall"])
def test_constant_or_missing_predictions_tell_nothing(name):
    truth, _ = samples(0)
    for said in (np.zeros(40), np.full(40, math.nan)):
        assert metrics.RANKING[name](truth, said) == 0
    assert metrics.RANKING[name](np.ones(40), truth) == 0


@pytest.mark.parametrize("value", [0.1, 0.3, 1e-3, 1e300])
def test_constants_have_a_correlation_of_exactly_zero_though_their_mean_is_rounded(value):
    for count in range(1, 30):
        constant = np.full(count, value)
        assert metrics.pearson(constant, constant) == 0
        assert metrics.pearson(np.arange(count), constant) == 0


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e160, 1e300])
def test_tiny_and_huge_scores_correlate_as_others_do(scale):
    truth, predictions = samples(2, ties=False)
    assert metrics.pearson(truth, scale * predictions) == pytest.approx(metrics.pearson(truth, predictions))


@pytest.mark.parametrize("name", ["kendall", "spearman", "pearson", "sparse_kendall"])
def test_an_unknown_truth_gives_no_correlation(name):
    truth, predictions = samples(3)
    truth[5] = math.nan
    assert math.isnan(metrics.RANKING[name](truth, predictions))


def test_a_missing_prediction_counts_as_the_worst():
    truth, predictions = samples(1)
    missing = predictions.copy()
    missing[[3, 7]] = math.nan
    lowest = predictions.copy()
    lowest[[3, 7]] = -1e6
    for name in ("kendall", "spearman", "precision@10", "ndcg@10", "regret@10", "rank@10"):
        assert metrics.RANKING[name](truth, missing) == metrics.RANKING[name](truth, lowest)


def test_sparse_kendall_rounds_what_it_says():
    rng = np.random.default_rng(3)
    truth = 0.9 + 0.01 * rng.random(60)
    said = truth + 0.003 * rng.normal(size=60)
    tau = lambda a, b: stats.kendalltau(a, b).statistic  # noqa: E731
    assert metrics.sparse_kendall(truth, said) == pytest.approx(tau(np.round(truth * 1000), said))
    assert metrics.sparse_kendall(truth, said, which="pred") == pytest.approx(tau(truth, np.round(said * 1000)))
    both = metrics.sparse_kendall(truth, said, step=0.01, which="both")
    assert both == pytest.approx(tau(np.round(truth * 100), np.round(said * 100)))
    assert metrics.sparse_kendall(truth, said) != metrics.kendall(truth, said)


def test_precision_regret_and_rank_are_as_defined():
    truth = np.array([0.1, 0.9, 0.5, 0.7, 0.3])
    said = np.array([5.0, 1.0, 4.0, 3.0, 2.0])  # the order 0, 2, 3, 4, 1
    assert metrics.precision_at(2, truth, said) == 0
    assert metrics.precision_at(3, truth, said) == pytest.approx(2 / 3)
    assert metrics.precision_at(50, truth, said) == 1
    assert metrics.regret_at(1, truth, said) == pytest.approx(0.8)
    assert metrics.regret_at(3, truth, said) == pytest.approx(0.2)
    assert metrics.rank_at(1, truth, said) == 5
    assert metrics.rank_at(3, truth, said) == 2
    assert metrics.rank_at(5, truth, said) == 1
    tied = np.array([1.0, 1.0, 0.0])
    assert metrics.precision_at(1, tied, np.array([0.0, 1.0, 0.5])) == 1, "all that tie with the last of the best count"
    assert metrics.rank_at(1, tied, np.array([0.0, 1.0, 0.5])) == 1


@pytest.mark.parametrize("k", [1, 5, 40])
def test_ndcg_is_the_sum_written_out(k):
    truth, predictions = samples(4, ties=False)
    low, high = np.quantile(truth, 0.2), truth.max()

    def dcg(order):
        total = 0.0
        for rank, place in enumerate(order[:k], start=1):
            relevance = 20 * min(max((truth[place] - low) / (high - low), 0), 1)
            total += (2**relevance - 1) / math.log2(rank + 1)
        return total

    expected = dcg(sorted(range(40), key=lambda i: -predictions[i])) / dcg(sorted(range(40), key=lambda i: -truth[i]))
    assert metrics.ndcg_at(k, truth, predictions) == pytest.approx(expected)
    assert metrics.ndcg_at(k, truth, truth) == pytest.approx(1)
    assert metrics.ndcg_at(k, np.ones(40), predictions) == 0


def test_errors_are_as_defined():
    truth, predictions = samples(5)
    assert metrics.mae(truth, predictions) == pytest.approx(
        np.mean([abs(a - b) for a, b in zip(truth, predictions, strict=True)])
    )
    assert metrics.rmse(truth, predictions) == pytest.approx(np.sqrt(np.mean((truth - predictions) ** 2)))
    assert math.isnan(metrics.mae(truth, np.full(40, math.nan)))


def test_perfect_predictions_are_perfect():
    truth, _ = samples(6, ties=False)
    for name, metric in metrics.RANKING.items():
        perfect = metric(truth, 3 * truth + 1)
        best = {"rank@10": 1.0}.get(name, 0.0 if name in metrics.LOWER else 1.0)
        assert perfect == pytest.approx(best), name


def test_fronts_by_brute_force():
    rng = np.random.default_rng(7)
    points = np.round(rng.random((30, 2)), 1)
    for place, kept in enumerate(metrics.nondominated(points)):
        worse = any((q <= points[place]).all() and (q < points[place]).any() for q in points)
        assert kept == (not worse)
    # Area by counting the cells of a grid of tenths that some point dominates.
    cells = [(x + 0.5, y + 0.5) for x in range(10) for y in range(10)]
    covered = sum(any((q * 10 <= np.array(cell)).all() for q in points) for cell in cells)
    assert metrics.hypervolume(points, np.array([1.0, 1.0])) == pytest.approx(covered / 100)
    front = np.array([[0.0, 0.5], [0.5, 0.0]])
    expected = np.mean([min(math.hypot(*np.maximum(q - f, 0)) for q in points) for f in front])
    assert metrics.igd_plus(points, front) == pytest.approx(expected)


def test_what_a_control_tells_is_taken_out():
    """Against the formula of three pairwise correlations."""
    rng = np.random.default_rng(0)
    size = rng.normal(size=50)
    truth, found = size + rng.normal(size=50), size + 0.5 * rng.normal(size=50)
    ab, ac, bc = (metrics.spearman(*pair) for pair in ((truth, found), (truth, size), (found, size)))
    expected = (ab - ac * bc) / ((1 - ac**2) * (1 - bc**2)) ** 0.5
    assert metrics.partial_spearman(truth, found, size) == pytest.approx(expected, abs=1e-9)
    assert metrics.partial_spearman(truth, size, size) == 0
    assert metrics.partial_spearman(size, size, size) == 0
