"""Distributions against enumeration of the whole space."""

import itertools
import math

import numpy as np
import pytest
import torch

from archscout.core.choice import Choice, Condition
from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.supernets.distributions import Distribution, layers


class Tree(Space):
    """A small space with conditions: 3 * 2 + 2 * (2 * 3) architectures and a free choice of two."""

    name = "tree"
    choices = (
        Choice("kind", ("a", "b", "c")),
        Choice("b.size", (1, 2), condition=Condition("kind", ("b", "c"))),
        Choice("b.form", ("x", "y", "z"), condition=Condition("kind", ("b", "c"))),
        Choice("free", (False, True)),
    )

    def network(self, task, pick):
        raise AssertionError("no network is built here")


def random_distribution(space, groups=(), seed=0):
    distribution = Distribution(space, groups)
    rng = stream(seed, "logits")
    with torch.no_grad():
        for logits in distribution.logits:
            logits.copy_(torch.as_tensor(rng.normal(size=logits.shape)))
    return distribution


GROUPS = [(), [["b.size", "b.form"]]]


@pytest.mark.parametrize("groups", GROUPS)
def test_probabilities_sum_to_one_and_the_entropy_is_theirs(groups):
    distribution = random_distribution(Tree(), groups)
    logs = [distribution.log_probability(architecture).item() for architecture in Tree()]
    assert len(logs) == Tree().size() == 2 + 2 * 2 * 6
    assert math.isclose(sum(math.exp(log) for log in logs), 1.0, abs_tol=1e-6)
    assert math.isclose(-sum(math.exp(log) * log for log in logs), distribution.entropy().item(), abs_tol=1e-5)


@pytest.mark.parametrize("groups", GROUPS)
def test_samples_come_with_their_probabilities(groups):
    distribution = random_distribution(Tree(), groups)
    drawn = distribution.sample(20_000, stream(1))
    counts = {}
    for architecture in drawn:
        counts[architecture.text] = counts.get(architecture.text, 0) + 1
    for architecture in Tree():
        p = math.exp(distribution.log_probability(architecture).item())
        assert abs(counts.get(architecture.text, 0) / 20_000 - p) < 5 * math.sqrt(p / 20_000) + 1e-3
    assert [a.text for a in distribution.sample(5, stream(2))] == [a.text for a in distribution.sample(5, stream(2))]


@pytest.mark.parametrize("groups", GROUPS)
def test_balanced_samples_take_every_option_as_often_as_its_probability_says(groups):
    distribution = random_distribution(Tree(), groups)
    for number in range(20):
        drawn = distribution.sample(10, stream(number), balanced=True)
        for option, p in zip((False, True), distribution.marginals()["free"].tolist(), strict=True):
            assert abs(sum(a["free"] is option for a in drawn) - 10 * p) < 1


@pytest.mark.parametrize("groups", GROUPS)
def test_each_balanced_sample_alone_has_the_distribution(groups):
    distribution = random_distribution(Tree(), groups)
    counts = {}
    for number in range(4000):
        first, second = distribution.sample(4, stream(number, "draws"), balanced=True)[:2]
        for architecture in (first, second):
            counts[architecture.text] = counts.get(architecture.text, 0) + 1
    for architecture in Tree():
        p = math.exp(distribution.log_probability(architecture).item())
        assert abs(counts.get(architecture.text, 0) / 8000 - p) < 5 * math.sqrt(p / 8000) + 1e-3


def test_marginals_and_presence_are_sums_over_architectures():
    distribution = random_distribution(Tree(), [["b.size", "b.form"]])
    rows = [(a, math.exp(distribution.log_probability(a).item())) for a in Tree()]
    marginals, presence = distribution.marginals(), distribution.presence()
    for choice in Tree.choices:
        active = sum(p for a, p in rows if choice.name in a)
        assert math.isclose(presence[choice.name].item(), active, abs_tol=1e-6)
        for option, p in zip(choice.options, marginals[choice.name], strict=True):
            expected = sum(q for a, q in rows if a.get(choice.name) == option and choice.name in a) / active
            assert math.isclose(p.item(), expected, abs_tol=1e-6)


@pytest.mark.parametrize("space", [Tree(), create("space", "nasbench201")])
def test_to_joint_leaves_every_probability_as_it_was(space):
    factorised = random_distribution(space)
    joint = factorised.joint(layers(space))
    assert not joint.factorised
    rng = stream(3)
    for architecture in [space.sample(rng) for _ in range(50)]:
        one, other = (d.log_probability(architecture).item() for d in (factorised, joint))
        assert math.isclose(one, other, abs_tol=1e-5)
        assert abs(math.exp(one) - math.exp(other)) < 1e-6
    assert math.isclose(factorised.entropy().item(), joint.entropy().item(), abs_tol=1e-4)
    assert joint.mode() == factorised.mode()


def test_the_layers_of_nasbench201_are_its_nodes():
    space = create("space", "nasbench201")
    assert [len(group) for group in layers(space)] == [1, 2, 3]
    joint = Distribution(space, layers(space))
    assert sum(len(logits) for logits in joint.logits) == 5 + 25 + 125
    assert sum(len(logits) for logits in Distribution(space).logits) == 30
    assert math.isclose(joint.entropy().item(), 6 * math.log(5), abs_tol=1e-5)


def test_best_first_is_the_order_of_probability():
    space = create("space", "nasbench201")
    distribution = random_distribution(space, seed=4)
    logs = [distribution.log_probability(a).item() for a in itertools.islice(distribution.best_first(), 300)]
    assert logs == sorted(logs, reverse=True)
    tables = [torch.log_softmax(logits, 0).detach().numpy() for logits in distribution.logits]
    everything = np.zeros(1)
    for table in tables:
        everything = np.add.outer(everything, table).ravel()
    assert np.allclose(logs, np.sort(everything)[::-1][:300], atol=1e-4)


def test_best_first_names_every_architecture_once():
    for groups in GROUPS:
        texts = [a.text for a in random_distribution(Tree(), groups).best_first()]
        assert sorted(texts) == sorted(a.text for a in Tree())


def test_groups_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="no choice 'other'"):
        Distribution(Tree(), [["other"]])
    with pytest.raises(UsageError, match="different conditions"):
        Distribution(Tree(), [["kind", "b.size"]])
    with pytest.raises(UsageError, match="combinations"):
        Distribution(create("space", "nasbench201"), [[c.name for c in create("space", "nasbench201").choices]])


def test_a_broken_distribution_is_noticed():
    distribution = Distribution(Tree())
    distribution.check()
    with torch.no_grad():
        distribution.logits[1][0] = float("nan")
    with pytest.raises(ArithmeticError, match="finite"):
        distribution.check()
