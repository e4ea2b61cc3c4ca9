"""Predictors against closed forms, brute force and other implementations."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, multivariate_normal, norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern

from archscout.core.errors import UsageError
from archscout.core.graph import Graph, Node
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.estimators.encodings.encode import encode
from archscout.estimators.predictors import nar, ngb, stacked
from archscout.estimators.predictors.acenas import AceNAS
from archscout.estimators.predictors.base import encoding_of
from archscout.estimators.predictors.bayesian_ridge import BayesianRidge
from archscout.estimators.predictors.brp_nas import BRP
from archscout.estimators.predictors.dense import with_global
from archscout.estimators.predictors.dngo import DNGO
from archscout.estimators.predictors.gin import GIN
from archscout.estimators.predictors.gp import ExactProcess
from archscout.estimators.predictors.ndcg import lambda_loss, lambdas, relevance
from archscout.estimators.predictors.processes import squared_exponential
from archscout.estimators.predictors.scout import Scout
from archscout.estimators.predictors.sparse_gp import FITC
from archscout.estimators.predictors.training import Schedule, randomness, train
from archscout.estimators.predictors.var_sparse_gp import Variational
from archscout.estimators.predictors.wl_gp import WLProcess, rounds, unit_histograms
from archscout.study.metrics import ndcg_at
from archscout.tables.load import load


@pytest.fixture
def line():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 3))
    return x, np.sin(x[:, 0]) + 0.2 * x[:, 1] + 0.1 * rng.normal(size=20), rng.normal(size=(7, 3))


def test_bayesian_linear_regression_is_the_closed_posterior(line):
    x, y, there = line
    made = BayesianRidge().fit(x, y)
    mean, std = made.predict(there, return_std=True)
    features = made.scaler_.transform(x)
    beta, alpha = made.model_.alpha_, made.model_.lambda_
    z = (y - y.mean()) / y.std()
    covariance = np.linalg.inv(alpha * np.eye(3) + beta * features.T @ features)
    weights = beta * covariance @ features.T @ z
    asked = made.scaler_.transform(there)
    np.testing.assert_allclose(mean, (asked @ weights) * y.std() + y.mean(), rtol=1e-6)
    np.testing.assert_allclose(std, np.sqrt(1 / beta + np.sum(asked @ covariance * asked, axis=1)) * y.std(), rtol=1e-6)


def test_dngo_is_a_linear_regression_on_its_last_layer(line):
    x, y, there = line
    made = DNGO(epochs=20).fit(x, y)
    mean, std = made.predict(there, return_std=True)
    with torch.no_grad():
        (inputs,) = made._inputs(there)
        basis = made.network_.basis(inputs).double().numpy()
    head = made.head_
    np.testing.assert_allclose(mean, (basis @ head.coef_ + head.intercept_) * y.std() + y.mean(), rtol=1e-6)
    centred = basis - head.X_offset_
    variance = 1 / head.alpha_ + np.sum(centred @ head.sigma_ * centred, axis=1)
    np.testing.assert_allclose(std, np.sqrt(variance) * y.std(), rtol=1e-3)


def test_the_process_is_that_of_scikit_learn(line):
    x, y, there = line
    made = ExactProcess().fit(x, y)
    mean, std = made.predict(there, return_std=True)
    length, variance, noise = np.exp(made.theta_.numpy())
    kernel = ConstantKernel(variance, "fixed") * RBF(length, "fixed")
    scaled = (x - made.middle_) * made.stretch_
    z = (y - y.mean()) / y.std()
    other = GaussianProcessRegressor(kernel, alpha=noise + 1e-6, optimizer=None).fit(scaled, z)
    theirs, deviation = other.predict((there - made.middle_) * made.stretch_, return_std=True)
    np.testing.assert_allclose(mean, theirs * y.std() + y.mean(), rtol=1e-6)
    np.testing.assert_allclose(std, np.sqrt(deviation**2 + noise) * y.std(), rtol=1e-4)


@pytest.mark.parametrize("kind", [FITC, Variational])
def test_sparse_processes_have_their_textbook_evidence_and_are_exact_with_all_points(line, kind):
    x, y, _ = (torch.from_numpy(part) for part in line)
    theta = torch.tensor([0.3, 0.1, -1.5], dtype=torch.float64)
    made, points = kind(), x[:6]
    value = float(made._sparse(x, y, points, theta)[0])
    inner = squared_exponential(points, points, theta).numpy() + 1e-6 * np.eye(6)
    cross = squared_exponential(points, x, theta).numpy()
    low_rank = cross.T @ np.linalg.solve(inner, cross)
    noise, lost = math.exp(-1.5) + 1e-6, math.exp(0.1) - np.diag(low_rank)
    diagonal = lost + noise if kind is FITC else np.full(20, noise)
    expected = multivariate_normal(np.zeros(20), low_rank + np.diag(diagonal)).logpdf(line[1])
    assert value == pytest.approx(expected - (0 if kind is FITC else lost.sum() / (2 * noise)), rel=1e-6)
    # With all samples as inducing points nothing is lost.
    whole, exact = kind().fit(line[0], line[1]), ExactProcess().fit(line[0], line[1])
    exact.theta_ = whole.theta_
    z = torch.from_numpy((line[1] - line[1].mean()) / line[1].std())
    exact._condition(exact.points_, z, exact.points_)
    for ours, theirs in zip(
        whole.predict(line[2], return_std=True), exact.predict(line[2], return_std=True), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3)


def test_the_natural_gradient_is_that_of_finite_differences():
    rng = np.random.default_rng(1)
    z, mean, log_std = rng.normal(size=(3, 5))
    step = 1e-6
    slopes = np.empty((5, 2))
    for place in range(5):
        at = slice(place, place + 1)

        def off(a, b, at=at):
            return -norm.logpdf(z[at], mean[at] + a, np.exp(log_std[at] + b))[0]

        slopes[place] = [(off(step, 0) - off(-step, 0)) / (2 * step), (off(0, step) - off(0, -step)) / (2 * step)]
    # The Fisher information, as the variance of the score over draws from the distribution itself.
    quantiles = norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    for place in range(5):
        s = math.exp(log_std[place])
        scores = np.stack([quantiles / s, quantiles**2 - 1])
        information = scores @ scores.T / quantiles.size
        expected = np.linalg.solve(information, slopes[place])
        np.testing.assert_allclose(ngb.natural_gradient(z, mean, log_std)[place], expected, rtol=1e-2, atol=1e-3)


def test_ngboost_learns_where_it_is_unsure():
    rng = np.random.default_rng(2)
    x = rng.uniform(-1, 1, size=(400, 1))
    y = x[:, 0] + np.where(x[:, 0] > 0, 0.5, 0.05) * rng.normal(size=400)
    _, std = ngb.NGBoost(rounds=100, depth=3).fit(x, y).predict(np.array([[-0.5], [0.5]]), return_std=True)
    assert std[1] > 3 * std[0]


def test_lambdas_are_differences_of_ndcg_by_brute_force():
    rng = np.random.default_rng(3)
    scores, y = rng.normal(size=6), rng.random(6)
    graded = relevance(y)
    assert ndcg_at(6, y, scores) == pytest.approx(ndcg(graded, scores))
    expected = np.zeros(6)
    for i in range(6):
        for j in range(6):
            if graded[i] <= graded[j]:
                continue
            swapped = scores.copy()
            swapped[[i, j]] = scores[[j, i]]
            pull = abs(ndcg(graded, swapped) - ndcg(graded, scores)) / (1 + math.exp(scores[i] - scores[j]))
            expected[i] -= pull
            expected[j] += pull
    made = lambdas(torch.tensor(scores), torch.tensor(graded)).numpy()
    np.testing.assert_allclose(made, expected, rtol=1e-9, atol=1e-12)
    leaf = torch.tensor(scores, requires_grad=True)
    lambda_loss(leaf, torch.tensor(graded)).backward()
    np.testing.assert_allclose(leaf.grad.numpy(), made)


def ndcg(graded, scores):
    place = np.empty(len(scores))
    place[np.argsort(-scores)] = np.arange(1, len(scores) + 1)
    gain = 2.0**graded - 1
    ideal = (np.sort(gain)[::-1] / np.log2(np.arange(2, len(scores) + 2))).sum()
    return float((gain / np.log2(1 + place)).sum() / ideal)


@pytest.mark.parametrize("seed", [9, pytest.param(0, marks=pytest.mark.slow)])
def test_the_rectifiers_of_acenas_live(seed):
    # With PyTorch's usual first weights, at most seven different answers are left for these 200 architectures.
    table = load("nasbench201-digits")
    rows = stream(seed).permutation(len(table.first_rows))[:200]
    architectures = [table.architectures[row] for row in table.first_rows[rows]]
    values = np.asarray(table.values("test_accuracy"))[rows]
    made = AceNAS(space=table.space, seed=seed).fit(architectures[:60], values[:60])
    assert len(np.unique(made.predict(architectures).round(6))) > 150


def test_the_wl_kernel_is_that_of_a_case_counted_by_hand():
    from archscout.estimators.encodings.graphs import _arrays
    from archscout.estimators.encodings.wl import _histogram

    # input -> a -> b -> output, and input -> b -> a -> output.
    first = Graph(tuple(map(Node, ("input", "a", "b", "output"))), ((0, 1), (1, 2), (2, 3)))
    second = Graph(tuple(map(Node, ("input", "b", "a", "output"))), ((0, 1), (1, 2), (2, 3)))
    vocabulary = ("a", "b", "input", "output", "other")
    units = unit_histograms(_histogram(_arrays([first, second, first], vocabulary, 4), len(vocabulary)))
    cosines = [part @ part.T for part in np.split(units, np.cumsum(rounds(units.shape[1]))[:-1], axis=1)]
    # The same four labels; after one round no neighbourhood is shared, as order tells all apart.
    np.testing.assert_allclose([c[0, 1] for c in cosines], [1.0, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose([c[0, 2] for c in cosines], 1.0)


def test_the_wl_kernel_is_that_of_nested_labels(monkeypatch):
    """Against refinement by words: a label is what it was, with the sorted labels of sources and of targets."""
    from archscout.estimators.encodings.graphs import graphs, reference
    from archscout.estimators.encodings.wl import _histogram

    for module in ("encodings.wl", "predictors.wl_gp"):  # so many columns that no two kinds share one
        monkeypatch.setattr(f"archscout.estimators.{module}.BUCKETS", 2**16)
    space, rng = create("space", "nasbench201"), np.random.default_rng(3)
    architectures = [space.sample(rng) for _ in range(30)]
    units = unit_histograms(_histogram(graphs(space, architectures), len(reference(space).labels)))
    counts = [_refined_words(space.graph(one)) for one in architectures]
    for place, part in enumerate(np.split(units, np.cumsum(rounds(units.shape[1]))[:-1], axis=1)):
        expected = np.array([[_cosine(a[place], b[place]) for b in counts] for a in counts])
        np.testing.assert_allclose(part @ part.T, expected, atol=1e-6)


def _refined_words(graph):
    """A counter of words for each of three rounds."""
    words = dict(enumerate(node.label for node in graph.nodes))
    found = [Counter(words.values())]
    for _ in range(2):
        words = {
            v: f"{words[v]} of {sorted(words[a] for a, b in graph.edges if b == v)} to "
            f"{sorted(words[b] for a, b in graph.edges if a == v)}"
            for v in words
        }
        found.append(Counter(words.values()))
    return found


def _cosine(a, b):
    dot = sum(count * b[word] for word, count in a.items())
    return dot / math.sqrt(sum(c * c for c in a.values()) * sum(c * c for c in b.values()))


def test_the_wl_process_is_that_of_scikit_learn():
    space, rng = create("space", "nasbench201"), np.random.default_rng(0)
    architectures = [space.sample(rng) for _ in range(40)]
    x, y = encode("wl", space, architectures).astype(float), rng.normal(size=40)
    made = WLProcess().fit(x[:30], y[:30])
    process, up = made.process_, made.scale_.up(y[:30])
    units = unit_histograms(x) * process.stretch
    kernel = ConstantKernel(process.variance, "fixed") * Matern(1.0, "fixed", nu=1.5)
    other = GaussianProcessRegressor(kernel, alpha=process.noise + 1e-6, optimizer=None)
    other.fit(units[:30], (up - up.mean()) / up.std())
    mean, std = other.predict(units[30:], return_std=True)
    expected, off = mean * up.std() + up.mean(), np.sqrt(std**2 + process.noise) * up.std()
    said, spread = made.predict(x[30:], return_std=True)
    np.testing.assert_allclose(said, made.scale_.down(expected), rtol=1e-6)
    np.testing.assert_allclose(
        spread, (made.scale_.down(expected + off) - made.scale_.down(expected - off)) / 2, rtol=1e-4
    )


def test_the_wl_process_gets_better_with_more_samples(shared_data):
    """A kernel that is linear in the histograms gets worse, as isomorphic samples say that there is little noise."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="reading the table needs pyarrow (extra 'tables')")
    columns = ["arch", "c10_test_200", "iso_class"]
    rows = parquet.read_table(shared_data / "nasbench201" / "accuracy.parquet", columns=columns).to_pydict()
    space, picked = create("space", "nasbench201"), np.random.default_rng(0).permutation(len(rows["arch"]))[:3000]
    matrix = encode("wl", space, [space.parse(rows["arch"][row]) for row in picked]).astype(float)
    y, alike = np.asarray(rows["c10_test_200"])[picked], np.asarray(rows["iso_class"])[picked]
    taus = []
    for size in (100, 400):
        unseen = ~np.isin(alike, alike[:400])
        made = WLProcess().fit(matrix[:size], y[:size])
        taus.append(kendalltau(made.predict(matrix[unseen]), y[unseen]).statistic)
    assert taus[1] > taus[0] + 0.02
    assert taus[1] > 0.74


