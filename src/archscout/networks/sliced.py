"""A trained network of which every cut runs on slices of its own weights: the supernet of its cuts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.choice import Option
from archscout.core.errors import UsageError
from archscout.networks.channels import Group
from archscout.networks.cutting import Cut, cut, gone_of
from archscout.networks.elastic import Kind, Selection

KNOWN = 64
"""Structures of cuts that are kept: a network without memory each."""


@dataclass
class _Sliced:
    """What runs of a cut: its layers without memory, and of each tensor the indices that stay, by axis."""

    network: nn.Module
    indices: dict[str, list[tuple[int, Tensor]]] = field(default_factory=dict)
    kernels: dict[str, int] = field(default_factory=dict)


class SlicedNetwork(nn.Module):
    """The selected cut of a network, made of slices of its weights, so that training a cut trains the whole.

    It costs what the cut network costs, not what a mask does. Batch normalisation collects the statistics of the
    channels that run.

    Args:
        whole: the network; it is kept, not copied.
        part: the attribute of it that cuts are named in; empty for itself.
        groups: of its channels (`archscout.networks.channels`).
        cut_of: what an architecture takes away.
        selection: says which architecture runs.
        smallest_first: of each choice, its options from the smallest network to the largest.
        kinds: of each choice, what it changes.
    """

    def __init__(
        self,
        whole: nn.Module,
        part: str,
        groups: Sequence[Group],
        cut_of: Callable[[Mapping[str, Option]], Cut],
        selection: Selection,
        smallest_first: Mapping[str, Sequence[Option]],
        kinds: Mapping[str, Kind],
    ) -> None:
        super().__init__()
        self.whole, self.part, self.groups, self.cut_of = whole, part, list(groups), cut_of
        self.selection, self.smallest_first, self.kinds = selection, smallest_first, kinds
        self._known: dict[tuple[tuple[str, Option], ...], _Sliced] = {}

    def active_state(self) -> dict[str, Tensor]:
        """The slices that run now, as the state of the cut network."""
        return self._tensors(self._now())

    def forward(self, x: Tensor) -> Tensor:
        if self.selection.gates:
            raise UsageError("cuts of a trained network cannot be mixed: search with a method that runs single paths.")
        sliced = self._now()
        if sliced.network.training != self.training:
            sliced.network.train(self.training)
        tensors, norms = self._tensors(sliced), self._norms(sliced)
        outputs: Tensor = functional_call(sliced.network, tensors, (x,))
        if self.training:
            for name in norms:
                for key in ("running_mean", "running_var"):
                    self._write_back(sliced, f"{name}.{key}", tensors)
        return outputs

    def _now(self) -> _Sliced:
        key = tuple(self.selection.values.items())
        if key not in self._known:
            if len(self._known) >= KNOWN:
                del self._known[next(iter(self._known))]
            self._known[key] = self._slice(self.cut_of(self.selection.values))
        return self._known[key]

    def _slice(self, what: Cut) -> _Sliced:
        # What is copied are the layers; their tensors are shapes alone.
        own: dict[int, Any] = {id(p): nn.Parameter(p.detach().to("meta")) for p in self.whole.parameters()}
        own |= {id(buffer): buffer.detach().to("meta") for buffer in self.whole.buffers()}
        network: nn.Module = copy.deepcopy(self.whole, own)
        if self.part:
            setattr(network, self.part, cut(getattr(network, self.part), self.groups, what))
        else:
            network = cut(network, self.groups, what)
        sliced, prefix = _Sliced(network), f"{self.part}." if self.part else ""
        tensors = self._whole_tensors()
        for (name, axis), gone in sorted(gone_of(self.groups, what).items()):
            stays = [index for index in range(tensors[prefix + name].shape[axis]) if index not in gone]
            sliced.indices.setdefault(prefix + name, []).append((axis, torch.tensor(stays)))
        sliced.kernels = {f"{prefix}{layer}.weight": size for layer, size in what.kernels.items()}
        return sliced

    def _tensors(self, sliced: _Sliced) -> dict[str, Tensor]:
        whole, tensors = self._whole_tensors(), {}
        for name in (*dict(sliced.network.named_parameters()), *dict(sliced.network.named_buffers())):
            tensor = whole[name]
            for axis, stays in sliced.indices.get(name, ()):
                tensor = tensor.index_select(axis, stays.to(tensor.device))
            if name in sliced.kernels:
                size = sliced.kernels[name]
                for axis in range(2, tensor.ndim):  # the centre
                    tensor = tensor.narrow(axis, (tensor.shape[axis] - size) // 2, size)
            tensors[name] = tensor
        return tensors

    def _whole_tensors(self) -> dict[str, Tensor]:
        return {**dict(self.whole.named_parameters()), **dict(self.whole.named_buffers())}

    def _norms(self, sliced: _Sliced) -> list[str]:
        """The layers with running statistics; they average as fast as those of the whole network do by now."""
        names = []
        for name, module in sliced.network.named_modules():
            if isinstance(module, _BatchNorm) and module.running_mean is not None:
                own = self.whole.get_submodule(name)
                assert isinstance(own, _BatchNorm)
                module.momentum = own.momentum
                names.append(name)
        return names

    def _write_back(self, sliced: _Sliced, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Put what a layer has made of its slice of a buffer back into the whole."""
        with torch.no_grad():
            for axis, stays in sliced.indices.get(name, ()):
                self._whole_tensors()[name].index_copy_(axis, stays.to(tensors[name].device), tensors[name])
