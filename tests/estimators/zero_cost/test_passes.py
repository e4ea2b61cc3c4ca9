"""Many backward passes as one against autograd's own, one at a time."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.estimators.zero_cost.passes import Passes, has_scale
from archscout.networks.gate import Gate

X = (3, 4, 8, 6)


def convolution(**named: object) -> nn.Module:
    return nn.Conv2d(4, 6, **named)  # type: ignore[arg-type]


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: convolution(kernel_size=3, padding=1),
    "narrow convolution": lambda: convolution(kernel_size=3),
    "1 x 1": lambda: convolution(kernel_size=1),
    "1 x 1 padded": lambda: convolution(kernel_size=1, padding=1),
    "stride": lambda: convolution(kernel_size=3, stride=2, padding=1),
    "other stride": lambda: convolution(kernel_size=3, stride=(2, 3), padding=1),
    "groups": lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2),
    "dilation": lambda: convolution(kernel_size=3, padding=2, dilation=2),
    "pool": lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    "pool with padding": lambda: nn.AvgPool2d(3, 1, 1),
    "halves": lambda: nn.AvgPool2d(2),
    "other pool": lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
    "greatest": lambda: nn.MaxPool2d(3, 1, 1),
    "norm": lambda: nn.BatchNorm2d(4),
    "norm without scale": lambda: nn.BatchNorm2d(4, affine=False),
    "norm as it was": lambda: nn.BatchNorm2d(4).eval(),
    "relu": nn.ReLU,
    "gelu": nn.GELU,
}


class Twice(nn.Module):
    """Ways in which tensors meet: sums, products, broadcasts, parts and means."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 3, padding=1)
        self.register_buffer("halved", torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.layer(x).relu(), self.layer(x)
        a = a + b + x
        gate = a.mean((2, 3), keepdim=True).sigmoid()
        c = torch.cat([gate * a, self.halved * b], 1)
        first, second = c.chunk(2, 1)
        return torch.add(first, second, alpha=2) + gate


NETWORKS["meetings"] = Twice


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.mean((-1, -2)))


NETWORKS["linear"] = Linear


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class InPython(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        squared: Tensor = Doubled.apply(x)
        return squared


NETWORKS["a function in Python"] = InPython


class Parts(nn.Module):
    """Windows as sums of parts of a padded map, and fewer examples."""

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (1, 2, 2, -1))
        return padded[:, 1:, ::2, :-2] + padded[:, 1:, ::2, 2:] + padded[:1, 1:, 1::2, 1:-1].narrow(2, 0, 1)


NETWORKS["parts"] = Parts


class Mixed(nn.Module):
    """A weighted sum of operations, and a factor for each place."""

    def forward(self, x: Tensor) -> Tensor:
        gate = Gate((0, 1, 2), torch.tensor([0.5, 1.0, 0.5], dtype=x.dtype))
        mixed: Tensor = gate.mix([nn.ReLU(), nn.Identity(), nn.Tanh()], x)
        return mixed * torch.arange(6, dtype=x.dtype) * torch.ones(1, dtype=x.dtype)


NETWORKS["mixed"] = Mixed


class Windows(nn.Module):
    """Parts of a map that has been seen whole before them, after them, and by nobody else."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.tanh()
        return torch.cat([y[:, :, 1:], y[:, :, :-1], (y + x)[:, :, 1:]], 1) + y[:, :1, 2:3]


NETWORKS["windows"] = Windows


@pytest.mark.parametrize("name", NETWORKS)
def test_they_are_those_of_autograd(name: str) -> None:
    generator = torch.Generator().manual_seed(3)
    torch.default_generator.manual_seed(3)
    network = nn.Sequential(nn.Identity(), NETWORKS[name]()).double()
    x = torch.randn(X, generator=generator, dtype=torch.float64).requires_grad_()
    start = F.hardtanh(x)
    outputs = network(start)
    cotangents = torch.randn((len(x), 5, *outputs.shape[1:]), generator=generator, dtype=torch.float64)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    heard: list[Tensor] = []
    passes = Passes(outputs, {start.grad_fn: heard.append})
    for part in cotangents.split(2, 1):
        passes.run(part.contiguous())
    found = torch.cat(heard, 1)
    for number in range(5):
        (expected,) = torch.autograd.grad(outputs, start, cotangents[:, number], retain_graph=True)
        assert torch.allclose(found[:, number], expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("size", [(8, 6), (2, 2)])
def test_normalisation_behind_a_convolution(affine: bool, size: tuple[int, int]) -> None:
    """By sums over places where there are few, and by sums over weights where there are many."""
    torch.default_generator.manual_seed(3)
    generator = torch.Generator().manual_seed(3)
    convolution, norm = nn.Conv2d(4, 5, 3, padding=1, bias=False).double(), nn.BatchNorm2d(5, affine=affine).double()
    if affine:
        nn.init.normal_(norm.weight, generator=generator)
    x = torch.randn((3, 4, *size), generator=generator, dtype=torch.float64).requires_grad_()
    start = F.hardtanh(x)
    made = convolution(start)
    normalised = norm(made)
    outputs = normalised.relu() + normalised
    cotangents = torch.randn((3, 4, *outputs.shape[1:]), generator=generator, dtype=torch.float64)

    def weigh(gradient: Tensor) -> Tensor:
        rows = [
            torch.autograd.grad(made, convolution.weight, each, retain_graph=True)[0] for each in gradient.unbind(1)
        ]
        return torch.stack(rows).flatten(2)

    inputs: list[Tensor] = []
    weights: list[Tensor] = []
    scales: list[Tensor] = []
    assert has_scale(normalised.grad_fn)
    passes = Passes(
        outputs,
        {start.grad_fn: inputs.append},
        {made.grad_fn: (weigh, weights.append)},
        {normalised.grad_fn: scales.append} if affine else {},
    )
    for part in cotangents.split(2, 1):
        passes.run(part.contiguous())
    for number in range(4):
        sources = [start, convolution.weight, *([norm.weight] if affine else [])]
        expected = torch.autograd.grad(outputs, sources, cotangents[:, number], retain_graph=True)
        found = [torch.cat(inputs, 1)[:, number], torch.cat(weights)[number]]
        found += [torch.cat(scales)[number]] if affine else []
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one.flatten(), other.flatten(), rtol=1e-9, atol=1e-11)
