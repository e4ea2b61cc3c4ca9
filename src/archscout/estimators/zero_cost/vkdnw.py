"""How evenly the Fisher information of a network's outputs is spread over its weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch
from archscout.estimators.zero_cost.initialisation import kaiming
from archscout.estimators.zero_cost.layers import check_layers_are_all

_TENSORS = 128
_SMOOTHING = 0.05
_CHUNK = 64


@register("estimator", "vkdnw")
class Vkdnw(Score):
    """VKDNW: entropy of the spectrum of the outputs' Fisher information (1 weight of each tensor, no labels).

    score = number of parameter tensors + entropy of the normalised deciles (10 % to 90 %) of the eigenvalues of F =
    mean_i J_i^T (diag p_i - p_i p_i^T) J_i, with J_i the Jacobian of the outputs of example i with respect to one
    weight of each of the first 128 parameter tensors, p_i its softmax outputs, smoothed by 0.05. In evaluation mode
    (the kept statistics of a fresh network are 0 and 1), with Kaiming-normal weights; one backward pass an
    output gives all examples then.

    Source: Tybl, Neumann 2025, "Training-Free Neural Architecture Search through Variance of Knowledge of Deep Network
    Weights", arXiv 2502.04975. Their code takes the first entry of each tensor, as here.

    Args:
        batch: examples.
    """

    needs = frozenset({"inputs", "gradients"})

    def __init__(self, batch: int = 64) -> None:
        self.name = "vkdnw"
        self.size = check_batch(batch, self.name)

    def score(self, subject: Subject) -> float:
        network = subject.initialised(kaiming, "vkdnw")
        x, _ = subject.inputs(self.size)
        check_layers_are_all(network, x[:2], norms=True)
        tensors = list(network.parameters())
        norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
        try:
            for module in norms:
                module.eval()
            # In evaluation mode examples are apart: not all of them need be held at once.
            parts = [_first_entries(network, tensors[:_TENSORS], some) for some in torch.split(x, _CHUNK)]
        finally:
            for module in norms:
                module.train()
        outputs, jacobian = (torch.cat(part) for part in zip(*parts, strict=True))
        probability = outputs.softmax(1) * (1 - _SMOOTHING) + _SMOOTHING / outputs.shape[1]
        covariance = torch.diag_embed(probability) - probability[:, :, None] * probability[:, None]
        fisher = torch.einsum("nkp,nkl,nlq->pq", jacobian, covariance, jacobian) / len(x)
        values = torch.linalg.eigvalsh(fisher).clamp_(min=0)
        deciles = torch.quantile(values, torch.arange(1, 10, dtype=values.dtype) / 10)
        total = float(deciles.sum())
        if not total > 0:
            raise UndefinedScore("the outputs depend on too few of the weights")
        return len(tensors) + float(torch.special.entr(deciles / total).sum())


def _first_entries(network: nn.Module, tensors: list[nn.Parameter], x: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs (N x K) and their Jacobian with respect to the first entry of each tensor (N x K x tensors), float64.

    Examples are independent in evaluation mode, so one backward pass an output gives all examples, if each has an entry
    of its own: the entries are spread over the examples by hand, a layer's first weight being a scalar.
    """
    with torch.enable_grad():
        entries = torch.zeros((len(x), len(tensors)), dtype=x.dtype, device=x.device, requires_grad=True)
        outputs = _with_entries(network, tensors, entries, x)
        if not outputs.requires_grad:
            raise UndefinedScore("no weight has a part in the outputs")
        columns = [
            torch.autograd.grad(outputs[:, k].sum(), entries, retain_graph=k + 1 < outputs.shape[1])[0]
            for k in range(outputs.shape[1])
        ]
    return outputs.detach().double(), torch.stack(columns, 1).double()


def _with_entries(network: nn.Module, tensors: list[nn.Parameter], entries: Tensor, x: Tensor) -> Tensor:
    """The outputs as a function of what is added to the first entry of each tensor, example by example."""
    places = {id(tensor): place for place, tensor in enumerate(tensors)}

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> Tensor:
        for name in ("weight", "bias"):
            tensor = getattr(module, name, None)
            if tensor is None or id(tensor) not in places:
                continue
            change = _change(module, name, inputs[0])
            entry = entries[:, places[id(tensor)]].reshape(-1, *(1,) * (change.ndim - 1))
            channel = y.ndim - 1 if isinstance(module, nn.Linear) else 1
            spread = torch.zeros(y.shape[channel], dtype=y.dtype, device=y.device)
            spread[0] = 1
            y = y + (entry * change).unsqueeze(channel) * spread.reshape(
                [-1 if d == channel else 1 for d in range(y.ndim)]
            )
        return y

    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, _BatchNorm)
    handles = [m.register_forward_hook(hook) for m in network.modules() if isinstance(m, kinds)]
    switched = [p for p in network.parameters() if p.requires_grad]
    for parameter in switched:
        parameter.requires_grad_(False)
    try:
        return network(x)  # type: ignore[no-any-return]
    finally:
        for handle in handles:
            handle.remove()
        for parameter in switched:
            parameter.requires_grad_(True)


def _change(module: nn.Module, name: str, x: Tensor) -> Tensor:
    """By how much the module's first output channel grows with the first entry of its weight or bias."""
    if isinstance(module, nn.Linear):
        return torch.ones_like(x[..., 0]) if name == "bias" else x[..., 0]
    if isinstance(module, _BatchNorm):
        if name == "bias":
            return torch.ones_like(x[:, 0])
        mean, variance = module.running_mean, module.running_var
        assert mean is not None
        assert variance is not None
        return (x[:, 0] - mean[0]) / (variance[0] + module.eps) ** 0.5
    assert isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    weight = torch.zeros_like(module.weight[:1, :1])
    weight[(0,) * weight.ndim] = 1
    convolve: Any = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[weight.ndim - 2]
    made: Tensor = convolve(x[:, :1], weight, None, module.stride, module.padding, module.dilation)[:, 0]
    return torch.ones_like(made) if name == "bias" else made
