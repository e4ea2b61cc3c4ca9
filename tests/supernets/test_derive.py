"""Derivations and the rank report against brute force."""

import itertools
import math

import numpy as np
import pytest
import torch

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.supernets import derive
from archscout.supernets.derive import likeliest, near_limit, norm_score
from archscout.supernets.distributions import Distribution
from archscout.supernets.ranking import rank_report
from archscout.supernets.supernet import Supernet
from archscout.testing import tiny_task

SPACE = create("space", "nasbench201:width=4,cells=1")


def everyone(architectures, count):
    return list(itertools.islice(architectures, count))


def convolutions(architecture):
    return architecture.text.count("nor_conv_3x3")


def random_distribution(seed):
    distribution = Distribution(SPACE)
    rng = stream(seed)
    with torch.no_grad():
        for logits in distribution.logits:
            logits.copy_(torch.as_tensor(rng.normal(size=5)))
    return distribution


def test_what_comes_near_a_limit_and_keeps_it_is_found():
    """Of all that have one or two convolutions of six, the most probable ones, against brute force."""
    distribution = random_distribution(3)

    def admit(architectures, count):
        return everyone((a for a in architectures if convolutions(a) <= 2), count)

    near = near_limit(admit, lambda some: [convolutions(a) / 2 for a in some], 0.5)
    found = likeliest(distribution, near, 5, stream(0))
    assert [convolutions(a) in (1, 2) for a in found] == [True] * 5
    # A network stands for itself in its most probable form.
    best = {}
    everything = list(SPACE)
    for a, value in zip(everything, distribution.log_probabilities(everything).tolist(), strict=True):
        best[SPACE.canonical(a)] = max((value, convolutions(a)), best.get(SPACE.canonical(a), (-math.inf, 0)))
    values = [float(distribution.log_probability(a).detach()) for a in found]
    assert values == pytest.approx(sorted(value for value, count in best.values() if count in (1, 2))[:-6:-1], abs=1e-5)


def test_the_likeliest_are_different_networks_and_the_first_is_the_mode():
    distribution = random_distribution(0)
    found = likeliest(distribution, everyone, 5, stream(0))
    assert found[0] == distribution.mode()
    assert len({SPACE.canonical(a) for a in found}) == 5
    logs = distribution.log_probabilities(found).tolist()
    assert logs == sorted(logs, reverse=True)


def test_the_likeliest_within_limits_is_found_where_the_mode_is_far_outside():
    """At most one 3 x 3 convolution, where the distribution wants six: brute force knows the best."""
    distribution = random_distribution(1)
    with torch.no_grad():
        for logits in distribution.logits:
            logits[3] += 12.0

    def admit(architectures, count):
        return everyone((a for a in architectures if convolutions(a) <= 1), count)

    found = likeliest(distribution, admit, 3, stream(0))
    allowed = [a for a in SPACE if convolutions(a) <= 1]
    best = max(distribution.log_probabilities(allowed).tolist())
    assert all(convolutions(a) <= 1 for a in found)
    assert distribution.log_probability(found[0]).item() > best - 1e-4


def test_where_options_are_not_free_the_strongest_comes_first_and_then_the_next_within_limits(monkeypatch):
    monkeypatch.setattr(derive, "TRIES", 40)
    space = create("space", "darts:width=4,layers=3")
    distribution = Distribution(space)
    with torch.no_grad():
        for place, logits in enumerate(distribution.logits):
            logits.copy_(torch.as_tensor(stream(place).normal(size=8)))
    weights = {name: weight.tolist() for name, weight in distribution.weights().items()}
    strongest = space.strongest(weights)
    assert likeliest(distribution, everyone, 2, stream(0))[0] == strongest

    def admit(architectures, count):
        return everyone((a for a in architectures if a != strongest), count)

    def total(architecture):
        return sum(
            weights[name][space.choices[i].index(o)] for i, (name, o) in enumerate(architecture.items()) if o != "none"
        )

    found = likeliest(distribution, admit, 3, stream(0))
    assert strongest not in found
    assert len(set(found)) == 3
    values = [total(architecture) for architecture in (strongest, *found)]
    assert values == sorted(values, reverse=True)
    assert values[3] > np.mean([total(space.sample(stream(seed))) for seed in range(50)])


def test_the_norm_score_sums_the_scales_of_what_is_chosen():
    supernet = Supernet(SPACE, tiny_task())
    with torch.no_grad():
        for name, places in supernet.mixed().items():
            for place in places:
                for option, key in place.keys.items():
                    if "conv" in option:
                        place.options[key][2].weight.fill_(-2.0 if option.endswith("3x3") and "->3" in name else 1.0)
    text = "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    (found,) = norm_score(supernet, [SPACE.parse(text)])
    assert found == pytest.approx(3 * (1 + 1 + 2 + 2)), "three cells of four convolutions"


def test_the_rank_report_on_a_case_worked_out_by_hand():
    architectures = list(itertools.islice(SPACE, 10))
    truth = [float(value) for value in range(10)]
    report = rank_report(architectures, truth, truth, top=3)
    assert (report.spearman, report.kendall, report.precision, report.percentile) == pytest.approx((1, 1, 1, 1))
    assert all(value == 0 for value in report.bias.values())
    swapped = [0.0, 1, 2, 3, 4, 5, 6, 9, 8, 7]
    report = rank_report(architectures, swapped, truth, top=2)
    assert report.spearman == pytest.approx(1 - 6 * (4 + 4) / (10 * 99))
    assert report.kendall == pytest.approx((45 - 2 * 3) / 45)
    assert report.spearman_top == pytest.approx(-1.0)
    assert report.precision == 0.5
    assert (report.pick, report.best_of_top, report.percentile) == (7.0, 8.0, 0.8)


def test_bias_says_which_option_is_favoured():
    architectures = [SPACE.sample(stream(seed)) for seed in range(400)]
    rng = np.random.default_rng(0)
    truth = rng.normal(size=400)
    scores = [t + 3.0 * (a["edge 0->3"] == "skip_connect") for t, a in zip(truth, architectures, strict=True)]
    report = rank_report(architectures, scores, truth)
    assert max(report.bias, key=report.bias.__getitem__) == "edge 0->3=skip_connect"
    assert report.bias["edge 0->3=skip_connect"] > 0.3


def test_undefined_scores_rank_last_and_are_counted():
    architectures = list(itertools.islice(SPACE, 4))
    report = rank_report(architectures, [math.nan, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0], top=4)
    assert report.undefined == 1
    assert report.spearman == pytest.approx(1.0)
    assert math.isnan(rank_report(architectures, [1.0] * 4, [0.0, 1.0, 2.0, 3.0]).spearman)
    with pytest.raises(UsageError, match="a score and a truth for each"):
        rank_report(architectures, [1.0], [1.0])