@pytest.fixture(scope="module")
def graphs():
    space, rng = create("space", "nasbench201"), np.random.default_rng(1)
    architectures = [space.sample(rng) for _ in range(40)]
    return space, architectures, rng.random(40)


def test_graph_networks_do_not_see_names_or_padding(graphs):
    space, architectures, y = graphs
    x = encode("live_graph", space, architectures).astype(float)
    made = GIN(widths=(64, 64), epochs=3, reverse=(False, True), agreement=0.8).fit(x[:20], y[:20])
    order = np.random.default_rng(0).permutation(8)
    adjacency = x[:, :64].reshape(-1, 8, 8)[:, order][:, :, order].reshape(-1, 64)
    operations = x[:, 64:].reshape(-1, 8, 8)[:, order].reshape(-1, 64)
    renamed = np.concatenate([adjacency, operations], axis=1)
    np.testing.assert_allclose(made.predict(renamed), made.predict(x), rtol=1e-4, atol=1e-5)


def test_agreement_is_the_difference_of_distances(graphs):
    space, architectures, y = graphs
    x = encode("live_graph", space, architectures).astype(float)
    made = GIN(widths=(64, 64), epochs=1, reverse=(False, True), agreement=1.0).fit(x[:20], y[:20])
    inputs = made._inputs(x[:6])
    with torch.no_grad():
        loss = float(made._loss(made.network_, inputs, torch.zeros(6)))
        one, other = (code.numpy() for code in made.network_.codes(*inputs))
    apart = [np.linalg.norm(code[:, None] - code[None], axis=2) for code in (one, other)]
    assert loss == pytest.approx(2 * ((apart[0] - apart[1]) ** 2).mean(), rel=1e-4)


