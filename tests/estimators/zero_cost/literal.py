"""Slow, literal forms of training-free scores, as their papers or public code describe them: the truth of the tests.

Each takes a plain network (and a batch) and returns a number. None of them shares anything with the library's own
forms: plain modules, plain loops, no tricks.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYERS = (nn.Conv2d, nn.Linear)


class _Zero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul(0.0)


def _relu_conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    layers = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)
    return nn.Sequential(nn.ReLU(), *layers)


class _Cell(nn.Module):
    """All six edges, what is dead and what is `none` too, each node a sum over those before it."""

    def __init__(self, operations: dict[tuple[int, int], str], channels: int) -> None:
        super().__init__()
        made = {
            "none": _Zero,
            "skip_connect": nn.Identity,
            "avg_pool_3x3": lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
            "nor_conv_1x1": lambda: _relu_conv_norm(channels, channels, 1),
            "nor_conv_3x3": lambda: _relu_conv_norm(channels, channels, 3),
        }
        self.edges = nn.ModuleDict({f"{i}{j}": made[name]() for (i, j), name in operations.items()})

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        for j in (1, 2, 3):
            nodes.append(sum(self.edges[f"{i}{j}"](nodes[i]) for i in range(j)))
        return nodes[-1]


class _Reduction(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _relu_conv_norm(inputs, 2 * inputs, 3, 2), _relu_conv_norm(2 * inputs, 2 * inputs, 3)
        )
        self.short = nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True), nn.Conv2d(inputs, 2 * inputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.short(x) + self.residual(x)


def nasbench201(text: str, width: int, cells: int, channels: int, classes: int) -> nn.Module:
    """The network that public code builds for a text of NAS-Bench-201, whatever of it is dead, in training mode."""
    nodes = [[part.split("~") for part in node.strip("|").split("|")] for node in text.split("+")]
    operations = {(int(i), j): name for j, node in enumerate(nodes, start=1) for name, i in node}
    parts: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)]
    for stage in range(3):
        parts += [_Reduction(width << (stage - 1))] if stage else []
        parts += [_Cell(operations, width << stage) for _ in range(cells)]
    tail = nn.BatchNorm2d(4 * width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*parts, *tail, nn.Linear(4 * width, classes)).train()


def train_mode(network: nn.Module) -> nn.Module:
    """Evaluation mode but for batch normalisation, which takes the statistics of the batch."""
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
    return network


def layers_of(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, LAYERS)]


def _loss_backward(network: nn.Module, x: Tensor, y: Tensor) -> None:
    network.zero_grad(set_to_none=True)
    F.cross_entropy(network(x), y).backward()


def _grad(layer: nn.Module) -> Tensor:
    return torch.zeros_like(layer.weight) if layer.weight.grad is None else layer.weight.grad


def grad_norm(network: nn.Module, x: Tensor, y: Tensor) -> float:
    _loss_backward(network, x, y)
    return sum(float(_grad(layer).norm()) for layer in layers_of(network))


def snip(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """A mask of ones on every weight, and the mask's gradient."""
    masks, originals = [], []
    for layer in layers_of(network):
        mask = nn.Parameter(torch.ones_like(layer.weight))
        masks.append(mask)
        originals.append(layer.forward)
        layer.forward = _masked(layer, mask)
    F.cross_entropy(network(x), y).backward()
    for layer in layers_of(network):
        del layer.forward
    return sum(float(mask.grad.abs().sum()) for mask in masks)


def _masked(layer: nn.Module, mask: Tensor):
    if isinstance(layer, nn.Linear):
        return lambda x: F.linear(x, layer.weight * mask, layer.bias)
    return lambda x: layer._conv_forward(x, layer.weight * mask, layer.bias)


def plain(network: nn.Module, x: Tensor, y: Tensor) -> float:
    _loss_backward(network, x, y)
    return sum(float((layer.weight.detach() * _grad(layer)).sum()) for layer in layers_of(network))


def fisher(network: nn.Module, x: Tensor, y: Tensor) -> float:
    outputs: dict[nn.Module, Tensor] = {}

    def keep(layer: nn.Module, inputs: object, out: Tensor) -> None:
        out.retain_grad()
        outputs[layer] = out

    handles = [layer.register_forward_hook(keep) for layer in layers_of(network)]
    _loss_backward(network, x, y)
    for handle in handles:
        handle.remove()
    total = 0.0
    for layer, out in outputs.items():
        product = out.detach() * out.grad
        summed = product.sum((2, 3)) if product.ndim == 4 else product
        by_channel = 0.5 * summed.pow(2).mean(0)
        spread = by_channel.reshape(-1, *(1,) * (layer.weight.ndim - 1)) * torch.ones_like(layer.weight)
        total += float(spread.abs().sum())
    return total


