"""Quantisers against the gradients that their papers write down, number by number."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.deploy.quantisers import DSQ, LSQ, PACT, QUANTISERS, TQT, DoReFa, Fixed, LSQPlus, SoftRounding, quantiser
from archscout.deploy.schemes import Grid, Scheme

SCALE, UPSTREAM = 0.25, 0.7
SIGNED, UNSIGNED = Scheme(4), Scheme(4, symmetric=False)
X = torch.tensor([[-3.0, -1.93, -0.6, -0.1, 0.0, 0.05, 0.31, 0.9, 1.6, 1.74, 1.9, 4.0]])


def grid_of(scheme: Scheme, zero: int = 0) -> Grid:
    return Grid(torch.tensor([SCALE], dtype=torch.float64), torch.tensor([zero]), scheme.low, scheme.high)


def steps(x: Tensor, zero: int = 0, scheme: Scheme = SIGNED) -> tuple[Tensor, Tensor, Tensor]:
    """Which numbers are inside of the grid, x / scale, and the integers less that of 0."""
    v = x / SCALE
    inside = (v >= scheme.low - zero) & (v <= scheme.high - zero)
    return inside, v, v.round().clamp(scheme.low - zero, scheme.high - zero)


def gradients(own: nn.Module) -> tuple[Tensor, Tensor]:
    x = X.clone().requires_grad_()
    y = own(x)
    y.backward(torch.full_like(y, UPSTREAM))
    assert x.grad is not None
    return y.detach(), x.grad


@pytest.mark.parametrize("name", QUANTISERS)
@pytest.mark.parametrize("weight", [True, False])
@pytest.mark.parametrize(("scheme", "zero"), [(SIGNED, 0), (UNSIGNED, -8), (UNSIGNED, -3)])
def test_what_comes_out_are_the_numbers_of_the_integers(name: str, weight: bool, scheme: Scheme, zero: int) -> None:
    own = QUANTISERS[name](scheme, grid_of(scheme, zero), X, weight=weight)
    expected = own.grid().dequantise(own.integers(X))
    assert torch.allclose(own(X), expected, atol=1e-6)
    assert own.grid().scale.item() == pytest.approx(SCALE), "a power of two, and so TQT's own"
    assert own.grid().zero.item() == zero
    if name == "pact" and not weight and scheme.symmetric:
        assert own.grid().low == -7, "it has one end for both sides"
    elif not (weight and name == "dorefa"):
        assert torch.equal(own.integers(X), grid_of(scheme, zero).quantise(X))


@pytest.mark.parametrize("kind", [Fixed, LSQ, LSQPlus, TQT])
def test_numbers_have_their_own_gradient_inside_and_none_outside(kind: Callable[..., nn.Module]) -> None:
    _, gradient = gradients(kind(SIGNED, grid_of(SIGNED), X, weight=False))
    inside, _, _ = steps(X)
    assert torch.allclose(gradient, UPSTREAM * inside.float())


@pytest.mark.parametrize(("weight", "zero", "scheme"), [(True, 0, SIGNED), (False, 0, SIGNED), (False, -8, UNSIGNED)])
def test_the_scale_of_lsq(weight: bool, zero: int, scheme: Scheme) -> None:
    own = LSQ(scheme, grid_of(scheme, zero), X, weight=weight)
    gradients(own)
    inside, v, q = steps(X, zero, scheme)
    levels = scheme.high - scheme.low if zero else scheme.high
    expected = UPSTREAM * torch.where(inside, q - v, q).sum() / math.sqrt(X.numel() * levels)
    assert own.learned.grad is not None
    assert float(own.learned.grad) == pytest.approx(float(expected), rel=1e-5)


def test_the_offset_of_lsq_plus() -> None:
    own = LSQPlus(UNSIGNED, grid_of(UNSIGNED, -3), X, weight=False)
    gradients(own)
    inside, _, _ = steps(X, -3, UNSIGNED)
    assert own.offset.grad is not None
    assert float(own.offset.grad) == pytest.approx(-SCALE * UPSTREAM * int((~inside).sum()), rel=1e-5)
    assert LSQPlus(SIGNED, grid_of(SIGNED), X, weight=False).offset.requires_grad is False


def test_the_threshold_of_tqt() -> None:
    own = TQT(SIGNED, grid_of(SIGNED), X, weight=True)
    gradients(own)
    inside, v, q = steps(X)
    expected = UPSTREAM * SCALE * math.log(2) * torch.where(inside, q - v, q).sum()
    assert own.logarithm.grad is not None
    assert float(own.logarithm.grad) == pytest.approx(float(expected), rel=1e-5)


def test_the_ends_of_pact() -> None:
    own = PACT(UNSIGNED, grid_of(UNSIGNED, -3), X, weight=False)
    gradients(own)
    top, bottom = SCALE * 10, -SCALE * 5
    assert float(own.top.grad) == pytest.approx(UPSTREAM * int((top < X).sum()))
    assert float(own.bottom.grad) == pytest.approx(UPSTREAM * int((bottom > X).sum()))
    one_sided = PACT(UNSIGNED, grid_of(UNSIGNED, -8), X, weight=False)
    assert not one_sided.bottom.requires_grad, "after ReLU the lower end is 0"
    gradients(one_sided)
    symmetric = PACT(SIGNED, grid_of(SIGNED), X, weight=False)
    gradients(symmetric)
    beyond = int((X > SCALE * 7).sum()) - int((X < -SCALE * 7).sum())
    assert float(symmetric.top.grad) == pytest.approx(UPSTREAM * beyond, abs=1e-6)


def test_the_weights_of_dorefa_are_bent() -> None:
    own = DoReFa(SIGNED, grid_of(SIGNED), X, weight=True)
    bent = 4 * torch.tanh(X) / math.tanh(4)
    assert torch.equal(own.integers(X), grid_of(SIGNED).quantise(bent))
    inside, _, _ = steps(bent)
    _, gradient = gradients(own)
    smooth = 4 / math.tanh(4) * (1 - torch.tanh(X) ** 2) * UPSTREAM * inside
    assert torch.allclose(gradient[:, :-1], smooth[:, :-1], rtol=1e-4), "but for the largest, which the others hang on"


def test_the_staircase_of_dsq() -> None:
    y, gradient = gradients(DSQ(SIGNED, grid_of(SIGNED), X, weight=True))
    inside, v, q = steps(X)
    assert torch.allclose(y, q * SCALE)
    k, alpha = math.log(2 / DSQ.alpha - 1) / SCALE, DSQ.alpha
    centre = (v.floor() + 0.5) * SCALE
    slope = SCALE / 2 * k * (1 - torch.tanh(k * (X - centre)) ** 2) / (1 - alpha)
    assert torch.allclose(gradient, UPSTREAM * slope * inside, atol=1e-6)


def test_soft_rounding_begins_at_the_weight_and_ends_at_a_neighbour() -> None:
    inside, _, _ = steps(X)
    x = X[inside][None]
    own = SoftRounding(SIGNED, grid_of(SIGNED), x, weight=True)
    assert torch.allclose(own(x), x, atol=1e-5)
    assert torch.equal(own.integers(x), grid_of(SIGNED).quantise(x))
    with torch.no_grad():
        own.v.copy_(torch.where(torch.arange(x.numel()) % 2 == 0, 3.0, -3.0)[None])
    neighbours = torch.where(torch.arange(x.numel()) % 2 == 0, (x / SCALE).floor() + 1, (x / SCALE).floor())
    assert torch.equal(own.integers(x), neighbours.clamp(-8, 7).long())
    own.harden()
    assert torch.allclose(own(x), neighbours.clamp(-8, 7) * SCALE)
    assert float(own.hardness(2.0).detach()) == pytest.approx(0, abs=1e-5)


def test_channels_learn_scales_of_their_own() -> None:
    scheme = Scheme(4, per_channel=True)
    grid = Grid(torch.tensor([0.1, 1.0], dtype=torch.float64), torch.zeros(2).long(), -8, 7)
    x = torch.randn(2, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    for name, kind in QUANTISERS.items():
        own = kind(scheme, grid, x, weight=True)
        assert torch.allclose(own(x), own.grid().dequantise(own.integers(x)), atol=1e-5), name


def test_an_unknown_quantiser_is_named() -> None:
    with pytest.raises(UsageError, match="no quantiser 'lsqplus': did you mean 'lsq_plus'"):
        quantiser("lsqplus")