def test_the_comparator_orders_as_its_score(graphs):
    space, architectures, y = graphs
    x = encode("live_graph", space, architectures).astype(float)
    made = BRP(widths=(64, 64), epochs=5).fit(x[:20], y[:20])
    with torch.no_grad():
        shares = made.network_(*made._inputs(x[20:])).numpy()
    better = shares[:, None, 0] + shares[None, :, 1]  # the logit that the row is better
    score = made.predict(x[20:])
    expected = np.sign(score[:, None] - score[None])
    assert (np.sign(np.round(better - better.T, 4)) == np.where(np.abs(better - better.T) < 1e-4, 0, expected)).all()


def test_the_global_node_receives_from_all_that_is_there():
    adjacency = torch.zeros(1, 3, 3)
    adjacency[0, 0, 1] = 1
    operations = torch.tensor([[[1.0, 0], [0, 1], [0, 0]]])
    receives, wider = with_global(adjacency, operations)
    assert receives[0].tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 1]]
    assert wider[0].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_the_loop_is_adam_along_a_cosine():
    with randomness(0, "test") as rng:
        network = torch.nn.Linear(2, 1)
    other = torch.nn.Linear(2, 1)
    other.load_state_dict(network.state_dict())
    x, y = torch.arange(8.0).reshape(4, 2), torch.arange(4.0)
    schedule = Schedule(epochs=3, batch=4, rate=0.1, decay=0.01)
    train(network, lambda rows: ((network(x[rows])[:, 0] - y[rows]) ** 2).mean(), 4, schedule, rng)
    optimizer = torch.optim.Adam(other.parameters(), 0.1, weight_decay=0.01)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
    for _ in range(3):
        optimizer.zero_grad()
        ((other(x)[:, 0] - y) ** 2).mean().backward()
        optimizer.step()
        falling.step()
    np.testing.assert_allclose(network.weight.detach(), other.weight.detach(), rtol=1e-4)


