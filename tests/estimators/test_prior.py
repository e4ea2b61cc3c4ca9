"""The prior of earlier trainings, against data whose law is known."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest

from archscout.core.errors import DataError
from archscout.core.registry import create
from archscout.core.trial import Trial
from archscout.estimators.prior import Data, Network, Prior, Record, Scales, read, records_of, rule
from archscout.networks.pick import build
from archscout.testing import tiny_task

NETWORKS = [Network(10.0**size, 10.0 ** (size - 2), 4, 0.0) for size in np.linspace(5, 8, 7)]
LENGTHS = (1, 3, 10, 30, 100)
ROW = {
    "data": "digits", "examples": 300, "height": 8, "width": 8, "channels": 1, "classes": 10, "network": "stem...",
    "macs": 1e6, "params": 1e4, "layers": 4, "grouped": 0.0, "epochs": 3, "accuracy": 0.7,
}  # fmt: skip


def accuracy(data, network, epochs, hard):
    """Large networks come further, and need more steps to get there; data sets differ in how hard they are."""
    size = math.log10(network.macs)
    steps = math.log10(epochs * data.examples)
    logit = 0.8 * size + 1.2 * min(0.0, steps - 0.6 * size) - hard
    return 1 / data.classes + (1 - 1 / data.classes) / (1 + math.exp(-logit))


def records(easy=4.0):
    sets = [("a", Data(500, 8, 1, 10), easy), ("b", Data(2000, 16, 1, 10), 5.0), ("c", Data(8000, 32, 3, 10), 6.0)]
    return [
        Record(name, data, network, epochs, accuracy(data, network, epochs, hard))
        for (name, data, hard), network, epochs in itertools.product(sets, NETWORKS, LENGTHS)
    ]


def test_a_data_set_that_was_not_seen_is_ranked_as_it_comes_out():
    data = Data(4000, 28, 1, 10)
    prior = Prior(records())
    for left in (30.0, 300.0, 3000.0):
        # An epoch takes time in proportion to multiply-adds: the largest network, ten seconds.
        seconds = [network.macs / 1e7 for network in NETWORKS]
        order = prior.rank(data, NETWORKS, seconds, left)
        assert sorted(order) == list(range(len(NETWORKS)))
        real = [accuracy(data, n, min(left / s, 100), 5.5) for n, s in zip(NETWORKS, seconds, strict=True)]
        assert real[order[0]] > max(real) - 0.02
        assert real[order[-1]] < np.median(real)


def test_more_time_is_worth_a_larger_network():
    prior, data = Prior(records()), Data(4000, 28, 1, 10)
    seconds = [network.macs / 1e7 for network in NETWORKS]
    first = [prior.rank(data, NETWORKS, seconds, left)[0] for left in (1.0, 10.0, 100.0, 1000.0)]
    assert first == sorted(first)
    assert first[-1] > first[0]


def test_what_cannot_be_trained_for_an_epoch_comes_last():
    prior, data = Prior(records()), Data(4000, 28, 1, 10)
    order = prior.rank(data, NETWORKS, [9.0, 8.0, 1.0, 0.5, 7.0, 2.0, 6.0], 5.0)
    assert set(order[:3]) == {2, 3, 5}
    assert order[3:] == [6, 4, 1, 0]


def test_how_hard_a_data_set_is_does_not_matter():
    """A data set on which everything is worse by a constant teaches the same order."""
    data, epochs = Data(4000, 28, 1, 10), [30.0] * len(NETWORKS)
    first, second = (Prior(records(easy)).expected(data, NETWORKS, epochs) for easy in (4.0, 4.5))
    assert (first - first.mean()) == pytest.approx(second - second.mean(), abs=0.05)


def test_longer_than_the_longest_is_not_guessed():
    prior, data = Prior(records()), Data(4000, 28, 1, 10)
    longest, beyond = (prior.expected(data, NETWORKS, [e] * len(NETWORKS)) for e in (100, 10_000))
    assert np.array_equal(longest, beyond)


def test_it_is_the_mean_of_a_gaussian_process():
    """On three records, the formula by hand: m + k (K + noise)^-1 (y - m), with the part of the data set in K."""
    few = records()[:2] + records()[-1:]
    scales = Scales(macs=1.5, noise=0.2, rule=0.1)
    prior = Prior(few, scales)

    def features(record):
        d, n = record.data, record.network
        training = [
            math.log((n.macs + 1) / d.side**2) / scales.macs, math.log(n.params + 1) / scales.params,
            math.log(n.layers) / scales.layers, n.grouped / scales.grouped, math.log(record.epochs) / scales.steps,
            math.log(record.epochs * d.examples) / scales.steps,
        ]  # fmt: skip
        data = [math.log(d.examples), math.log(d.side), d.channels > 1, math.log(d.classes)]
        return np.array(training), np.array(data) / scales.data

    def kernel(one, other):
        (training, data), (training2, data2) = features(one), features(other)
        alike = scales.everywhere**2 + scales.alike**2 * math.exp(-0.5 * ((data - data2) ** 2).sum())
        return alike * math.exp(-0.5 * ((training - training2) ** 2).sum())

    shares = [(r.accuracy - 0.1) / 0.9 for r in few]
    logits = [math.log(s / (1 - s)) - 0.1 * rule(r.data, r.network, r.epochs) for s, r in zip(shares, few, strict=True)]
    covariance = [[kernel(a, b) + 100 * (a.source == b.source) + 0.04 * (a is b) for b in few] for a in few]
    asked = Record("new", Data(4000, 28, 1, 10), NETWORKS[3], 20.0, 0.0)
    weights = np.linalg.inv(np.array(covariance)) @ (np.array(logits) - np.mean(logits))
    expected = 0.1 * rule(asked.data, asked.network, asked.epochs)
    expected += sum(w * kernel(asked, r) for w, r in zip(weights, few, strict=True))
    assert prior.expected(asked.data, [asked.network], [asked.epochs]) == pytest.approx([expected])


def test_where_nothing_is_known_the_rule_of_thumb_holds():
    """Far from all records: larger is better with time enough, and a tenth of that time is too little."""
    far = Data(3, 5000, 3, 10_000)
    networks = [Network(10.0**size, 1e15, 10_000, 0.0) for size in (13, 14, 15)]
    for epochs, order in (([90.0] * 3, [0, 1, 2]), ([90.0, 9.0, 1.0], [2, 1, 0])):
        expected = Prior(records()).expected(far, networks, epochs)
        assert list(np.argsort(expected)) == order
        assert list(np.argsort([rule(far, n, e) for n, e in zip(networks, epochs, strict=True)])) == order


def test_without_records_the_rule_is_all():
    data, epochs = Data(4000, 28, 1, 10), [30.0] * len(NETWORKS)
    expected = Prior([]).expected(data, NETWORKS, epochs)
    scale = Scales().rule
    assert expected == pytest.approx([scale * rule(data, n, 30.0) for n in NETWORKS])


def test_a_search_teaches_it():
    """Where a user's trainings said that the smallest network is the best, it comes first there."""
    space, task = create("space", "classic"), tiny_task((3, 32, 32), classes=10)
    small, large = (space.references()[name] for name in ("plain_tiny", "plain"))
    trials = [
        Trial(number, a, a.text, "trained", epochs, "completed", value)
        for number, (a, epochs, value) in enumerate(
            [(small, 30, 0.9), (large, 30, 0.2), (small, 10, 0.8), (large, 10, 0.2)]
        )
    ]
    others = [
        dataclasses.replace(trials[0], estimator="naswot"), dataclasses.replace(trials[1], status="failed"),
        dataclasses.replace(trials[1], value=math.nan),
    ]  # fmt: skip
    records = records_of(space, task, [*trials, *others])
    assert [(r.network.params, r.epochs, r.accuracy) for r in records] == [
        (Network.of(space, t.architecture, task).params, t.fidelity, t.value) for t in trials
    ]
    networks = [Network.of(space, a, task) for a in (small, large)]
    before, after = Prior([]), Prior([]).learned(records)
    assert before.rank(Data.of(task), networks, [1.0, 1.0], 30.0) == [1, 0]
    assert after.rank(Data.of(task), networks, [1.0, 1.0], 30.0) == [0, 1]


