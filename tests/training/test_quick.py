"""Quicker gradients of convolutions are those of PyTorch, and the quick road is taken where it is meant to be."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from archscout.backbones.efficientnet_lite import EfficientNetLite
from archscout.deploy.form import form
from archscout.training import quick
from archscout.training.quick import quick_convolutions
from archscout.training.speed import Mode


def _gradients(convolution, x: Tensor, weight: Tensor, bias: Tensor | None) -> list[Tensor]:
    x, weight = x.clone(memory_format=torch.channels_last).requires_grad_(), weight.clone().requires_grad_()
    bias = None if bias is None else bias.clone().requires_grad_()
    y = convolution(x, weight, bias)
    loss = (y * torch.arange(y.numel(), dtype=torch.float32).view_as(y).sin()).sum()
    return [y, *torch.autograd.grad(loss, [t for t in (x, weight, bias) if t is not None])]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [(5, 1, 2, 6), (5, 2, 1, 7), (5, 2, 2, 8), (7, 1, 3, 9), (4, 1, 0, 6), (5, 1, (2, 0), (5, 8))],
)
def test_wide_depthwise_kernels(kernel: int, stride: int, padding: int, size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    sides = (size, size) if isinstance(size, int) else size
    x = torch.randn(3, 8, *sides, generator=generator)
    weight, bias = torch.randn(8, 1, kernel, kernel, generator=generator), torch.randn(8, generator=generator)

    def convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, stride, padding, groups=8)

    for some in (bias, None):
        expected = _gradients(convolution, x, weight, some)
        with quick_convolutions():
            got = _gradients(convolution, x, weight, some)
        assert "Depthwise" in str(got[0].grad_fn), "the quick road was not taken"
        for ours, theirs in zip(got, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_pointwise_convolutions_are_matrix_products() -> None:
    x, weight, bias = torch.randn(2, 6, 5, 5), torch.randn(4, 6, 1, 1), torch.randn(4)
    expected = _gradients(F.conv2d, x, weight, bias)
    with quick_convolutions():
        got = _gradients(F.conv2d, x, weight, bias)
    assert "Pointwise" in str(got[0].grad_fn) and got[0].is_contiguous(memory_format=torch.channels_last)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_half_precision_is_near_single_precision() -> None:
    x, weight = torch.randn(2, 8, 9, 9), torch.randn(8, 1, 5, 5)

    def convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, None, 2, 2, groups=8).float()

    expected = _gradients(convolution, x, weight, None)
    with quick_convolutions(), torch.autocast("cpu", torch.bfloat16):
        got = _gradients(convolution, x, weight, None)
    for ours, theirs in zip(got, expected, strict=True):
        assert float((ours - theirs).detach().norm() / theirs.detach().norm()) < 0.02


def test_everything_else_is_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(2, 8, 9, 9), torch.randn(8, 1, 5, 5, requires_grad=True)
    with quick_convolutions():
        assert "Convolution" in str(F.conv2d(x, weight, padding="same", groups=8).grad_fn)
        assert "Convolution" in str(F.conv2d(x, weight, padding=2, groups=8).grad_fn), "channels lie first"
        last = x.contiguous(memory_format=torch.channels_last)
        assert "Convolution" in str(F.conv2d(last, weight, padding=4, dilation=2, groups=8).grad_fn)
        monkeypatch.setattr(quick, "_convolve", None)
        with torch.no_grad():
            F.conv2d(last, weight, padding=2, groups=8)


def test_relu6_in_place_and_uneven_padding() -> None:
    """Both are of networks that follow TensorFlow: what comes out and its gradients are as without them."""
    weight = torch.randn(8, 1, 3, 3, generator=torch.Generator().manual_seed(0))

    def layer(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = F.hardtanh(x * 3, 0.0, 6.0, inplace=True)
        y = F.conv2d(F.pad(x, (0, 1, 0, 1)), weight, bias, 2, groups=8)
        return F.hardtanh(y * 2, 0.0, 6.0, inplace=True) + F.pad(y, (1, 0, 0, 1))[:, :, 1:, 1:]

    x, bias = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(1)), torch.randn(8)
    expected = _gradients(layer, x, weight, bias)
    with quick_convolutions():
        got = _gradients(layer, x, weight, bias)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_trained_backbones_step_is_that_of_pytorch() -> None:
    network = form(EfficientNetLite(classes=5), (3, 64, 64), checked=False).requires_grad_(True)
    network.to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).contiguous(
        memory_format=torch.channels_last
    )
    parameters = list(network.parameters())
    expected = torch.autograd.grad(network(x).square().sum(), parameters)
    with quick_convolutions():
        got = torch.autograd.grad(network(x).square().sum(), parameters)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))


def test_half_precision_is_clipped_as_it_should_be() -> None:
    x = torch.tensor([-torch.inf, -8.0, -1e-30, -0.0, 0.0, 1e-30, 3.0, 6.0, 6.03125, 1e30, torch.inf])
    x = x.bfloat16().view(1, -1, 1, 1).contiguous(memory_format=torch.channels_last).requires_grad_()
    with quick_convolutions():
        y = F.hardtanh(x * 1, 0.0, 6.0, inplace=True)
    assert "Clipped" in str(y.grad_fn)
    assert torch.equal(y, F.hardtanh(x, 0.0, 6.0))


@pytest.mark.parametrize(("columns", "padding", "examples"), [(4, (1, 1), 11), (5, (0, 2), 3), (1, (1, 0), 70)])
def test_kernels_of_narrow_maps_have_the_gradient_of_pytorch(
    columns: int, padding: tuple[int, int], examples: int
) -> None:
    """Only zeros are added to its sums. Also where the maps do not fill the last row."""
    generator = torch.Generator().manual_seed(0)
    sides = [2 * pad + 1 for pad in padding]
    x = torch.randn(examples, 64, 6, columns, generator=generator)
    weight, bias = torch.randn(96, 64, *sides, generator=generator), torch.randn(96, generator=generator)

    def convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return F.conv2d(x, weight, bias, 1, padding)

    expected = _gradients(convolution, x, weight, bias)
    with quick_convolutions():
        got = _gradients(convolution, x, weight, bias)
    assert "Narrow" in str(got[0].grad_fn), "the quick road was not taken"
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert float((ours - theirs).detach().norm() / theirs.detach().norm()) < 0.004


def test_narrow_maps_alone_are_laid_side_by_side() -> None:
    """Of single precision, of a stride, of other sizes behind and of few weights, PyTorch's own gradient is taken."""
    x = torch.randn(2, 64, 4, 4).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(64, 64, 3, 3, requires_grad=True)
    with quick_convolutions():
        assert "Narrow" not in str(F.conv2d(x, weight, padding=1).grad_fn)
        half = x.bfloat16()
        kernel = weight.bfloat16()
        assert "Narrow" in str(F.conv2d(half, kernel, padding=1).grad_fn)
        assert "Narrow" not in str(F.conv2d(half, kernel, stride=2, padding=1).grad_fn)
        assert "Narrow" not in str(F.conv2d(half, kernel, padding=0).grad_fn)
        assert "Narrow" not in str(F.conv2d(half, kernel[:32], padding=1).grad_fn)
        wide = torch.randn(2, 64, 4, 16).bfloat16().contiguous(memory_format=torch.channels_last)
        assert "Narrow" not in str(F.conv2d(wide, kernel, padding=1).grad_fn)


def test_a_training_in_half_precision_has_the_quick_gradients() -> None:
    x = torch.randn(2, 64, 4, 4).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(64, 64, 3, 3, requires_grad=True)
    for mode in (Mode("bfloat16", "channels_last"), Mode("float32", "channels_last")):
        with mode.autocast("cpu"):
            assert ("Narrow" in str(F.conv2d(x, weight, padding=1).grad_fn)) is mode.mixed