def grasp(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """The gradient, once as numbers and once to be differentiated; then through their product."""
    weights = [layer.weight for layer in layers_of(network)]
    first = torch.autograd.grad(F.cross_entropy(network(x), y), weights, allow_unused=True)
    second = torch.autograd.grad(F.cross_entropy(network(x), y), weights, create_graph=True, allow_unused=True)
    product = sum((a.detach() * b).sum() for a, b in zip(first, second, strict=True) if a is not None)
    network.zero_grad(set_to_none=True)
    product.backward()
    return sum(float((-layer.weight.detach() * _grad(layer)).sum()) for layer in layers_of(network))


def synflow(network: nn.Module, shape: tuple[int, ...]) -> float:
    """log of the sum of |theta g|: absolute values, float64, batch normalisation removed, ones, a backward pass."""
    network = network.double()
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.abs_()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.forward = lambda x: x
    network.zero_grad(set_to_none=True)
    network(torch.ones((1, *shape), dtype=torch.float64)).sum().backward()
    return math.log(sum(float((layer.weight.detach() * _grad(layer)).abs().sum()) for layer in layers_of(network)))


def input_jacobian(network: nn.Module, x: Tensor) -> np.ndarray:
    x = x.clone().requires_grad_()
    y = network(x)
    y.backward(torch.ones_like(y))
    return x.grad.reshape(len(x), -1).numpy()


def jacob_cov(network: nn.Module, x: Tensor) -> float:
    values, _ = np.linalg.eig(np.corrcoef(input_jacobian(network, x)))
    return float(-np.sum(np.log(values.real + 1e-5) + 1 / (values.real + 1e-5)))


def epe_nas(network: nn.Module, x: Tensor, y: Tensor, classes: int) -> float:
    jacobian, scores = input_jacobian(network, x), []
    for label in range(classes):
        rows = jacobian[y.numpy() == label]
        if not len(rows):
            continue
        correlation = np.corrcoef(rows) if len(rows) > 1 else np.ones((1, 1))
        terms = np.log(np.abs(correlation) + 1e-5)
        scores.append(terms.sum() if classes <= 100 else terms.sum() / terms.size)
    if classes <= 100:
        return float(np.abs(scores).sum())
    pairs = [abs(a - b) for i, a in enumerate(scores) for b in scores[i + 1 :]]
    return float(np.mean(pairs))


def zico(network: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> float:
    gradients: list[list[np.ndarray]] = [[] for _ in layers_of(network)]
    for x, y in batches:
        _loss_backward(network, x, y)
        for kept, layer in zip(gradients, layers_of(network), strict=True):
            kept.append(_grad(layer).flatten().double().numpy())
    total = 0.0
    for kept in gradients:
        spread = np.std(kept, axis=0)
        live = np.nonzero(spread)[0]
        ratios = np.sum(np.mean(np.abs(kept), axis=0)[live] / spread[live])
        total += 0.0 if ratios == 0 else np.log(ratios)
    return float(total)


def knas(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """The mean of the Gram matrix of one gradient an example: statistics of the batch, so all go forward each time."""
    rows = []
    for i in range(len(x)):
        network.zero_grad(set_to_none=True)
        F.cross_entropy(network(x), y, reduction="none")[i].backward()
        rows.append(torch.cat([_grad(layer).flatten() for layer in layers_of(network)]))
    matrix = torch.stack(rows).double()
    return float((matrix @ matrix.T).mean())


def gradsign(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """One example at a time, in training mode; all gradients are kept, then their signs taken, in NumPy."""
    network.train()
    rows = []
    for i in range(len(x)):
        network.zero_grad(set_to_none=True)
        F.cross_entropy(network(x[i : i + 1]), y[i : i + 1]).backward()
        rows.append(np.concatenate([_grad(layer).numpy().copy().flatten() for layer in layers_of(network)]))
    return float(np.nansum(np.abs(np.sign(np.stack(rows)).sum(axis=0))))


def tangent_kernel(network: nn.Module, x: Tensor, inner: bool = False) -> Tensor:
    """One backward pass an example; all parameters named weight."""
    y = network(x)
    weights = [p for name, p in network.named_parameters() if name.endswith("weight")]
    if inner:
        weighted = [p for p in weights if p.ndim > 1]
        weights = [p for p in weights if p is not weighted[0] and p is not weighted[-1]]
    rows = []
    for i in range(len(x)):
        network.zero_grad(set_to_none=True)
        y[i].sum().backward(retain_graph=True)
        rows.append(
            torch.cat([torch.zeros(p.numel(), dtype=p.dtype) if p.grad is None else p.grad.flatten() for p in weights])
        )
    matrix = torch.stack(rows)
    return matrix @ matrix.T


def epsilon(network: nn.Module, x: Tensor, low: float = 1e-7, high: float = 1.0) -> float:
    """Every module's weight to a constant, biases to 0, two forward passes of the whole network.

    As in the public code, autograd records them.
    """
    places = []
    for constant in (low, high):
        with torch.no_grad():
            for module in network.modules():
                if getattr(module, "weight", None) is not None:
                    nn.init.constant_(module.weight, constant)
                if getattr(module, "bias", None) is not None:
                    nn.init.constant_(module.bias, 0.0)
        y = network(x)[:, :1].flatten().detach().clone()
        v = (y - y.min()) / (y.max() - y.min())
        v[v == 0] = torch.nan
        places.append(v)
    difference = torch.nanmean(torch.abs(places[0] - places[1]))
    return float(difference / torch.nanmean(torch.stack(places)))


def relu_inputs(network: nn.Module, x: Tensor) -> list[Tensor]:
    seen: list[Tensor] = []
    kinds = (nn.ReLU, nn.Hardswish)
    handles = [
        m.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
        for m in network.modules()
        if isinstance(m, kinds)
    ]
    with torch.no_grad():
        network(x)
    for handle in handles:
        handle.remove()
    return seen


def swap(network: nn.Module, x: Tensor) -> int:
    codes = torch.cat([(seen > 0).flatten(1) for seen in relu_inputs(network, x)], 1)
    return len(torch.unique(codes.T, dim=0))


def regions(network: nn.Module, batches: list[Tensor]) -> int:
    codes = torch.cat([torch.cat([(s > 0).flatten(1) for s in relu_inputs(network, x)], 1) for x in batches])
    return len({tuple(row) for row in codes.tolist()})
