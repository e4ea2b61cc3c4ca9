"""How much each cut harms a trained network, and what it saves: by itself, on one batch of examples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.backbones.adapted import inner
from archscout.core.choice import Option
from archscout.core.task import Task
from archscout.networks.cutting import Cut
from archscout.spaces.trained import TrainedSpace


def divergence(outputs: Tensor, original: Tensor) -> float:
    """How far answers are from the original's: KL divergence over classes, or relative squared distance of one output.

    Args:
        outputs: (N, C, ...) logits.
        original: the same of the network that is cut.
    """
    if original.ndim < 2 or original.shape[1] == 1:
        return float((outputs - original).square().mean() / original.square().mean().clamp(min=1e-12))
    ours, theirs = outputs.float().log_softmax(1), original.float().log_softmax(1)
    return float(F.kl_div(ours, theirs, reduction="none", log_target=True).sum(1).mean())


def additive(values: np.ndarray, ignorance: float) -> np.ndarray:
    """Harms as numbers that add up where cuts meet: minus the logarithm of what is left of what the network knew.

    A divergence cannot rise much above that of a constant answer. Summed as they are, harms would have it that what is
    ruined by one cut is ruined further at no cost; what is left of knowledge multiplies instead. Above 95 % the
    logarithm goes on along its tangent, so that worse stays worse.

    Args:
        values: divergences.
        ignorance: the divergence of a constant answer.
    """
    gone = np.asarray(values, dtype=float) / max(ignorance, 1e-12)
    below = np.minimum(gone, _NEARLY_ALL)
    return np.asarray(-np.log1p(-below) + (gone - below) / (1 - _NEARLY_ALL))


_NEARLY_ALL = 0.95


def ignorance(original: Tensor) -> float:
    """The divergence of answers that are all the same: the mean of the original's."""
    if original.ndim < 2 or original.shape[1] == 1:
        return divergence(original.mean(0, keepdim=True).expand_as(original), original)
    mean = original.float().softmax(1).mean(0, keepdim=True).clamp(min=1e-12)
    return divergence(mean.log().expand_as(original), original)


