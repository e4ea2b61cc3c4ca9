"""Objectives and weight rules."""

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.supernets import weights
from archscout.supernets.distributions import Distribution
from archscout.supernets.plans import Sandwich
from archscout.supernets.step import Job
from archscout.supernets.supernet import Supernet
from archscout.supernets.terms import Labels, Mean, PosteriorMean, distillation, posterior
from archscout.testing import tiny_task

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).with_name("toy.py"))
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)


def weight_gradients(step):
    return torch.cat([torch.zeros(w.numel()) if w.grad is None else w.grad.flatten() for w in step.weights])


def test_the_mean_is_the_mean_of_the_losses_of_the_paths():
    step = toy.make_step()
    step.jobs = [Job(a) for a in step.distribution.sample(3, stream(0))]
    value = Mean()(step)
    found = weight_gradients(step)
    step.optimizer.zero_grad()
    loss = torch.stack([step.loss(job.path, step.train) for job in step.jobs]).mean()
    loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-6)
    assert torch.allclose(found, weight_gradients(step), atol=1e-6)


def test_summed_gradients_are_those_of_the_mean_times_the_paths():
    step = toy.make_step()
    step.jobs = [Job(a) for a in step.distribution.sample(3, stream(0))]
    values, gradients = [], []
    for summed in (False, True):
        step.optimizer.zero_grad()
        values.append(Mean(summed=summed)(step))
        gradients.append(weight_gradients(step))
    assert values[0] == pytest.approx(values[1])
    assert torch.allclose(3 * gradients[0], gradients[1], atol=1e-6)


def test_the_posterior_mean_is_the_gradient_of_the_marginal_likelihood():
    """Of the mean loss of a batch, for the prior that is uniform over the sampled paths."""
    step = toy.make_step()
    count = len(step.train[1])
    drawn = step.distribution.sample(4, stream(0))
    step.jobs = [Job(a) for a in [*drawn, drawn[0]]]
    PosteriorMean(temperature=count)(step)
    found = weight_gradients(step)
    step.optimizer.zero_grad()
    losses = torch.stack([step.loss(job.path, step.train) for job in step.jobs])
    (-torch.logsumexp(-losses, 0)).backward()
    assert torch.allclose(found, weight_gradients(step), atol=1e-6)
    assert torch.allclose(posterior(torch.tensor([0.0, 2.0]), 2.0), torch.softmax(torch.tensor([0.0, 1.0]), 0))


def test_students_learn_from_the_teacher_alone():
    space = create("space", "mobile:stages=2,depth=2")
    step = toy.make_step(supernet=Supernet(space, tiny_task()), distribution=Distribution(space))
    step.jobs = Sandwich(1)(step)
    assert Labels(teacher_only=True)(step, step.jobs[1], torch.zeros(2, 3)) is None
    x, y = step.train
    with torch.no_grad():
        teacher = step.outputs(step.jobs[0].path, x)
        students = [step.outputs(job.path, x) for job in step.jobs[1:]]
    expected = F.cross_entropy(teacher, y)
    for outputs in students:
        expected = expected + F.kl_div(
            F.log_softmax(outputs, 1), F.log_softmax(teacher, 1), log_target=True, reduction="batchmean"
        )
    value = Mean([Labels(teacher_only=True), distillation])(step)
    assert value == pytest.approx(expected.item() / 3, rel=1e-4)


def test_weight_rules_name_the_right_weights():
    space = toy.nasbench()
    supernet = Supernet(space, tiny_task())
    named = {id(p): name for name, p in supernet.named_parameters()}

    def names(rule):
        return {named[id(p)] for p in rule(supernet)}

    everything = names(weights.everything)
    norms = names(weights.norms_only)
    assert everything == set(named.values())
    assert names(weights.unscaled) == everything - norms
    assert norms and all(dict(supernet.named_parameters())[name].ndim == 1 for name in norms)
    classifier = {name for name in everything if "classifier" in name}
    assert len(classifier) == 2
    assert names(weights.norms_and_classifier) == norms | classifier
    # The stem, and in either reduction the convolutions of both branches.
    backbone = everything - names(weights.fixed_backbone)
    assert len(backbone) == 1 + 2 * 3
    assert not any("option" in name or name in norms | classifier for name in backbone)
    # Three cells of six edges with two convolutions, a scale and a shift each.
    last = names(weights.last_norms)
    assert len(last) == 3 * 6 * 2 * 2
    assert last < norms


def test_layers_without_batch_norm_have_no_last_norm():
    assert weights.last_norms(Supernet(toy.Toy(), tiny_task())) == []
    assert weights.last_norm(torch.nn.Tanh()) is None
