"""Batch normalisation of its own for each combination of a block's options."""

import pytest
import torch

from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.supernets.derive import norm_score
from archscout.supernets.supernet import Supernet
from archscout.supernets.switched import MOST, switch_norms, switched
from archscout.supernets.weights import last_norms
from archscout.testing import tiny_task

SPACE = create("space", "mobile:width=8,stages=2,depth=2")
TASK = tiny_task((3, 16, 16), classes=5)
X, _ = TASK.tensors(TASK.train.head(8))


@pytest.fixture(scope="module")
def supernet():
    return switch_norms(Supernet(SPACE, TASK, seed=0))


def test_each_block_has_one_for_each_kernel_and_expansion(supernet):
    blocks = [f"stage{stage}.block{block}" for stage in (1, 2) for block in (1, 2)]
    options = {choice.name: len(choice.options) for choice in SPACE.choices}
    found = {tuple(norm.choices): len(norm.norms) for norm in switched(supernet)}
    for block in blocks:
        names = (f"{block}.expansion", f"{block}.kernel")
        assert found.pop(names) == options[names[0]] * options[names[1]] <= MOST
    assert found == {("stage2.width",): options["stage2.width"]}  # the last convolution's, which lies in no block


def test_the_network_answers_as_before(supernet):
    plain = Supernet(SPACE, TASK, seed=0)
    for seed in range(3):
        architecture = SPACE.sample(stream(seed, "switched"))
        with torch.no_grad():
            expected, answers = (each.train().select(architecture)(X) for each in (plain, supernet))
        torch.testing.assert_close(answers, expected)


def test_training_an_option_trains_its_own_scales_alone(supernet):
    architecture = SPACE.sample(stream(0, "switched"))
    weights = last_norms(supernet)
    outputs = supernet.train().select(architecture)(X)
    gradients = torch.autograd.grad(outputs.square().sum(), weights, allow_unused=True)
    reached = {id(weight) for weight, gradient in zip(weights, gradients, strict=True) if gradient is not None}
    active = [norm for norm in switched(supernet) if all(name in architecture for name in norm.choices)]
    assert {id(weight) for norm in active for weight in norm.of(architecture).parameters()} == reached


def test_the_score_is_the_mean_size_of_the_scales_that_run():
    supernet = switch_norms(Supernet(SPACE, TASK, seed=0))
    values = {choice.name: choice.options[0] for choice in SPACE.choices}
    small, other = (SPACE.architecture({**values, "stage1.block1.kernel": size}) for size in (3, 5))
    assert norm_score(supernet, [small]) == norm_score(supernet, [other])
    block = next(norm for norm in switched(supernet) if "stage1.block1.kernel" in norm.choices)
    with torch.no_grad():
        block.of(other).weight.fill_(-3.0)
    assert norm_score(supernet, [other])[0] == pytest.approx(norm_score(supernet, [small])[0] + 2.0)


def test_what_would_have_too_many_keeps_its_own(monkeypatch):
    monkeypatch.setattr("archscout.supernets.switched.MOST", 5)
    kept = switched(switch_norms(Supernet(SPACE, TASK, seed=0)))
    assert [tuple(norm.choices) for norm in kept] == [("stage2.width",)]