@contextmanager
def hidden(network: nn.Module, space: TrainedSpace, what: Cut) -> Iterator[None]:
    """The network as if it were cut, for a while: nothing reads what is cut (as in `archscout.networks.cutting`)."""
    part = inner(network)
    tensors = dict(part.named_parameters())
    before: dict[str, Tensor] = {}

    def touch(name: str) -> Tensor:
        tensor = tensors[name].data
        before.setdefault(name, tensor.clone())
        return tensor

    blocks = {name: part.get_submodule(name) for name in what.blocks}
    try:
        for group_name, units in what.units.items():
            group = space.groups[group_name]
            for name, axis in group.consumers:
                gone = [index for unit in units for index in group.units[unit][name, axis]]
                touch(name).index_fill_(axis, torch.tensor(gone, dtype=torch.long), 0.0)
        for layer, size in what.kernels.items():
            weight = touch(f"{layer}.weight")
            ring = torch.ones(weight.shape[2:], dtype=torch.bool)
            ring[tuple(slice((n - size) // 2, (n - size) // 2 + size) for n in weight.shape[2:])] = False
            weight[..., ring] = 0.0
        for name in blocks:
            _place(part, name, nn.Identity())
        yield
    finally:
        for name, tensor in before.items():
            tensors[name].data.copy_(tensor)
        for name, block in blocks.items():
            _place(part, name, block)


def order_by_importance(network: nn.Module, space: TrainedSpace, task: Task, x: Tensor, y: Tensor, batch: int) -> None:
    """Put the units of each group in the order of what the loss owes them, the most important first, in place.

    A unit's importance is the mean over batches of (sum of w * dL/dw)^2 over the weights that read it: the squared
    first-order change of the loss when it is cut (Molchanov et al. 2019, arXiv 1906.10771).
    """
    part = inner(network)
    parameters = dict(part.named_parameters())
    wanted = {name for group in space.groups.values() for name, _ in group.consumers if name in parameters}
    flags = {name: parameter.requires_grad for name, parameter in parameters.items()}
    before = space.cut_of(space.widest)
    scores = {name: torch.zeros(len(group)) for name, group in space.groups.items()}
    network.eval()
    try:
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in wanted)
        with hidden(network, space, before):
            for start in range(0, len(x) - batch + 1, batch):
                loss = task.loss(network(x[start : start + batch]), y[start : start + batch])
                gradients = torch.autograd.grad(loss, [parameters[name] for name in wanted], allow_unused=True)
                products = {
                    name: None if gradient is None else (gradient * parameters[name].detach())
                    for name, gradient in zip(wanted, gradients, strict=True)
                }
                for name, group in space.groups.items():
                    change = torch.zeros(len(group))
                    for consumer, axis in group.consumers:
                        product = products.get(consumer)
                        if product is not None:
                            by_index = product.transpose(0, axis).reshape(product.shape[axis], -1).sum(1)
                            places = [list(unit[consumer, axis]) for unit in group.units]
                            change += torch.stack([by_index[place].sum() for place in places])
                    scores[name] += change.square()
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(flags[name])
    for name, units in before.units.items():
        scores[name][list(units)] = -1.0  # gone already: they stay behind all others
    for name, score in scores.items():
        if bool(score.any()):
            space.order[name] = [int(unit) for unit in score.argsort(descending=True, stable=True)]


def harms(
    network: nn.Module,
    space: TrainedSpace,
    x: Tensor,
    seconds: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, np.ndarray]:
    """Of each choice, how far the answers of the space's widest architecture move when that option alone is taken.

    By `divergence`; 0 for the first option.

    Args:
        network: the whole network, in evaluation mode.
        space: what can be cut of it.
        x: a batch of inputs.
        seconds: where all options would take longer, every second, third, ... is rated, those between by interpolation.
        clock: tells the time.
    """
    network.eval()
    found: dict[str, np.ndarray] = {}
    with torch.no_grad():
        start = clock()
        with hidden(network, space, space.cut_of(space.widest)):
            original = network(x)
        stride = _stride(space, seconds / max(clock() - start, 1e-9))
        for choice in space.choices:
            last = len(choice.options) - 1
            rated = [0, *range(last, 0, -stride)[::-1]]
            row = [0.0]
            for place in rated[1:]:
                with hidden(network, space, space.cut_of({choice.name: choice.options[place]})):
                    row.append(divergence(network(x), original))
            # A smaller width cannot be better than a larger one whose channels it has: less is chance.
            known = np.maximum.accumulate(np.nan_to_num(np.array(row), nan=np.inf))
            found[choice.name] = np.nan_to_num(np.interp(np.arange(last + 1), rated, known), nan=np.inf, posinf=np.inf)
    return found


def _stride(space: TrainedSpace, count: float) -> int:
    """The step from one rated option to the next, so that these are `count` at most; the last alone where need be."""
    longest = max((len(choice.options) - 1 for choice in space.choices), default=1)
    for stride in range(1, longest):
        if sum(-(-(len(choice.options) - 1) // stride) for choice in space.choices) <= count:
            return stride
    return max(1, longest)


def harm_of(
    network: nn.Module, space: TrainedSpace, architecture: Mapping[str, Option], x: Tensor, original: Tensor
) -> float:
    """How far the answers move when a whole architecture is cut out, before any recovery."""
    with torch.no_grad(), hidden(network, space, space.cut_of(architecture)):
        return divergence(network(x), original)


def _place(owner: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    (owner.get_submodule(parent) if parent else owner)._modules[child] = module


# -- costs ------------------------------------------------------------------------------------------------------------


@dataclass
class _Layer:
    """A layer with weights: what of it is cut by which group, and what it costs whole."""

    name: str
    weight: str
    macs: float
    seconds: float


@dataclass
class Accounts:
    """What each layer of a network costs, and what is left of that under an architecture.

    Parameters are exact; so are the multiply-adds of convolutions and linear layers. Seconds were measured layer by
    layer in one run: those of a layer with weights shrink with its multiply-adds, down to `FLOOR`; those of all else
    with the channels that it works on.
    """

    space: TrainedSpace
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    layers: list[_Layer] = field(default_factory=list)
    others: dict[str, float] = field(default_factory=dict)
    """Seconds of layers without weights, by name."""

    def costs(self, architecture: Mapping[str, Option]) -> dict[str, float]:
        """`params`, `macs` and `latency` (seconds) of an architecture."""
        what = self.space.cut_of(architecture)
        gone: dict[tuple[str, int], int] = {}
        for name, units in what.units.items():
            group = self.space.groups[name]
            for unit in units:
                for axis, indices in group.units[unit].items():
                    gone[axis] = gone.get(axis, 0) + len(indices)

        def inside(name: str) -> bool:
            return any(name.startswith(f"{block}.") for block in what.blocks)

        params = 0.0
        for name, shape in self.sizes.items():
            if not inside(name):
                left = math.prod(float(size - gone.get((name, axis), 0)) for axis, size in enumerate(shape))
                owner = name.rpartition(".")[0]
                if name.endswith(".weight") and owner in what.kernels:
                    left *= (what.kernels[owner] / shape[-1]) ** (len(shape) - 2)
                params += left
        macs = seconds = 0.0
        for layer in self.layers:
            if inside(layer.name):
                continue
            shape = self.sizes[layer.weight]
            share = math.prod(1 - gone.get((layer.weight, axis), 0) / size for axis, size in enumerate(shape))
            if layer.name in what.kernels:
                share *= (what.kernels[layer.name] / shape[-1]) ** (len(shape) - 2)
            macs += layer.macs * share
            seconds += layer.seconds * (FLOOR + (1 - FLOOR) * share)
        seconds += sum(time for name, time in self.others.items() if not inside(name))
        return {"params": params, "macs": macs, "latency": seconds}


FLOOR = 0.15
"""Of the time of a layer, what remains however little it computes."""


def accounts(network: nn.Module, space: TrainedSpace, example: Tensor, runs: int = 5) -> Accounts:
    """Measure the layers of a network on an example (a batch of 1): the least time of a few runs each."""
    part = inner(network)
    known = Accounts(space, {name: tuple(p.shape) for name, p in part.named_parameters()})
    begun: dict[str, float] = {}
    times: dict[str, list[float]] = {}
    positions: dict[str, float] = {}
    handles = []

    def before(name: str) -> Any:
        def hook(*_: Any) -> None:
            begun[name] = time.perf_counter()

        return hook

    def after(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            times.setdefault(name, []).append(time.perf_counter() - begun[name])
            if isinstance(output, Tensor):
                weight = module._parameters.get("weight")
                channels = output.shape[-1 if isinstance(module, nn.Linear) else 1] if output.ndim > 1 else 1
                transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
                places = inputs[0].numel() / inputs[0].shape[1] if transposed else output.numel() / max(1, channels)
                positions[name] = places * (weight.numel() if weight is not None else 0)

        return hook

    for name, module in part.named_modules():
        if not any(True for _ in module.children()):
            handles += [module.register_forward_pre_hook(before(name)), module.register_forward_hook(after(name))]
    try:
        with torch.inference_mode():
            for _ in range(runs):
                network(example)
    finally:
        for handle in handles:
            handle.remove()
    for name, module in part.named_modules():
        if name in times:
            calls = max(1, len(times[name]) // runs)
            least = min(times[name]) * calls
            if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)) and f"{name}.weight" in known.sizes:
                known.layers.append(_Layer(name, f"{name}.weight", positions[name] * calls, least))
            else:
                known.others[name] = least
    return known