def test_counts_are_those_of_the_network():
    space, task = create("space", "classic"), tiny_task((3, 32, 32))
    text = "stem16k3s1_inverted16x1k3e2_plain64x1k3-pool"
    network = build(space, space.parse(text), task)
    counts = Network.of(space, space.parse(text), task)
    assert counts.params == sum(p.numel() for p in network.parameters())
    # Stem, three of the inverted residual (one of them depthwise), one plain, and the classifier.
    assert (counts.layers, counts.grouped) == (6, pytest.approx(1 / 5))
    inverted = 16 * 32 + 9 * 32 + 32 * 16
    assert counts.macs == 1024 * (27 * 16 + inverted) + 256 * 9 * 16 * 64 + 64 * 3
    assert Data.of(task) == Data(48, 32.0, 3, 3)


def test_a_damaged_table_is_one_clear_sentence():
    assert read(json.dumps({"rows": [ROW]}))[0].network.layers == 4
    for text in ("{", "[]", json.dumps({"rows": [{"data": "digits"}]}), json.dumps({"rows": [ROW | {"macs": "many"}]})):
        with pytest.raises(DataError, match="of earlier trainings is damaged") as caught:
            read(text)
        assert len(str(caught.value).splitlines()) == 1


def test_the_shipped_table_knows_what_everyone_knows():
    """With little time a small network; with much, one of some size; the same answer every time."""
    prior = Prior.shipped()
    assert prior is Prior.shipped()
    space, task = create("space", "classic"), tiny_task((3, 32, 32), classes=10)
    data = dataclasses.replace(Data.of(task), examples=2400)
    names = list(space.references())
    networks = [Network.of(space, a, task) for a in space.references().values()]
    seconds = [3 * n.macs * data.examples / 1e11 for n in networks]
    little, much = (prior.rank(data, networks, seconds, left) for left in (2.0, 600.0))
    assert networks[little[0]].macs < networks[much[0]].macs
    assert names[much[-1]] not in ("plain", "resnet8_wide", "plain_deep")


def test_nine_epochs_of_20_000_images_are_too_few_for_a_large_network():
    """Measured: 82.9 % after 9 epochs of the large one, 86.4 % after 34 of the other (1,029 and 1,309 s)."""
    space, task = create("space", "classic"), tiny_task((3, 32, 32), classes=10)
    data = dataclasses.replace(Data.of(task), examples=16_000)
    networks = [Network.of(space, space.references()[name], task) for name in ("vgg", "resnet9_small")]
    assert Prior.shipped().rank(data, networks, [114.0, 38.0], 1029.0) == [1, 0]
    assert Prior.shipped().rank(data, networks, [114.0, 38.0], 20 * 1029.0) == [0, 1], "with much more time it is not"
