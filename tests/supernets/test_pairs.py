"""Pairs of paths that are ranked by a prior."""

import importlib.util
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from archscout.core.seeds import stream
from archscout.supernets.extent import ends
from archscout.supernets.pairs import PAIR, Ranked, SandwichAndPairs, difference
from archscout.supernets.plans import CostBins
from archscout.supernets.step import Job
from archscout.supernets.terms import Labels, Mean

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)


def gradient(step):
    return torch.cat([torch.zeros(w.numel()) if w.grad is None else w.grad.flatten() for w in step.weights])


def pair_step(prior_of_second):
    """A pair whose second network has the higher loss, and a prior for both."""
    step = toy.make_step()
    drawn = [step.supernet.space.architecture({"first": one, "second": "linear"}) for one in ("tanh", "linear")]
    with torch.no_grad():
        drawn.sort(key=lambda a: float(step.loss(a, step.train)))
    step = replace(step, jobs=[Job(a, PAIR) for a in drawn], progress=0.5)
    priors = {drawn[0].text: 1.0, drawn[1].text: prior_of_second}
    return step, lambda architecture: priors[architecture.text]


@pytest.mark.parametrize(
    ("form", "better"), [("symmetric", 2.0), ("literal", 2.0), ("symmetric", 0.5), ("literal", 0.5)]
)
def test_the_gradient_is_that_of_the_written_loss(form, better):
    step, prior = pair_step(better)
    value = Ranked([Labels()], prior, form, strength=3.0)(step)
    found = gradient(step)
    step.optimizer.zero_grad()
    low, high = (step.loss(job.path, step.train) for job in step.jobs)
    loss = low + high
    if better > 1:  # the prior says that the network of the higher loss is the better one
        loss = loss + 3.0 * (high - (low.detach() if form == "literal" else low))
    (loss / 2).backward()
    torch.testing.assert_close(found, gradient(step))
    assert value == pytest.approx(float(loss.detach()) / 2, rel=1e-5)


def test_the_literal_form_only_raises_a_worse_second():
    """First better by the prior and of higher loss: the published rule lets go of the second, and of it alone."""
    step, prior = pair_step(0.0)
    low, high = step.jobs
    step = replace(step, jobs=[high, low])
    swapped = lambda architecture: -prior(architecture)  # noqa: E731
    Ranked([Labels()], swapped, "literal", strength=1.0)(step)
    found = gradient(step)
    step.optimizer.zero_grad()
    one, other = step.loss(high.path, step.train), step.loss(low.path, step.train)
    ((one + other + one.detach() - other) / 2).backward()
    torch.testing.assert_close(found, gradient(step))


def test_equal_or_unknown_priors_give_no_order():
    for value in (1.0, float("nan")):
        step, prior = pair_step(value)
        assert Ranked([Labels()], prior, strength=3.0)(step) == pytest.approx(Mean([Labels()])(step), rel=1e-5)


def test_the_strength_rises_from_nothing():
    step, prior = pair_step(2.0)
    values = [Ranked([Labels()], prior, strength=3.0)(replace(step, progress=p)) for p in (0.0, 0.1, 0.2, 1.0)]
    assert values[0] == pytest.approx(Mean([Labels()])(step), rel=1e-5)
    assert values[0] < values[1] < values[2] == values[3]


def test_a_step_has_both_ends_random_ones_and_pairs_that_differ():
    step = toy.make_step(toy.nasbench())
    space = step.supernet.space
    rng = stream(5)
    pool = [space.sample(rng) for _ in range(60)]
    bins = CostBins(pool, [a.text.count("conv") for a in pool], bins=4)
    plan = SandwichAndPairs(3, 2, bins.draw, distance=0.9)
    smallest, largest = ends(step.supernet)
    for number in range(5):
        jobs = plan(replace(step, number=number))
        assert Counter(job.role for job in jobs) == {"teacher": 1, "student": 4, PAIR: 4}
        assert (jobs[0].architecture, jobs[1].architecture) == (largest, smallest)
        assert all(
            difference(a.architecture, b.architecture) >= 0.9 for a, b in zip(jobs[5::2], jobs[6::2], strict=True)
        )


def test_groups_are_drawn_without_repeating_one():
    space = toy.nasbench()
    pool = [space.sample(stream(number)) for number in range(12)]
    costs = [0.0] * 8 + [3.0] * 2 + [6.0, 9.0]
    bins = CostBins(pool, costs, bins=4)
    of = {a.text: min(int(c / 2.25), 3) for a, c in zip(pool, costs, strict=True)}
    for number in range(20):
        drawn = bins.draw(stream(number, "draw"), 4)
        assert sorted(of[a.text] for a in drawn) == [0, 1, 2, 3]
        assert len(bins.draw(stream(number), 7)) == 7
