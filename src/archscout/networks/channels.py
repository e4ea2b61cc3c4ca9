"""Which channels of a network must be cut together: found in one run of it, for any module.

Atoms that end in one class (`archscout.networks.labels`) are cut together: the dependency graph of DepGraph (Fang et
al. 2023, arXiv 2301.12900) at the level of single channels. Classes that touch the same axes of the same parameters are
the units of one group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.conv import _ConvNd

from archscout.core.errors import UsageError
from archscout.networks.label_tracer import LabelTracer, Visit
from archscout.networks.labels import PINNED, Axis, Labelling
from archscout.networks.memory import tensors_in


@dataclass(frozen=True)
class Group:
    """Channels of one kind that are cut one unit at a time.

    Args:
        name: the layer that makes them.
        units: of each unit, the indices that go with it, by axis.
        consumers: the axes over which a layer sums: zeros there are the same as the unit cut away.
        heads: whether the units are heads of attention.
    """

    name: str
    units: tuple[dict[Axis, tuple[int, ...]], ...]
    consumers: frozenset[Axis]
    heads: bool = False

    def __len__(self) -> int:
        return len(self.units)

    @property
    def size(self) -> int:
        """Channels a unit, where they are made."""
        return max(len(self.units[0][axis]) for axis in self.makers)

    @property
    def makers(self) -> list[Axis]:
        """The axes that make the channels; of a weight that is used both ways, the one over which it sums as well."""
        return [axis for axis in self.units[0] if axis not in self.consumers] or list(self.units[0])


@dataclass(frozen=True)
class Channels:
    """What can be cut of a network.

    Args:
        groups: in the order of execution.
        blocks: modules that can be left out: what they add to their input is all that they do, and their input and
            output are cut together.
        whole: layers whose outputs stay as they are, each with the reason.
    """

    groups: tuple[Group, ...]
    blocks: tuple[str, ...]
    whole: dict[str, str]


def channels(network: nn.Module, example: Tensor) -> Channels:
    """The channel groups and blocks of a network, from one run on an example (a batch of 1).

    The network is left as it was. Raises `UsageError` where it does not run on the example.
    """
    first = _traced(network, example, frozenset())
    within = _hanging_together(network, first)
    return _traced(network, example, within) if within else first


def _traced(network: nn.Module, example: Tensor, within: frozenset[str]) -> Channels:
    tracer = LabelTracer(network, within)
    labelling = tracer.labelling
    with _quiet(network), torch.no_grad(), tracer.watching(network):
        labelling.give(example, torch.zeros(example.shape, dtype=torch.int32))
        try:
            with tracer:
                outputs = network(example)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise UsageError(
                f"the network does not run on an input of shape {tuple(example.shape)} "
                f"({type(error).__name__}: {reason}): give it data of the shape that it was trained on."
            ) from error
        for output in tensors_in((outputs,)):
            labelling.pin(output, "it is an output of the network")
    return _result(labelling, tracer.visits)


def _hanging_together(network: nn.Module, channels: Channels) -> frozenset[str]:
    """Weights of grouped convolutions no group of which can go: their inputs are shuffled, say. Each group of these
    gives up some of its channels."""
    cut = {axis for group in channels.groups for axis in group.units[0]}
    convolutions = [(f"{name}.weight", layer) for name, layer in network.named_modules() if isinstance(layer, _ConvNd)]
    return frozenset(
        weight
        for weight, layer in convolutions
        if 1 < layer.groups < layer.in_channels and not layer.transposed and (weight, 0) not in cut
    )


@contextmanager
def _quiet(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, without the fused forms of attention and of recurrent layers, which hide matrix products; undone
    afterwards."""
    training = [module for module in network.modules() if module.training]
    fast = torch.backends.mha.get_fastpath_enabled()
    fused = torch.backends.mkldnn.enabled
    torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    for module in training:
        module.training = False
    try:
        with torch.inference_mode(False), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for module in training:
            module.training = True
        torch.backends.mha.set_fastpath_enabled(fast)
        torch.backends.mkldnn.enabled = fused


