"""How much each cut harms a trained network: by itself, on one batch of examples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.backbones.adapted import Adapted, inner
from archscout.core.choice import Choice, Option
from archscout.core.task import Task
from archscout.networks.channels import Group
from archscout.networks.cutting import Cut, LeftOut
from archscout.networks.labels import Axis
from archscout.networks.rerun import Rerun
from archscout.spaces.trained import TrainedSpace
from archscout.training.quick import quick_convolutions
from archscout.training.speed import fast_layout


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
            _place(part, name, LeftOut())
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
    members = {(name, axis): _members(group, axis) for name, group in space.groups.items() for axis in group.consumers}
    network.eval()
    try:
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in wanted)
        with fast_layout(network, x[:2]) as layout, hidden(network, space, before), quick_convolutions():
            x = x.contiguous(memory_format=layout)
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
                            owners, indices = members[name, (consumer, axis)]
                            change.index_add_(0, owners, by_index[indices])
                    scores[name] += change.square()
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(flags[name])
    for name, units in before.units.items():
        scores[name][list(units)] = -1.0  # gone already: they stay behind all others
    for name, score in scores.items():
        if bool(score.any()):
            space.order[name] = [int(unit) for unit in score.argsort(descending=True, stable=True)]


def _members(group: Group, axis: Axis) -> tuple[Tensor, Tensor]:
    """The indices of an axis that go with the units of a group, and the unit of each."""
    pairs = [(number, index) for number, unit in enumerate(group.units) for index in unit[axis]]
    units, indices = torch.tensor(pairs, dtype=torch.long).view(-1, 2).unbind(1)
    return units, indices


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
    part, inputs = inner(network), network.enlarged(x) if isinstance(network, Adapted) else x
    start, before = clock(), space.cut_of(space.widest)
    with fast_layout(part, inputs[:2]) as layout, torch.no_grad():
        with hidden(network, space, before):
            rerun = Rerun(part, inputs.contiguous(memory_format=layout))
        places = {choice.name: _place_of(choice, space, part, before, rerun) for choice in space.choices}
        taken = clock() - start
        stride = _stride(
            space, {name: rerun.share(place) for name, place in places.items()}, seconds / max(taken, 1e-9)
        )
        rows: dict[str, np.ndarray] = {}
        for choice in sorted(space.choices, key=lambda choice: places[choice.name]):
            last = len(choice.options) - 1
            rated = [0, *range(last, 0, -stride)[::-1]]
            row = [0.0]
            with hidden(network, space, before):
                rerun.goes_from(places[choice.name])
            for place in rated[1:]:
                with hidden(network, space, space.cut_of({choice.name: choice.options[place]})):
                    row.append(divergence(rerun.outputs(), rerun.original))
            # A smaller width cannot be better than a larger one whose channels it has: less is chance.
            known = np.maximum.accumulate(np.nan_to_num(np.array(row), nan=np.inf))
            rows[choice.name] = np.nan_to_num(np.interp(np.arange(last + 1), rated, known), nan=np.inf, posinf=np.inf)
    return {choice.name: rows[choice.name] for choice in space.choices}


def _place_of(choice: Choice, space: TrainedSpace, part: nn.Module, before: Cut, rerun: Rerun) -> int:
    """When the network first needs what the options of a choice change."""
    what, tensors = space.cut_of({choice.name: choice.options[-1]}), dict(part.named_parameters())
    groups = [name for name, units in what.units.items() if units != before.units.get(name)]
    names = {name for group in groups for name, _ in space.groups[group].consumers}
    names |= {f"{layer}.weight" for layer, size in what.kernels.items() if size != before.kernels.get(layer)}
    return rerun.place(
        (tensors[name] for name in names), (block for block in what.blocks if block not in before.blocks)
    )


def _stride(space: TrainedSpace, shares: Mapping[str, float], runs: float) -> int:
    """The step from one rated option to the next, so that these take so many runs at most; the last alone if need be.

    `shares`: of a run, what an option of each choice takes.
    """
    longest = max((len(choice.options) - 1 for choice in space.choices), default=1)
    for stride in range(1, longest):
        if sum(-(-(len(choice.options) - 1) // stride) * shares[choice.name] for choice in space.choices) <= runs:
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