def test_the_loop_stops_where_nothing_gets_better():
    network, calls = torch.nn.Linear(1, 1), []

    def loss(rows):
        calls.append(len(rows))
        return network.weight.sum() * 0 + 1.0

    train(network, loss, 5, Schedule(epochs=50, batch=2, rate=0.1, patience=3), np.random.default_rng(0))
    assert calls == [2, 2, 1] * 4


def test_weights_of_opinions_are_those_of_a_ridge_pulled_to_the_first():
    rng = np.random.default_rng(0)
    z = rng.normal(size=60)
    said = np.stack([z + 0.3 * rng.normal(size=60), z + 0.6 * rng.normal(size=60), rng.normal(size=60)], axis=1)
    first = np.eye(3)[0]
    found = stacked.weights(said, z, first, stacked.BELIEF)
    ridge = np.linalg.solve(said.T @ said + stacked.BELIEF * np.eye(3), said.T @ z + stacked.BELIEF * first)
    np.testing.assert_allclose(found, ridge, rtol=1e-6, err_msg="where no weight is below zero")
    assert found[0] > found[1] > found[2]
    assert stacked.weights(said * [1, 1, -1] - [[0, 0, 1]] * z[:, None], z, first, 10.0)[2] == 0, "none is below zero"


def test_a_score_that_says_all_is_believed():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(80, 4)), rng.normal(size=80)
    matrix = np.column_stack([x, y + 0.1 * rng.normal(size=80), rng.normal(size=80)])
    made = stacked.Stacked(Scout(), widths=(4, 1, 1)).fit(matrix[:25], y[:25])
    assert np.corrcoef(made.predict(matrix[25:]), y[25:])[0, 1] > 0.95
    assert len(made.weights_) == 2 + 2
    assert made.weights_[2] > 5 * made.weights_[3]
    assert len(stacked.Stacked(Scout(), widths=(4,)).fit(x[:25], y[:25]).weights_) == 1, (
        "without scores it is scout alone"
    )


