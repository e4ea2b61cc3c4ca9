"""Evolution with a score beside it: what is trained first, which mutants, and where it stops."""

import math

import pytest

from archscout.core import seeds
from archscout.core.choice import Choice
from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.space import Space
from archscout.core.trial import Trial


class Numbers(Space):
    """Five choices of four options, and nothing to build."""

    name = "numbers"
    choices = tuple(Choice(name, (0, 1, 2, 3)) for name in "abcde")

    def network(self, task, pick):
        raise AssertionError("nothing is built")


def worth(architecture):
    return float(sum(architecture.values()))


class Budget:
    """As much of a run as the method asks for: so many trainings."""

    objectives, constraints, workers, estimator, epochs, share, trains, device = (
        (),
        (),
        2,
        "trained",
        3,
        1.0,
        True,
        "cpu",
    )

    def __init__(self, trials, score=worth, seed=0):
        self.space, self.left, self.seed, self.value = Numbers(), trials, seed, score
        self.batches, self.scored = [], []

    def rng(self, *keys):
        return seeds.stream(self.seed, *keys)

    def admit(self, architectures, count):
        return list(architectures)[:count]

    def _trial(self, architecture, value):
        return Trial(0, architecture, architecture.text, "x", None, "completed", value)

    def score(self, architectures, names, **_):
        self.scored += [a.text for a in architectures]
        return [[self._trial(a, self.value(a)) for a in architectures]]

    def evaluate(self, architectures, estimator, *, fidelity):
        some = architectures[: self.left]
        self.left -= len(some)
        self.batches.append([a.text for a in some])
        return [self._trial(a, worth(a)) for a in some]

    def trials_left(self):
        return self.left

    def seconds_left(self):
        return math.inf

    def decide(self, key, make):
        return make()

    def note(self, *_):
        pass


def test_the_first_generation_is_the_best_of_the_pool_and_no_network_is_trained_twice():
    run = Budget(30)
    trials = create("method", "assisted_evolution:population=6,sample=3,pool=40,score=worth").search(run)
    pool = sorted(map(run.space.parse, run.scored[:40]), key=worth, reverse=True)
    assert [worth(run.space.parse(text)) for text in run.batches[0]] == [worth(a) for a in pool[:6]]
    assert len(trials) == 30 == len({trial.architecture.text for trial in trials})
    assert len(run.scored) == len(set(run.scored))
    assert trials[0].value == max(trial.value for trial in trials)


def test_a_score_that_knows_the_truth_gets_further_than_one_that_says_the_opposite():
    def reached(score, seed):
        run = Budget(24, score, seed)
        return create("method", "assisted_evolution:population=6,sample=3,pool=30,score=worth").search(run)[0].value

    assert sum(reached(worth, seed) for seed in range(3)) > sum(reached(lambda a: -worth(a), seed) for seed in range(3))


def test_odd_sizes_are_refused():
    for text in ("population=4,sample=5", "population=50,pool=20", "mutants=0"):
        with pytest.raises(UsageError, match=r"assisted_evolution|mutants"):
            create("method", f"assisted_evolution:{text}")
