"""Networks that were trained: what integers cost on real digits (the shape of MQBench, arXiv 2111.03759)."""

import pytest
import torch

import archscout
from archscout.core.registry import create
from archscout.core.task import Task
from archscout.deploy.program import Program
from archscout.deploy.quantise import Quantisation, quantise
from archscout.deploy.quantised_onnx import FORMS
from archscout.deploy.reading import read
from archscout.finished.examples import calibration_split, span, stored
from archscout.finished.quantised import int8
from archscout.networks.pick import build
from archscout.shrink.bits.hessian import layer_bytes, weighted
from archscout.shrink.bits.limits import weight_bytes
from archscout.shrink.bits.methods import mixed
from archscout.training.recipe import Recipe
from archscout.training.trainer import train

pytestmark = pytest.mark.slow

NETWORKS = {
    "residual": "stem16k3s1_residual16x1k3_residual32x1k3-stride_residual64x1-stride",
    "depthwise": "stem16k3s1_inverted16x1k3e4_inverted32x1k3e4-stride",
}


@pytest.fixture(scope="module")
def task() -> Task:
    return archscout.task("digits")


@pytest.fixture(scope="module")
def networks(task: Task) -> dict[str, torch.nn.Module]:
    space, trained = create("space", "classic"), {}
    for name, text in NETWORKS.items():
        network = build(space, space.parse(text), task, seed=0)
        train(network, task, Recipe.default(task, 12), seed=0)
        trained[name] = task.deploy(network.eval())
    return trained


def accuracy(program: Program, task: Task, how: Quantisation | None) -> float:
    x, y = stored(task, task.test), torch.from_numpy(task.test.y)
    with torch.no_grad():
        if how is None:
            outputs = program.run(x)
        else:
            outputs = quantise(program, stored(task, calibration_split(task)), how, span=span(task)).run(x)
    return float((outputs.argmax(1) == y).float().mean())


def test_what_integers_cost(task: Task, networks: dict[str, torch.nn.Module]) -> None:
    lost: dict[str, dict[str, float]] = {}
    for name, network in networks.items():
        program = read(network, task.input_shape)
        exact = accuracy(program, task, None)
        plain = Quantisation("academic", weight_bits=3, bias_correction=False)
        rows = {
            "8": Quantisation(),
            "4": Quantisation(weight_bits=4),
            "2": Quantisation(weight_bits=2),
            "3, a scale a tensor": plain,
            "3, a scale a channel": Quantisation(weight_bits=3),
        }
        lost[name] = {told: exact - accuracy(program, task, how) for told, how in rows.items()}
        limit = sum(layer_bytes(o, 3) for o in weighted(program))
        split = calibration_split(task)
        targets = task.tensors(split)[1]
        limits = [weight_bytes(program, limit)]
        how = mixed(program, stored(task, split), lambda y, t=targets: task.loss(y, t), Quantisation(), limits)
        lost[name]["mixed"] = exact - accuracy(program, task, how)
    for name in NETWORKS:
        assert lost[name]["8"] <= 0.005
        assert lost[name]["4"] <= 0.03
        assert lost[name]["3, a scale a channel"] < lost[name]["3, a scale a tensor"] + 0.005
        # In the bytes of 3 bits. Against 3 bits everywhere it loses some images here, which is no failure of the code.
        assert lost[name]["mixed"] < lost[name]["2"] / 2
    assert lost["depthwise"]["3, a scale a tensor"] > 2 * lost["residual"]["3, a scale a tensor"]


@pytest.mark.parametrize("form", FORMS)
def test_either_form_of_the_file_loses_no_more(task: Task, networks: dict[str, torch.nn.Module], form: str) -> None:
    network = networks["residual"]
    exact = accuracy(read(network, task.input_shape), task, None)
    assert int8(network, task, Quantisation(), form, 256, 0).measure(task, task.test) >= exact - 0.005