def test_tiers_and_the_rank_loss_are_those_of_a_loop():
    rng = np.random.default_rng(4)
    y = rng.normal(size=20)
    assert np.bincount(nar.tiers(y).astype(int)).tolist() == [4] * 5
    assert y[nar.tiers(y) == 0].min() > y[nar.tiers(y) == 1].max()
    assert (nar.tiers(np.ones(7)) == 2).all(), "equal values are in one tier"
    score, y[3] = rng.normal(size=20), y[4]
    terms = [
        math.log1p(math.exp(-(score[i] - score[j]) * np.sign(y[i] - y[j])))
        for i in range(20) for j in range(20) if y[i] != y[j]
    ]  # fmt: skip
    found = nar.rank_loss(torch.from_numpy(score), torch.from_numpy(y))
    assert float(found) == pytest.approx(np.mean(terms))


def test_embeddings_of_tiers_are_means_over_an_epoch():
    network = nar.TierNetwork(4, 3, 0, width=8, heads=2, layers=1, wide=8)
    network.samples = 6
    encoded, tier = torch.rand(6, 4, 8), torch.tensor([0, 0, 1, 4, 4, 4])
    network.remember(torch.rand(6, 4, 8), tier)  # an epoch before
    network.remember(encoded[:3], tier[:3])
    network.remember(encoded[3:], tier[3:])
    for one in (0, 1, 4):
        mean = network.sums[one] / network.members[one]
        torch.testing.assert_close(mean, encoded[tier == one].mean(dim=(0, 1)))


def test_the_tier_is_told(graphs):
    space, architectures, _ = graphs
    y = np.asarray([sum("conv" in str(v) for v in one.values()) for one in architectures], dtype=float)
    made = nar.NAR(space=space, epochs=60).fit(architectures, y)
    assert (made.tier_of(architectures) == nar.tiers(y)).mean() > 0.8
    assert kendalltau(made.predict(architectures), y).statistic > 0.8


@pytest.mark.parametrize(
    ("space", "name"),
    [
        ("darts", "choices"),
        ("mobile", "choices"),
        ("nasbench201", "path"),
        ("nasbench_macro", "choices"),
    ],
)
def test_where_a_space_has_no_path_encoding_bananas_learns_from_the_default_one(space, name):
    space, rng = create("space", space), np.random.default_rng(0)
    some = [space.sample(rng) for _ in range(12)]
    model = create("estimator", "bananas").predictor.set_params(space=space)
    named = encoding_of(model, space)
    assert (named == "path") == (name == "path") and name in named
    told = model.fit(some[:8], np.linspace(0, 1, 8)).predict(some)
    assert np.isfinite(told).all() and np.ptp(told) > 0
    if name != "path":
        with pytest.raises(UsageError, match=f"space '{space.name}' has no path encoding.*Name another"):
            encode("path", space, some)
