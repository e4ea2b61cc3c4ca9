"""The default latency model: exact where the world is as it assumes, calibrated, and clear about bad input."""

import numpy as np
import pytest

from archscout.core.architecture import Architecture
from archscout.core.errors import DataError, UsageError
from archscout.core.seeds import stream
from archscout.costs.models import bayesian
from archscout.costs.models.base import Measured
from archscout.costs.models.bayesian import BayesianLatency
from archscout.costs.models.prior import Group, Prior, learn
from archscout.spaces.mobile import Mobile
from archscout.spaces.nasbench201 import NASBench201
from archscout.spaces.nasbench201_counts import OPERATORS

SPACE = NASBench201()
CELLS = [SPACE.simplify(SPACE.sample(stream(number, "latency tests"))) for number in range(400)]


def milliseconds(cells: list[Architecture], costs: dict[str, float], base: float = 3.0) -> np.ndarray:
    return np.array([base + sum(costs[str(o)] for o in cell.values() if o != "none") for cell in cells])


def random_device(rng: np.random.Generator) -> dict[str, float]:
    scale = np.array([0.05, 0.5, 2.0, 0.4]) * 10 ** rng.normal(0, 0.2)
    return dict(zip(OPERATORS, scale * np.exp(rng.normal(0, 0.3, 4)), strict=True))


@pytest.fixture(scope="module")
def prior() -> Prior:
    known = []
    for number in range(12):
        rng = stream(number, "devices")
        noisy = milliseconds(CELLS, random_device(rng)) * np.exp(rng.normal(0, 0.03, len(CELLS)))
        known.append(Measured(f"device{number}", CELLS, noisy))
    return learn(SPACE, known)


def test_a_device_without_noise_is_learned_from_ten_cells(prior: Prior) -> None:
    truth = milliseconds(CELLS, random_device(stream(99, "devices")))
    model = BayesianLatency(prior)
    chosen = model.choose(SPACE, CELLS[:200], 10)
    model.fit(SPACE, chosen, milliseconds(chosen, random_device(stream(99, "devices"))))
    predicted, deviation = model.predict(CELLS)
    assert np.abs(predicted / truth - 1).max() < 0.03
    assert (deviation < 0.1).all()


def test_the_posterior_is_that_of_integration_by_sampling(prior: Prior) -> None:
    """Weights drawn from each hypothesis, weighed by their likelihood, give the same mean and spread."""
    chosen = [CELLS[n] for n in (3, 50, 90, 140)]
    ms = milliseconds(chosen, random_device(stream(7, "devices")))
    model = BayesianLatency(prior).fit(SPACE, chosen, ms)
    asked = CELLS[200:210]
    group = prior.groups["operators"]
    loose = bayesian.LOOSENESS["operators"]
    spread = np.cov(group.weights.T)
    mean = group.weights.mean(axis=0)
    spread = (1 - loose.independent) * spread + np.diag(loose.independent * np.diag(spread) + loose.own)
    spread = spread + bayesian.SCALE**2 * np.outer(mean, mean)

    def design(cells: list[Architecture]) -> np.ndarray:
        return np.hstack([np.ones((len(cells), 1)), SPACE.operator_counts(cells)["operators"] - group.centre])

    unit = np.median(ms / (design(chosen) @ mean))
    weights = stream(0, "sampling").multivariate_normal(mean, spread, size=1_000_000)
    expected, residual = design(chosen) @ mean, weights @ design(chosen).T - ms / unit
    total, first, second, noises = 0.0, np.zeros(len(asked)), np.zeros(len(asked)), 0.0
    predictions = weights @ design(asked).T
    limit = float(np.median(ms))
    kept = np.zeros(len(asked))
    for noise in bayesian.NOISES:
        sigma = noise * expected
        likelihood = np.exp(-0.5 * ((residual / sigma) ** 2).sum(1) - np.log(sigma).sum())
        total, noises = total + likelihood.sum(), noises + noise**2 * likelihood.sum()
        errors = noise * predictions * stream(1, "sampling", str(noise)).standard_normal(len(weights))[:, None]
        kept = kept + likelihood @ (predictions + errors <= limit / unit)
        first, second = first + likelihood @ predictions, second + likelihood @ predictions**2
    mean_share, noise = first / total, noises / total
    variance = second / total - mean_share**2 + noise * mean_share**2
    predicted, deviation = model.predict(asked)
    np.testing.assert_allclose(predicted, mean_share * unit, rtol=0.01)
    np.testing.assert_allclose(np.expm1(deviation**2), variance / mean_share**2, rtol=0.1)
    np.testing.assert_allclose(model.within(asked, limit), kept / total, atol=0.02)


