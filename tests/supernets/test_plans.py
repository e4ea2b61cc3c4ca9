"""Plans: the number and the kind of paths of a step."""

import importlib.util
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.supernets import plans
from archscout.supernets.distributions import Distribution
from archscout.supernets.supernet import Supernet
from archscout.testing import tiny_task

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)


def test_dense_runs_everything_and_relaxed_one_of_each():
    step = toy.make_step()
    (job,) = plans.dense(step)
    assert {name: gate.run for name, gate in job.gates.items()} == {"first": (0, 1, 2), "second": (0, 1)}
    (job,) = plans.relaxed(step)
    assert all(len(gate.run) == 1 for gate in job.gates.values())
    with pytest.raises(TypeError, match="needs architectures"):
        _ = job.architecture
    (job,) = plans.Samples()(step)
    with pytest.raises(TypeError, match="needs gates"):
        _ = job.gates


def test_the_number_of_samples_follows_the_entropy():
    space = toy.nasbench()
    distribution = Distribution(space)
    step = toy.make_step(space, distribution=distribution)
    plan = plans.SamplesByEntropy(16 / (6 * math.log(5)))
    assert len(plan(step)) == 16
    with torch.no_grad():
        for logits in list(distribution.logits)[:3]:
            logits[1] = 30.0
    assert len(plan(step)) == 8
    with torch.no_grad():
        for logits in distribution.logits:
            logits[1] = 30.0
    assert len(plan(step)) == 2


def test_a_plan_is_the_same_whenever_it_is_asked_for():
    step, later = toy.make_step(number=3), toy.make_step(number=4)
    plan = plans.Samples(8)
    texts = [[job.architecture.text for job in plan(s)] for s in (step, step, later)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("name", ["nasbench201:width=4,cells=1", "mobile:stages=2,depth=2"])
def test_fair_paths_take_every_option_equally_often(name):
    space = create("space", name)
    step = toy.make_step(supernet=Supernet(space, tiny_task()), distribution=Distribution(space))
    jobs = plans.fair(step)
    assert len(jobs) == max(len(choice.options) for choice in space.choices)
    for choice in space.choices:
        if choice.condition is None:
            counts = Counter(job.architecture[choice.name] for job in jobs)
            assert set(counts) == set(choice.options)
            assert max(counts.values()) - min(counts.values()) <= 1


def test_the_sandwich_has_both_ends():
    space = create("space", "mobile:stages=2,depth=2")
    step = toy.make_step(supernet=Supernet(space, tiny_task()), distribution=Distribution(space))
    jobs = plans.Sandwich(3)(step)
    smallest, largest = list(space.extremes())
    assert [job.role for job in jobs] == ["teacher"] + ["student"] * 4
    assert jobs[0].architecture == largest
    assert jobs[1].architecture == smallest


def test_cost_bins_are_drawn_equally_often():
    space = toy.nasbench()
    architectures = [space.sample(stream(number)) for number in range(11)]
    costs = [1.0] * 9 + [5.0, 9.0]
    plan = plans.CostBins(architectures, costs, bins=4)
    step = toy.make_step(space)
    drawn = Counter(plan(replace(step, number=number))[0].architecture.text for number in range(300))
    assert abs(drawn[architectures[9].text] - 100) < 35
    assert abs(drawn[architectures[10].text] - 100) < 35
