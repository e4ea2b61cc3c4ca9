"""Labels that run through a network beside its numbers: which channel each element of each activation is of.

Every index of every axis of every parameter is an *atom*, and every element of every activation carries the atom that
makes it: cutting the atom takes the element away. The labels lie beside the memory of the tensors, so that a view needs
no rule; an operator that moves data moves the labels; one that combines elements ties their atoms (union-find). What
operators do to labels is in `label_rules.py`; what runs them, in `label_tracer.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from archscout.networks.memory import memory_of

Axis = tuple[str, int]
"""A parameter or buffer by name, and one of its axes."""

PINNED = 0
"""The atom of everything that is never cut."""


@dataclass
class Parameter:
    """A tensor of the network: which atoms its axes are."""

    name: str
    shape: tuple[int, ...]
    first: tuple[int, ...]
    """The atom of index 0 of each axis."""
    places: Tensor
    """For each element of its memory, which element of the parameter it is."""


class Labelling:
    """The labels of all activations of one run of a network, and which atoms are cut together.

    Args:
        network: whose parameters and buffers have atoms.
        within: weights of grouped convolutions of which each group loses as many channels; others lose whole groups.
    """

    def __init__(self, network: nn.Module, within: frozenset[str] = frozenset()) -> None:
        self.within = within
        self.parameters: dict[int, Parameter] = {}
        self.axes: list[tuple[int, str, int]] = []
        """First atom, parameter and axis, in the order of atoms."""
        count = 1  # atom 0 is what is never cut
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            if not tensor.ndim or memory_of(tensor) in self.parameters:
                continue
            first = []
            for axis, size in enumerate(tensor.shape):
                self.axes.append((count, name, axis))
                first.append(count)
                count += size
            flat = torch.zeros(tensor.untyped_storage().nbytes() // tensor.element_size(), dtype=torch.int64)
            flat.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).copy_(
                torch.arange(tensor.numel()).reshape(tensor.shape)
            )
            self.parameters[memory_of(tensor)] = Parameter(name, tuple(tensor.shape), tuple(first), flat)
        self.parent = np.arange(count)
        """Of each atom, one above it in its class; the root of a class is its own."""
        self.produced: dict[int, None] = {}
        """Atoms that layers make, in the order of execution."""
        self.consumed: set[Axis] = set()
        """Axes that a layer sums over."""
        self.reasons: dict[int, str] = {}
        """Why an atom is pinned."""
        self.heads: set[int] = set()
        """Atoms of heads of attention."""
        self.by_memory: dict[int, Tensor] = {}
        """Memory of an activation -> the label of each element of it."""
        self.held: list[Tensor] = []
        """Activations, so that no memory is used twice."""
        self.adds: dict[int, set[int]] = {}
        """Memory of a sum (or of what an activation makes of it) -> memory of what was summed."""

    # -- atoms ----------------------------------------------------------------------------------------------------

    def roots(self, atoms: np.ndarray) -> np.ndarray:
        while True:
            above = self.parent[atoms]
            if np.array_equal(above, atoms):
                return np.asarray(atoms)
            atoms = above

    def tie(self, first: Tensor | np.ndarray, second: Tensor | np.ndarray) -> None:
        """Every atom of `first` with its counterpart of `second`."""
        a, b = np.broadcast_arrays(np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64))
        pairs = np.unique(a.ravel() * len(self.parent) + b.ravel())
        for one, other in zip(pairs // len(self.parent), pairs % len(self.parent), strict=True):
            low, high = sorted((self.root(int(one)), self.root(int(other))))
            if low != high:
                self.parent[high] = low
                if low == PINNED:
                    self.reasons.setdefault(high, self.reasons.get(int(one)) or self.reasons.get(int(other)) or "")

    def root(self, atom: int) -> int:
        while self.parent[atom] != atom:
            self.parent[atom] = self.parent[self.parent[atom]]
            atom = int(self.parent[atom])
        return atom

    def fix(self, atoms: Tensor | np.ndarray, reason: str) -> None:
        for atom in np.unique(np.asarray(atoms, dtype=np.int64)):
            root = self.root(int(atom))
            if root != PINNED:
                self.reasons.setdefault(root, reason)
                self.reasons.setdefault(int(atom), reason)
                self.parent[root] = PINNED

    def pin(self, tensor: Tensor, reason: str) -> None:
        """A tensor whose elements all stay, and with it whatever makes them."""
        labels = self.of(tensor)
        if labels is not None:
            self.fix(labels, reason)
        parameter = self.parameters.get(memory_of(tensor))
        if parameter is not None:
            for first, size in zip(parameter.first, parameter.shape, strict=True):
                self.fix(np.arange(first, first + size), reason)

    # -- labels ---------------------------------------------------------------------------------------------------

    def of(self, tensor: Tensor) -> Tensor | None:
        """The label of each element; None of what is not computed from the input."""
        flat = self.by_memory.get(memory_of(tensor))
        return None if flat is None else flat.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    def give(self, tensor: Tensor, labels: Tensor | np.ndarray | None) -> None:
        memory = memory_of(tensor)
        self.held.append(tensor)
        if memory in self.parameters:
            return
        if memory not in self.by_memory:
            elements = tensor.untyped_storage().nbytes() // tensor.element_size()
            self.by_memory[memory] = torch.zeros(elements, dtype=torch.int32)
        if labels is not None:
            values = torch.as_tensor(np.ascontiguousarray(np.asarray(labels)), dtype=torch.int32)
            own = self.of(tensor)
            assert own is not None
            own.copy_(values.expand(tensor.shape))

    def along(self, labels: Tensor, dim: int, reason: str) -> np.ndarray:
        """The labels along one dimension; all are pinned where they depend on another one too."""
        vector = labels.transpose(0, dim).reshape(labels.shape[dim], -1)[:, :1]
        shape = [1] * labels.ndim
        shape[dim] = labels.shape[dim]
        if not bool((labels == vector.reshape(shape)).all()):
            rooted = torch.from_numpy(self.roots(labels.numpy().astype(np.int64)))
            flat = rooted.transpose(0, dim).reshape(labels.shape[dim], -1)
            if not bool((flat == flat[:, :1]).all()):
                self.fix(labels, reason)
                return np.zeros(labels.shape[dim], dtype=np.int64)
        return vector.flatten().numpy().astype(np.int64)

    def varies(self, labels: Tensor, dims: Sequence[int]) -> bool:
        """Whether labels depend on the place along some dimensions."""
        rooted = self.roots(labels.numpy().astype(np.int64))
        return any(labels.shape[dim] > 1 and bool((rooted != rooted.take([0], dim)).any()) for dim in dims)

    def axis(self, view: Tensor, dim: int) -> tuple[Parameter, int, np.ndarray] | None:
        """Which axis of a parameter a dimension of a view of it runs along, and the atoms in that order."""
        parameter = self.parameters.get(memory_of(view))
        if parameter is None:
            return None
        places = parameter.places.as_strided(view.shape, view.stride(), view.storage_offset()).numpy()
        coordinates = np.unravel_index(places, parameter.shape)
        candidate = None
        for axis, coordinate in enumerate(coordinates):
            line = np.moveaxis(coordinate, dim, 0).reshape(view.shape[dim], -1)
            if (line == line[:, :1]).all() and (view.shape[dim] == 1 or line[0, 0] != line[-1, 0]):
                if view.shape[dim] == 1 and parameter.shape[axis] != 1:
                    continue
                candidate = parameter, axis, parameter.first[axis] + line[:, 0]
        return candidate

    def make(self, atoms: np.ndarray) -> np.ndarray:
        """Note that a layer makes these."""
        self.produced.update(dict.fromkeys(atoms.tolist()))
        return atoms