def test_intervals_hold_as_often_as_they_say(prior: Prior) -> None:
    """New devices of the family that the prior was learned from, with noise: 90 % intervals hold in 85 to 97 %."""
    inside = []
    for number in range(200, 260):
        rng = stream(number, "devices")
        noise = float(rng.choice([0.03, 0.06, 0.12]))
        truth = milliseconds(CELLS, random_device(rng)) * np.exp(rng.normal(0, noise, len(CELLS)))
        picked = rng.choice(len(CELLS), 12, replace=False)
        predicted, deviation = (
            BayesianLatency(prior).fit(SPACE, [CELLS[n] for n in picked], truth[picked]).predict(CELLS)
        )
        rest = np.setdiff1d(np.arange(len(CELLS)), picked)
        inside.append(np.mean(np.abs(np.log(truth / predicted))[rest] < 1.645 * deviation[rest]))
    assert 0.85 <= np.mean(inside) <= 0.97


def test_a_limit_is_kept_as_often_as_is_said(prior: Prior) -> None:
    said, kept = [], []
    for number in range(400, 430):
        rng = stream(number, "devices")
        truth = milliseconds(CELLS, random_device(rng)) * np.exp(rng.normal(0, 0.08, len(CELLS)))
        limit = float(np.median(truth))
        model = BayesianLatency(prior).fit(SPACE, CELLS[:10], truth[:10])
        said.append(model.within(CELLS[10:], limit))
        kept.append(truth[10:] <= limit)
    chance, happened = np.concatenate(said), np.concatenate(kept)
    for low, high in ((0.0, 0.1), (0.4, 0.6), (0.9, 1.0)):
        some = (chance >= low) & (chance <= high)
        assert happened[some].mean() == pytest.approx(chance[some].mean(), abs=0.07)


def test_the_first_choice_shrinks_the_uncertainty_most(prior: Prior) -> None:
    """Against trying every candidate: the mean relative variance that is left after measuring it."""
    candidates = [c for c, useless in zip(CELLS[:60], SPACE.constant(CELLS[:60]), strict=True) if not useless]
    model = BayesianLatency(prior)
    (first,) = model.choose(SPACE, candidates, 1)
    design, covariance = model._design(candidates), model._covariance
    level = design @ model._mean
    left = []
    for row, share in zip(design, level, strict=True):
        lead = covariance @ row
        after = covariance - np.outer(lead, lead) / (row @ lead + model._noise * share**2)
        left.append(np.mean(np.einsum("ij,jk,ik->i", design, after, design) / level**2))
    assert first == candidates[int(np.argmin(left))]


def test_chosen_cells_teach_more_than_random_ones(prior: Prior) -> None:
    chosen_error, random_error = [], []
    for number in range(300, 320):
        rng = stream(number, "devices")
        truth = milliseconds(CELLS, random_device(rng)) * np.exp(rng.normal(0, 0.05, len(CELLS)))
        by_cell = dict(zip(CELLS, truth, strict=True))
        model = BayesianLatency(prior)
        measured = model.choose(SPACE, CELLS, 6)
        assert not SPACE.constant(measured).any()
        for cells, errors in ((measured, chosen_error), (CELLS[:6], random_error)):
            model.fit(SPACE, cells, [by_cell[cell] for cell in cells])
            errors.append(np.abs(np.log(model.predict(CELLS)[0] / truth)).mean())
    assert np.mean(chosen_error) < np.mean(random_error)


def test_after_a_fit_others_are_chosen(prior: Prior) -> None:
    model = BayesianLatency(prior)
    first = model.choose(SPACE, CELLS, 5)
    model.fit(SPACE, first, milliseconds(first, random_device(stream(1, "devices"))))
    assert not set(first) & set(model.choose(SPACE, CELLS, 5))


def test_a_runtime_that_leaves_out_what_nothing_reads_is_recognised(prior: Prior) -> None:
    cells = [SPACE.sample(stream(number, "with dead operations")) for number in range(600)]
    columns = SPACE.operator_counts(cells, dead_operations=True)
    every = learn(
        SPACE, [Measured(d, cells, 3 + columns["operators"] @ w) for d, w in _machines(8)], dead_operations=True
    )
    truth = 3 + columns["needed"] @ next(w for _, w in _machines(9)[8:])
    model = BayesianLatency(every, dead_operations=True)
    by_cell = dict(zip(cells, truth, strict=True))
    measured = model.choose(SPACE, cells, 10)
    predicted, _ = model.fit(SPACE, measured, [by_cell[cell] for cell in measured]).predict(cells)
    alive = ~SPACE.constant(cells)
    assert np.mean(np.abs(predicted / truth - 1)[alive] < 0.1) > 0.95


def _machines(count: int) -> list[tuple[str, np.ndarray]]:
    return [(f"d{n}", np.array(list(random_device(stream(n, "machines")).values()))) for n in range(count)]


def test_a_space_of_which_no_device_is_known_is_learned_from_its_choices() -> None:
    space = Mobile()
    architectures = [space.sample(stream(number, "mobile")) for number in range(260)]
    work = np.array([sum(float(a.get(f"stage{s}.depth", 0)) for s in range(1, 5)) for a in architectures])
    ms = 2.0 + 0.5 * work
    predicted, deviation = BayesianLatency().fit(space, architectures[:200], ms[:200]).predict(architectures[200:])
    assert np.corrcoef(predicted, ms[200:])[0, 1] > 0.9
    assert np.mean(np.abs(np.log(ms[200:] / predicted)) < 2 * deviation) > 0.9


