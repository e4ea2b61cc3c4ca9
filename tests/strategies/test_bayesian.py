"""Bayesian optimisation: the contract of strategies, Thompson sampling, and that it finds what others do not."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.strategy import AskTell
from archscout.core.trial import History, Trial
from archscout.estimators.predictors.base import Predictor
from archscout.strategies.surrogate import SurrogateSearch
from archscout.testing import StrategyConformance


class TestBayesian(StrategyConformance):
    examples = 3

    def strategy(self):
        return create("strategy", "bayesian:first=5,pool=12")


class Stated(Predictor):
    """Expects the number of convolutions, and is as sure as it is told."""

    def __init__(self, space=None, encoding=None, seed=0, deviation=0.0):
        super().__init__(space, encoding, seed)
        self.deviation = deviation

    def matrix(self, X):  # noqa: N803
        return np.array([[convolutions(x)] for x in X])

    def _fit(self, matrix, y):
        pass

    def _predict(self, matrix):
        return matrix[:, 0], np.full(len(matrix), self.deviation)


def convolutions(architecture):
    return float(sum("conv" in str(v) for v in architecture.values()))


def proposals(deviation, count=40):
    space = create("space", "nasbench201")
    rng = np.random.default_rng(0)
    known = History()
    for n in range(12):
        one = space.sample(rng)
        known.append(Trial(n, one, space.canonical(one), "trained", 1, "completed", convolutions(one)))
    strategy = SurrogateSearch("bayesian", "gaussian_process", "thompson", "mixed", first=10, batch=1, pool=40)
    strategy.learned.predictor = Stated(deviation=deviation)
    return known, [strategy.propose(space, known, np.random.default_rng(seed)) for seed in range(count)]


def test_one_that_is_sure_is_followed_and_one_that_is_not_is_tested():
    known, sure = proposals(0.0)
    _, unsure = proposals(50.0)
    assert min(map(convolutions, sure)) > np.mean([convolutions(t.architecture) for t in known]) + 1
    assert np.std([convolutions(a) for a in unsure]) > 0.8, "draws that swamp what is expected are chance"
    space = create("space", "nasbench201")
    assert not {space.canonical(a) for a in [*sure, *unsure]} & known.seen


def test_it_comes_nearer_to_the_best_of_a_published_table_than_chance_and_evolution(shared_data):
    rows = pq.read_table(shared_data / "nasbench201" / "accuracy.parquet", columns=["arch", "c10_test_200"]).to_pydict()
    truth = dict(zip(rows["arch"], rows["c10_test_200"], strict=True))
    space = create("space", "nasbench201")
    found = {"bayesian": [], "random": [], "evolution": []}
    for name, values in found.items():
        for seed in range(3):
            loop = AskTell(create("strategy", name), space, seed=seed)
            for n in range(60):
                one = loop.ask()
                loop.tell(Trial(n, one, space.canonical(one), "trained", 1, "completed", truth[one.text]))
            values.append(max(trial.value for trial in loop.history))
    assert np.mean(found["bayesian"]) > max(np.mean(found["random"]), np.mean(found["evolution"]))


def test_what_cannot_advise_is_refused():
    with pytest.raises(UsageError, match="1 random architecture or more"):
        create("strategy", "bayesian:first=0")
    with pytest.raises(UsageError, match="batches of 1 or more"):
        create("strategy", "bananas:batch=0")
    with pytest.raises(UsageError, match="architecture alone, not 'naswot'"):
        create("strategy", "bayesian:predictor=naswot")
