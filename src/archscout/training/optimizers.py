"""The optimiser of a recipe (which weights of a network go into which group, and at which rate), and its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.optim import SGD, AdamW, Optimizer

from archscout.networks.stacked import StackedLinear
from archscout.training.muon import Muon
from archscout.training.recipe import Recipe
from archscout.training.speed import Mode

T = TypeVar("T")

TYPICAL_SIZE, LARGEST_SCALE = 0.1, 3.0
"""Where a learning rate is relative: the root mean square of weights that it is meant for, and how many times as high
it may become for larger ones."""


def make_optimizer(
    network: nn.Module, outputs: int, recipe: Recipe, mode: Mode, further: Sequence[nn.Parameter] = ()
) -> Optimizer:
    """The optimiser of a recipe for the weights of a network, or of a stack, that are trained.

    Args:
        network: groups hold its parameters in the order that it has them in.
        outputs: of the last layer, by which Muon knows it.
        recipe: which optimiser, and its rates.
        mode: Muon orthogonalises in its number format.
        further: parameters outside the network, which are trained along.
    """
    parameters = [parameter for parameter in (*network.parameters(), *further) if parameter.requires_grad]
    # Vectors are biases and the scales of normalisation: pulling them to zero only hampers the layer.
    vectors = {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}
    others: dict[str, Any] = {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "muon":
        blocks = _matrices(network, outputs)
        inner = [p for p in others["params"] if p in blocks]
        others["params"] = [p for p in others["params"] if p not in blocks]
        matrices = {
            "params": inner, "blocks": [blocks[p] for p in inner], "orthogonal": True,
            "weight_decay": recipe.weight_decay,
        }  # fmt: skip
        for group in (others, vectors):
            group["rate"] = recipe.sgd_learning_rate / max(recipe.learning_rate, 1e-12)
        groups = [group for group in (matrices, others, vectors) if group["params"]]
        dtype = torch.bfloat16 if mode.mixed else torch.float32
        return Muon(groups, lr=recipe.learning_rate, momentum=recipe.momentum, dtype=dtype)
    groups = [group for group in (others, vectors) if group["params"]]
    if recipe.optimizer == "adamw" and recipe.relative_rate:
        sizes = [min(LARGEST_SCALE, float(p.detach().square().mean().sqrt()) / TYPICAL_SIZE) for p in others["params"]]
        groups = [{**others, "params": [p], "scale": size} for p, size in zip(others["params"], sizes, strict=True)]
        groups += [vectors] if vectors["params"] else []
    if recipe.optimizer == "adamw":
        return AdamW(groups, lr=recipe.learning_rate, fused=True)
    return SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True)


def _matrices(network: nn.Module, outputs: int) -> dict[nn.Parameter, int]:
    """The weights that layers multiply by, but for the last layer's, and how many matrices each holds."""
    blocks: dict[nn.Parameter, int] = {}
    last: nn.Parameter | None = None
    for layer in network.modules():
        if isinstance(layer, _ConvNd) and not isinstance(layer, _ConvTransposeNd):
            count = layer.groups
        elif isinstance(layer, nn.Linear | StackedLinear):
            count = layer.count if isinstance(layer, StackedLinear) else 1
        else:
            continue
        weight = layer._parameters["weight"]
        if weight is not None:
            blocks[weight] = count
            if isinstance(layer, nn.Linear | StackedLinear) and len(weight) == outputs * count:
                last = weight
    if last is None and blocks:
        last = list(blocks)[-1]
    return {weight: count for weight, count in blocks.items() if weight is not last}


def descend(optimizer: Optimizer, gradients: Callable[[], T], clip: Callable[[], object] | None = None) -> T:
    """One step of a training, whatever is trained: every loop over weights takes its steps here.

    Args:
        optimizer: moves the weights. Those that get no gradient stay, and so does their momentum.
        gradients: gives the weights new gradients (`loss.backward`, as a rule); what it returns is returned.
        clip: shortens the gradients.
    """
    optimizer.zero_grad()
    answer = gradients()
    if clip is not None:
        clip()
    optimizer.step()
    return answer


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """The learning rate of all weights, from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)


def optimizer_tensors(optimizer: Optimizer, name: str) -> dict[str, Tensor]:
    """The state of an optimizer as `restore_optimizer` takes it, each tensor under a name that begins with `name`."""
    return {
        f"{name}.{position}.{key}": tensor
        for position, state in optimizer.state_dict()["state"].items()
        for key, tensor in state.items()
        if isinstance(tensor, Tensor)
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back the state of an optimiser, as checkpoints have it: names are `<position>.<name>`."""
    states: dict[int, dict[str, Tensor]] = {}
    optimized = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, tensor in tensors.items():
        position, _, key = name.partition(".")
        like = optimized[int(position)]
        # The fused optimisers run through memory, so that a momentum must lie there as its parameter does.
        fitting = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
        states.setdefault(int(position), {})[key] = fitting
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
