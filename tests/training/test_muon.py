"""Muon, against singular value decompositions and the SGD of PyTorch."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archscout.training import muon
from archscout.training.muon import Muon, orthogonalised
from archscout.training.optimizers import make_optimizer
from archscout.training.recipe import Recipe
from archscout.training.speed import MODES

RECIPE = Recipe(1, optimizer="muon", learning_rate=0.02, sgd_learning_rate=0.1, weight_decay=0.01, momentum=0.9)


def polynomial(values: Tensor, steps: int) -> Tensor:
    a, b, c = muon.COEFFICIENTS
    for _ in range(steps):
        values = a * values + b * values**3 + c * values**5
    return values


@pytest.mark.parametrize("shape", [(2, 4, 7), (3, 7, 4), (2, 4, 9), (3, 20, 5), (1, 5, 5), (6, 1, 9)])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_singular_values_go_where_the_polynomial_sends_them(shape: tuple[int, ...], steps: int) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, v = torch.linalg.svd(matrices, full_matrices=False)
    values = s / s.square().sum(1, keepdim=True).sqrt()
    expected = values if 1 in shape[1:] else polynomial(values, steps)
    made = orthogonalised(matrices, steps, torch.float64)
    torch.testing.assert_close(made, u @ torch.diag_embed(expected) @ v, rtol=1e-8, atol=1e-9)
    if steps == 5 and min(shape[1:]) > 1:
        assert 0.4 < float(torch.linalg.svdvals(made).min()) < float(torch.linalg.svdvals(made).max()) < 1.3


@pytest.mark.parametrize("shape", [(2, 16, 24), (2, 16, 144)])
def test_half_the_digits_leave_the_direction_as_it_is(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    exact = orthogonalised(matrices, 3, torch.float64)
    rounded = orthogonalised(matrices, 3, torch.bfloat16).double()
    assert float((rounded - exact).norm() / exact.norm()) < 0.05


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8, bias=False),
            nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8, 6), nn.Linear(6, 3),
        )  # fmt: skip


def test_which_weights_are_matrices() -> None:
    net = network()
    optimizer = make_optimizer(net, 3, RECIPE, MODES[0])
    names = {parameter: name for name, parameter in net.named_parameters()}
    orthogonal, *others = optimizer.param_groups
    blocks = {names[p]: count for p, count in zip(orthogonal["params"], orthogonal["blocks"], strict=True)}
    assert blocks == {"0.weight": 1, "2.weight": 8, "3.weight": 2, "4.weight": 1, "6.weight": 1}
    assert [names[p] for p in others[0]["params"]] == ["7.weight"]
    assert {names[p] for p in others[1]["params"]} == {
        name for name in names.values() if name.endswith("bias") or name == "1.weight"
    }
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.01, 0.0]


def steps(parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, count: int = 3) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        for parameter in parameters.values():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def test_what_is_no_matrix_goes_as_sgd_of_pytorch_goes() -> None:
    ours, theirs = network(), network()
    optimizer = make_optimizer(ours, 3, RECIPE, MODES[0])
    steps(dict(ours.named_parameters()), optimizer)
    vectors = {"params": [p for p in theirs.parameters() if p.ndim < 2], "weight_decay": 0.0}
    rest = {"params": [p for p in theirs.parameters() if p.ndim > 1], "weight_decay": 0.01}
    steps(dict(theirs.named_parameters()), torch.optim.SGD([rest, vectors], lr=0.1, momentum=0.9, nesterov=True))
    for name, parameter in ours.named_parameters():
        same = torch.allclose(parameter, theirs.get_parameter(name), atol=1e-6)
        assert same == (parameter.ndim < 2 or name == "7.weight"), name


def test_each_matrix_of_a_layer_moves_by_its_own_momentum_made_orthogonal() -> None:
    net = network()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer = make_optimizer(net, 3, RECIPE, MODES[0])
    steps(dict(net.named_parameters()), optimizer, 1)
    for name, groups in (("0.weight", 1), ("2.weight", 8), ("3.weight", 2), ("6.weight", 1)):
        parameter = net.get_parameter(name)
        assert parameter.grad is not None
        old = before[name].chunk(groups)
        for part, gradient, start in zip(
            parameter.detach().chunk(groups), parameter.grad.chunk(groups), old, strict=True
        ):
            matrix = gradient.flatten(1)
            u, s, v = torch.linalg.svd(matrix, full_matrices=False)
            values = s / s.norm()
            direction = u @ torch.diag(values if len(s) == 1 else polynomial(values, 3)) @ v
            scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
            expected = start.flatten(1) * (1 - 0.02 * 0.01) - 0.02 * scale * direction
            torch.testing.assert_close(part.flatten(1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", [{}, {"learning_rate": 0.0}])
def test_without_a_gradient_nothing_moves(change: dict[str, Any]) -> None:
    net = network()
    before = [p.detach().clone() for p in net.parameters()]
    make_optimizer(net, 3, dataclasses.replace(RECIPE, **change), MODES[0]).step()
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_a_closure_is_refused() -> None:
    optimizer = Muon([{"params": [nn.Parameter(torch.zeros(2, 2))]}], lr=0.1)
    with pytest.raises(NotImplementedError, match="no closure"):
        optimizer.step(lambda: 0.0)