def test_counts_stand_in_for_devices() -> None:
    space = Mobile()
    architectures = [space.sample(stream(number, "mobile")) for number in range(120)]
    work = {
        a: 10.0 + sum(float(str(v)) for k, v in a.items() if k.endswith(("kernel", "expansion"))) for a in architectures
    }
    ms = np.array([3.0 + 0.2 * work[a] for a in architectures])

    def counts(asked: list[Architecture]) -> np.ndarray:
        return np.array([[work[a]] for a in asked])

    with_counts, _ = BayesianLatency(counts=counts).fit(space, architectures[:10], ms[:10]).predict(architectures[10:])
    without, _ = BayesianLatency().fit(space, architectures[:10], ms[:10]).predict(architectures[10:])
    assert np.abs(np.log(with_counts / ms[10:])).max() < 0.05
    assert np.abs(np.log(with_counts / ms[10:])).mean() < np.abs(np.log(without / ms[10:])).mean()


def test_one_measurement_after_another_gives_the_same_model(prior: Prior) -> None:
    ms = milliseconds(CELLS[:12], random_device(stream(5, "devices")))
    model = BayesianLatency(prior).fit(SPACE, CELLS[5:10], ms[5:10])
    again = model.fit(SPACE, CELLS[:12], ms).predict(CELLS)[0]
    order = [11, 3, 7, 0, 1, 2, 4, 5, 6, 8, 9, 10]
    other = BayesianLatency(prior).fit(SPACE, [CELLS[n] for n in order], ms[order]).predict(CELLS)[0]
    np.testing.assert_allclose(again, other, rtol=1e-9)


# -- bad input ----------------------------------------------------------------------------------------------------

GOOD = [5.0, 6.0, 7.0, 8.0]


@pytest.mark.parametrize(
    ("ms", "says"),
    [
        ([5.0, 0.0, 7.0, 8.0], "1 of 4 latencies are not numbers above zero"),
        ([5.0, -2.0, float("nan"), 8.0], "2 of 4 latencies"),
        ([5.0, float("inf"), 7.0, 8.0], "1 of 4"),
        ([5.0, 5.0, 5.0, 5.0], "all 4 latencies are 5 ms"),
        ([5.0, 6.0, 7.0], "4 architectures and 3 latencies"),
    ],
)
def test_latencies_of_no_use_are_refused(prior: Prior, ms: list[float], says: str) -> None:
    with pytest.raises(DataError, match=says):
        BayesianLatency(prior).fit(SPACE, CELLS[:4], ms)


def test_two_measurements_are_too_few(prior: Prior) -> None:
    with pytest.raises(DataError, match="3 different architectures"):
        BayesianLatency(prior).fit(SPACE, CELLS[:2], GOOD[:2])
    with pytest.raises(DataError, match="3 different architectures"):
        BayesianLatency(prior).fit(SPACE, [CELLS[0], CELLS[1], CELLS[0], CELLS[1]], GOOD)


def test_architectures_of_another_space_are_refused(prior: Prior) -> None:
    foreign = [Mobile().sample(stream(number, "mobile")) for number in range(4)]
    with pytest.raises(DataError, match="no architecture of space 'nasbench201'"):
        BayesianLatency(prior).fit(SPACE, foreign, GOOD)
    with pytest.raises(UsageError, match="none of space 'nasbench201'"):
        BayesianLatency(prior).fit(SPACE, CELLS[:4], GOOD).predict(foreign)


def test_a_model_that_was_not_fitted_says_so() -> None:
    with pytest.raises(UsageError, match="must be fitted"):
        BayesianLatency().predict(CELLS[:2])
    chosen_only = BayesianLatency()
    chosen_only.choose(SPACE, CELLS, 5)
    with pytest.raises(UsageError, match="must be fitted"):
        chosen_only.predict(CELLS[:2])


def test_too_few_candidates_are_refused(prior: Prior) -> None:
    with pytest.raises(UsageError, match="10 architectures to measure"):
        BayesianLatency(prior).choose(SPACE, CELLS[:4], 10)


def test_nothing_asked_nothing_answered(prior: Prior) -> None:
    predicted, deviation = BayesianLatency(prior).fit(SPACE, CELLS[:4], GOOD).predict([])
    assert predicted.shape == deviation.shape == (0,)


def test_a_prior_of_one_device_is_enough(prior: Prior) -> None:
    one = prior.only(["device3"])
    assert isinstance(one.groups["operators"], Group)
    ms = milliseconds(CELLS[:20], random_device(stream(3, "devices")))
    predicted, _ = BayesianLatency(one).fit(SPACE, CELLS[:20], ms).predict(CELLS[:20])
    assert np.abs(predicted / ms - 1).max() < 0.05
