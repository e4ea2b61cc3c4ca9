"""Channels of a supernet in the order of their importance, so that the first ones, which narrow networks keep, are the
ones that matter (Cai et al. 2020, arXiv 1908.09791)."""

from __future__ import annotations

import torch
from torch import Tensor

from archscout.networks.channels import Group, channels
from archscout.supernets.evaluate import examples
from archscout.supernets.extent import ends
from archscout.supernets.supernet import Supernet, active_state


def sort_channels(supernet: Supernet) -> bool:
    """Put the channels of each group into the order of the L1 norm of the weights that read them, in place.

    The largest network answers as before. Groups are found in it (`archscout.networks.channels`), its tensors being
    those of the supernet. Returns whether it was done: not where the supernet has weights that the largest network does
    not use, and whose channels nobody knows.
    """
    before = supernet.selection.values, supernet.selection.gates
    supernet.select(ends(supernet)[1])
    tensors = dict(active_state(supernet.network, ""))
    supernet.selection.values, supernet.selection.gates = before
    used = {(tensor.data_ptr(), tensor.numel()) for tensor in tensors.values()}
    own = [p for name, p in supernet.network.named_parameters() if ".transforms." not in name]
    if any((parameter.data_ptr(), parameter.numel()) not in used for parameter in own):
        return False
    largest = supernet.extract(ends(supernet)[1])
    with torch.no_grad():
        for group in channels(largest, examples(supernet, 1)).groups:
            _permute(tensors, group)
    return True


def _permute(tensors: dict[str, Tensor], group: Group) -> None:
    norms = torch.zeros(len(group), device=next(iter(tensors.values())).device)
    for name, axis in group.consumers:
        if name in tensors:
            weight = tensors[name]
            sums = weight.abs().transpose(0, axis).reshape(weight.shape[axis], -1).sum(1)
            norms += torch.stack([sums[list(unit[name, axis])].sum() for unit in group.units])
    order = norms.argsort(descending=True, stable=True).tolist()
    for name, axis in group.units[0]:
        if name not in tensors:
            continue
        tensor = tensors[name]
        targets = [index for unit in group.units for index in unit[name, axis]]
        sources = [index for place in order for index in group.units[place][name, axis]]
        moved = tensor.index_select(axis, torch.tensor(sources, device=tensor.device))
        tensor.index_copy_(axis, torch.tensor(targets, device=tensor.device), moved)
