"""NASWOT against the literal form of the paper's code: two products for each ReLU, and a general log-determinant."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.errors import UndefinedScore, UsageError
from archscout.core.estimator import Estimator, Setting
from archscout.core.registry import create
from archscout.core.seeds import derive, stream
from archscout.core.space import Space
from archscout.core.task import Split
from archscout.estimators.zero_cost import naswot
from archscout.estimators.zero_cost.harness import draw
from archscout.estimators.zero_cost.naswot import GateKernel, Naswot, log_determinant
from archscout.networks.pick import build
from archscout.testing import EstimatorConformance
from archscout.testing.tasks import tiny_task


class TestNaswot(EstimatorConformance):
    def estimator(self) -> Estimator:
        return create("estimator", "naswot:batch=16")


class TestOnMobile(EstimatorConformance):
    count = 3

    def estimator(self) -> Estimator:
        return Naswot(batch=8)

    def space(self) -> Space:
        return create("space", "mobile")


def literal(architecture: Architecture, setting: Setting, batch: int) -> float:
    """A hook on each activation module, batch statistics, x x^T + (1 - x)(1 - x)^T in float64, slogdet."""
    space = setting.space
    seed = derive(setting.seed, "weights", space.canonical(architecture))
    network = build(space, architecture, setting.task, seed=seed).train().to(memory_format=torch.channels_last)
    kernel = torch.zeros(batch, batch, dtype=torch.float64)

    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal kernel
        x = (inputs[0].reshape(batch, -1) > 0).double()
        kernel = kernel + x @ x.T + (1 - x) @ (1 - x).T

    for module in network.modules():
        if isinstance(module, nn.ReLU | nn.Hardswish):
            module.register_forward_pre_hook(hook)
    with torch.no_grad():
        network(draw(setting, batch)[0])
    return float(torch.linalg.slogdet(kernel)[1])


@pytest.mark.parametrize("name", ["nasbench201", "nasbench201:width=3,cells=2", "mobile"])
def test_it_is_the_papers_code(name: str) -> None:
    space = create("space", name)
    setting = Setting(space, tiny_task().sealed(), seed=5)
    compared = 0
    for number in range(8):
        architecture = space.sample(stream(number, "naswot"))
        estimate = Naswot(batch=24).estimate([architecture], setting)[0]
        if not estimate.reason:
            assert estimate.value == pytest.approx(literal(architecture, setting, 24), rel=1e-9)
            compared += 1
    assert compared >= 6


def test_a_kernel_by_hand() -> None:
    watcher = GateKernel()
    watcher.gate(torch.tensor([[1.0, -1.0, 0.0], [2.0, 3.0, -1.0]]))  # codes 100, 110
    watcher.gate(torch.tensor([[[1.0, 1.0]], [[-1.0, 1.0]]]))  # codes 11, 01
    assert watcher.units == 5
    assert watcher.kernel().tolist() == [[5.0, 3.0], [3.0, 5.0]]
    assert log_determinant(watcher.kernel()) == pytest.approx(math.log(16))


def test_large_layers_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(6, 5, 7, 3, generator=torch.Generator().manual_seed(0))
    whole = GateKernel()
    whole.gate(x)
    monkeypatch.setattr(naswot, "_CHUNK", 8)
    parts = GateKernel()
    parts.gate(x)
    assert torch.equal(whole.kernel(), parts.kernel())


@pytest.mark.parametrize("copies", [2, 3])
def test_two_examples_alike_are_no_number(copies: int) -> None:
    task = tiny_task()
    x = np.concatenate([task.train.x[: 12 // copies]] * copies)
    twins = dataclasses.replace(task, train=Split(x, task.train.y[:12]))
    space = create("space", "nasbench201")
    architecture = space.parse("|nor_conv_3x3~0|+|skip_connect~0|none~1|+|none~0|none~1|nor_conv_1x1~2|")
    estimate = Naswot(batch=12).estimate([architecture], Setting(space, twins))[0]
    assert math.isnan(estimate.value)
    assert "singular" in estimate.reason


def test_fewer_units_than_examples_are_no_number() -> None:
    codes = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    watcher = GateKernel()
    watcher.gate(codes)
    assert np.linalg.matrix_rank(watcher.kernel().numpy()) < 12
    with pytest.raises(UndefinedScore, match="singular"):
        log_determinant(watcher.kernel())


def test_a_cell_without_a_path_is_no_number() -> None:
    space = create("space", "nasbench201")
    nothing = space.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    estimate = Naswot(batch=8).estimate([nothing], Setting(space, tiny_task()))[0]
    assert math.isnan(estimate.value)
    assert estimate.reason


def test_no_rectifier_is_no_number() -> None:
    with pytest.raises(UndefinedScore, match="no rectifier"):
        GateKernel().kernel()


@pytest.mark.parametrize("text", ["naswot:batch=1", "naswot:batch=2.5", "naswot:batch=many", "naswot:size=3"])
def test_wrong_parameters(text: str) -> None:
    with pytest.raises(UsageError):
        create("estimator", text)