def _blocks(labelling: Labelling, visits: Sequence[Visit]) -> list[str]:
    """Innermost modules that run once and add to their input, whose input and output are cut together."""
    runs = [visit.name for visit in visits]
    residual = []
    for visit in visits:
        if visit.source < 0 or visit.labels is None or visit.after is None or runs.count(visit.name) > 1:
            continue
        before, after = (labelling.roots(t.numpy().astype(np.int64)) for t in (visit.labels, visit.after))
        if np.array_equal(before, after) and _reaches(labelling, visit.result, visit.source):
            residual.append(visit.name)
    return [name for name in residual if not any(other.startswith(f"{name}.") for other in residual)]


def _reaches(labelling: Labelling, result: int, source: int) -> bool:
    seen, waiting = {result}, [result]
    while waiting:
        memory = waiting.pop()
        if memory == source:
            return True
        new = labelling.adds.get(memory, set()) - seen
        seen |= new
        waiting += new
    return False


def _result(labelling: Labelling, visits: Sequence[Visit]) -> Channels:
    starts = np.array([first for first, _, _ in labelling.axes])
    atoms = np.arange(1, len(labelling.parent))
    roots = labelling.roots(atoms)
    makers = labelling.roots(np.array(list(labelling.produced), dtype=np.int64))
    live = set(makers.tolist()) - {PINNED}
    members: dict[int, dict[Axis, list[int]]] = {}
    for atom, root in zip(atoms.tolist(), roots.tolist(), strict=True):
        if root in live:
            first, name, axis = labelling.axes[int(np.searchsorted(starts, atom, side="right")) - 1]
            members.setdefault(root, {}).setdefault((name, axis), []).append(atom - first)
    heads = {int(labelling.root(atom)) for atom in labelling.heads}
    groups: dict[tuple[Any, ...], list[int]] = {}
    for root in dict.fromkeys(makers.tolist()):
        if root in live:
            signature = tuple(sorted((axis, len(indices)) for axis, indices in members[root].items()))
            groups.setdefault(signature, []).append(root)
    cuttable: list[Group] = []
    names: dict[str, int] = {}
    whole: dict[str, str] = {}
    for roots_of_group in groups.values():
        maker = next(atom for atom, root in zip(labelling.produced, makers, strict=True) if root == roots_of_group[0])
        layer = _layer(labelling, maker, starts)
        if len(roots_of_group) < 2:
            whole.setdefault(layer, "all of its channels hang together")
            continue
        names[layer] = names.get(layer, 0) + 1
        name = layer if names[layer] == 1 else f"{layer}#{names[layer]}"
        units = tuple({axis: tuple(i) for axis, i in sorted(members[root].items())} for root in sorted(roots_of_group))
        consumers = frozenset(axis for axis in units[0] if axis in labelling.consumed)
        cuttable.append(Group(name, units, consumers, any(root in heads for root in roots_of_group)))
    cut = {axis[0] for group in cuttable for axis in group.units[0]}
    for atom, root in zip(labelling.produced, makers.tolist(), strict=True):
        if root == PINNED:
            layer = _layer(labelling, atom, starts)
            if f"{layer}.weight" not in cut or not any(group.name.partition("#")[0] == layer for group in cuttable):
                whole.setdefault(layer, _reason(labelling, atom))
    return Channels(tuple(cuttable), tuple(_blocks(labelling, visits)), whole)


def _layer(labelling: Labelling, atom: int, starts: np.ndarray) -> str:
    return labelling.axes[int(np.searchsorted(starts, atom, side="right")) - 1][1].rpartition(".")[0] or "network"


def _reason(labelling: Labelling, atom: int) -> str:
    while True:
        if labelling.reasons.get(atom):
            return labelling.reasons[atom]
        if labelling.parent[atom] == atom:
            return "it meets channels that stay"
        atom = int(labelling.parent[atom])
