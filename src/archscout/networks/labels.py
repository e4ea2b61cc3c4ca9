"""Labels that run through a network beside its numbers: which channel each element of each activation is of.

Every index of every axis of every parameter is an *atom*, and every element of every activation carries the atom that
makes it: cutting the atom takes the element away. The labels lie beside the memory of the tensors, so that a view needs
no rule; an operator that moves data moves the labels; one that combines elements ties their atoms (union-find). What an
operator with no rule touches is pinned: it stays whole, with the operator's name as the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from archscout.networks.memory import memory_of, tensors_in

Axis = tuple[str, int]
"""A parameter or buffer by name, and one of its axes."""

PINNED = 0
"""The atom of everything that is never cut."""


@dataclass
class Visit:
    """One run of a module: the labels of its input and output, and where they lie."""

    name: str
    source: int
    labels: Tensor | None
    shape: tuple[int, ...]
    result: int = -1
    after: Tensor | None = None


@dataclass
class _Parameter:
    name: str
    shape: tuple[int, ...]
    first: tuple[int, ...]
    """The atom of index 0 of each axis."""
    places: Tensor
    """For each element of its memory, which element of the parameter it is."""


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs operators as they come, and their labels after them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.parameters: dict[int, _Parameter] = {}
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
            self.parameters[memory_of(tensor)] = _Parameter(name, tuple(tensor.shape), tuple(first), flat)
        self.parent = np.arange(count)
        self.produced: dict[int, None] = {}
        self.consumed: set[Axis] = set()
        self.reasons: dict[int, str] = {}
        self.heads: set[int] = set()
        self.labels: dict[int, Tensor] = {}
        self.held: list[Tensor] = []
        self.adds: dict[int, set[int]] = {}
        """Memory of a sum (or of what an activation makes of it) -> memory of what was summed."""
        self.visits: list[Visit] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

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
        flat = self.labels.get(memory_of(tensor))
        return None if flat is None else flat.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    def give(self, tensor: Tensor, labels: Tensor | np.ndarray | None) -> None:
        memory = memory_of(tensor)
        self.held.append(tensor)
        if memory in self.parameters:
            return
        if memory not in self.labels:
            elements = tensor.untyped_storage().nbytes() // tensor.element_size()
            self.labels[memory] = torch.zeros(elements, dtype=torch.int32)
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

    def axis(self, view: Tensor, dim: int) -> tuple[_Parameter, int, np.ndarray] | None:
        """Which axis of a parameter a dimension of a view of it runs along, and the atoms in that order."""
        parameter = self.parameters.get(memory_of(view))
        if parameter is None:
            return None
        places = parameter.places.as_strided(view.shape, view.stride(), view.storage_offset()).numpy()
        coordinates = np.unravel_index(places, parameter.shape)
        found = None
        for axis, coordinate in enumerate(coordinates):
            line = np.moveaxis(coordinate, dim, 0).reshape(view.shape[dim], -1)
            if (line == line[:, :1]).all() and (view.shape[dim] == 1 or line[0, 0] != line[-1, 0]):
                if view.shape[dim] == 1 and parameter.shape[axis] != 1:
                    continue
                found = parameter, axis, parameter.first[axis] + line[:, 0]
        return found

    # -- operators ------------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        outputs = func(*args, **kwargs)
        name: str = func._overloadpacket.__name__
        operands = list(tensors_in((*args, *kwargs.values())))
        results = list(tensors_in((outputs,)))
        self.held += results
        known = [t for t in operands if memory_of(t) in self.labels]
        owned = [t for t in operands if memory_of(t) in self.parameters]
        if not (known or owned) or not results:
            return outputs
        sources = {memory_of(t) for t in operands}
        mutable = func._schema.is_mutable
        if not mutable and all(memory_of(t) in sources for t in results):
            return outputs  # views carry the labels of their memory
        plain = name.strip("_").removeprefix("native_")
        rule = _RULES.get(plain)
        try:
            if rule is not None:
                rule(self, name, args, kwargs, outputs)
            elif torch.Tag.pointwise in func.tags or plain in _POINTWISE:
                self._pointwise(plain, operands, results[0])
            elif plain in _MOVES:
                self._move(func, args, kwargs, results)
            else:
                self._unknown(plain, operands, results)
        except (IndexError, RuntimeError, ValueError, TypeError, AssertionError):
            self._unknown(plain, operands, results)
        return outputs

    def _unknown(self, name: str, operands: Sequence[Tensor], results: Sequence[Tensor]) -> None:
        for operand in operands:
            self.pin(operand, f"its operator {name} has no rule")
        if any(memory_of(t) in self.labels for t in operands):
            for result in results:
                self.give(result, np.zeros((1,) * max(result.ndim, 1), dtype=np.int32))

    def _pointwise(self, name: str, operands: Sequence[Tensor], result: Tensor) -> None:
        labelled = [(t, labels) for t in operands if (labels := self.of(t)) is not None]
        if not labelled:
            for operand in operands:
                self.pin(operand, "it is computed from other weights")
            return
        full = [labels for t, labels in labelled if t.shape == result.shape]
        if not full:
            for operand, _ in labelled:
                self.pin(operand, f"{name} spreads it over other dimensions")
            self.give(result, np.zeros((1,) * result.ndim))
            return
        reference = full[0]
        if name in _SUMS:
            self.adds.setdefault(memory_of(result), set()).update(
                memory_of(t) for t, _ in labelled if t.shape == result.shape
            )
        for operand, labels in labelled:
            spread = [
                dim
                for dim in range(1, operand.ndim + 1)
                if operand.shape[-dim] == 1 and result.shape[-dim] > 1 and self.varies(reference, [result.ndim - dim])
            ]
            spread += [
                dim for dim in range(operand.ndim + 1, result.ndim + 1) if self.varies(reference, [result.ndim - dim])
            ]
            if spread:
                self.fix(labels, f"{name} spreads it over other channels")
            elif labels is not reference:
                self.tie(reference, labels.expand(result.shape))
        for operand in operands:
            if self.of(operand) is not None:
                continue
            for dim in range(1, operand.ndim + 1):
                place = result.ndim - dim
                if operand.shape[-dim] == 1 or not self.varies(reference, [place]):
                    continue
                found = self.axis(operand, operand.ndim - dim)
                if found is None:
                    self.fix(reference, f"{name} combines it with numbers of a fixed shape")
                else:
                    shape = [1] * result.ndim
                    shape[place] = result.shape[place]
                    self.tie(reference, found[2].reshape(shape))
        self.give(result, reference)

    def _move(self, func: Any, args: Any, kwargs: Any, results: Sequence[Tensor]) -> None:
        def labels(value: Any) -> Any:
            if isinstance(value, Tensor):
                if value.dtype in (torch.int64, torch.int32, torch.bool) and self.of(value) is None:
                    return value  # places, not numbers
                own = self.of(value)
                if own is None and (parameter := self.parameters.get(memory_of(value))) is not None:
                    dim = max((d for d in range(value.ndim) if value.shape[d] > 1), default=0)
                    found = self.axis(value, dim)
                    if found is not None and parameter is found[0]:
                        shape = [1] * value.ndim
                        shape[dim] = value.shape[dim]
                        return torch.as_tensor(found[2], dtype=torch.int32).reshape(shape).expand(value.shape)
                return torch.zeros(value.shape, dtype=torch.int32) if own is None else own
            if isinstance(value, list | tuple):
                return type(value)(labels(item) for item in value)
            return value

        options = {
            key: value for key, value in kwargs.items() if key not in ("dtype", "memory_format", "layout", "device")
        }
        if func._overloadpacket.__name__ in ("_to_copy", "clone"):
            moved: Any = labels(args[0])
        else:
            moved = func(*labels(args), **{key: labels(value) for key, value in options.items()})
        for result, own in zip(results, list(tensors_in((moved,))), strict=True):
            self.give(result, own)

    # -- modules --------------------------------------------------------------------------------------------------

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Note what goes into and comes out of every module that has parts."""
        handles = []
        for name, module in network.named_modules():
            if name and any(True for _ in module.children()):
                stack: list[Visit] = []
                handles.append(module.register_forward_pre_hook(self._entered(name, stack), with_kwargs=True))
                handles.append(module.register_forward_hook(self._left(stack)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _entered(self, name: str, stack: list[Visit]) -> Callable[..., None]:
        def note(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            x = inputs[0] if len(inputs) == 1 and not named else None
            if isinstance(x, Tensor):
                labels = self.of(x)
                visit = Visit(name, memory_of(x), None if labels is None else labels.clone(), tuple(x.shape))
            else:
                visit = Visit(name, -1, None, ())
            stack.append(visit)

        return note

    def _left(self, stack: list[Visit]) -> Callable[..., None]:
        def note(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            visit = stack.pop()
            if isinstance(output, Tensor) and tuple(output.shape) == visit.shape:
                labels = self.of(output)
                visit.result, visit.after = memory_of(output), None if labels is None else labels.clone()
            else:
                visit.source = -1
            self.visits.append(visit)

        return note

    # -- rules ----------------------------------------------------------------------------------------------------

    def made(self, atoms: np.ndarray) -> np.ndarray:
        self.produced.update(dict.fromkeys(atoms.tolist()))
        return atoms

    def convolution(self, name: str, args: Any, kwargs: Any, output: Tensor) -> None:
        x, weight, bias = args[:3]
        transposed, groups = (args[6], args[8]) if name == "convolution" else (False, args[6])
        inputs = self.of(x)
        parameter = self.parameters.get(memory_of(weight))
        if parameter is None or parameter.shape != tuple(weight.shape) or inputs is None:
            self._unknown(
                "convolution with computed weights", [x, weight] + ([bias] if bias is not None else []), [output]
            )
            return
        line = self.along(inputs, 1, "convolution over a flattened shape")
        rows = parameter.first[0] + np.arange(weight.shape[0])
        columns = parameter.first[1] + np.arange(weight.shape[1])
        summed, own = (rows, columns) if transposed else (columns, rows)
        if groups == 1:
            self.tie(line, summed)
            self.consumed.add((parameter.name, 0 if transposed else 1))
        else:
            inside, outside = len(line) // groups, output.shape[1] // groups
            self.fix(columns, "it is the inside of a group")
            own = rows if not transposed else np.repeat(rows.reshape(groups, -1)[:, 0], outside)
            self.tie(line.reshape(groups, inside), rows.reshape(groups, -1)[:, :1])
            self.tie(rows.reshape(groups, -1), rows.reshape(groups, -1)[:, :1])
        if bias is not None:
            found = self.axis(bias, 0)
            self.tie(own, found[2]) if found else self.fix(own, "its bias is computed")
        self.give(output, self.made(own).reshape(-1, *[1] * (output.ndim - 2)))

    def addmm(self, name: str, args: Any, kwargs: Any, output: Tensor) -> None:
        bias, x, weight = args[:3]
        self.matmul(name, (x, weight), {}, output)
        labels = self.of(output)
        if labels is None:
            return
        found = self.axis(bias, bias.ndim - 1)
        if self.varies(labels, range(labels.ndim - 1)):
            return  # a layer over places has a bias of places, which all stay
        line = self.along(labels, labels.ndim - 1, "a bias of another shape")
        self.tie(line, found[2]) if found else self.fix(line, "its bias is computed")

    def matmul(self, name: str, args: Any, kwargs: Any, output: Tensor) -> None:
        a, b = args[:2]
        left, right = self.of(a), self.of(b)
        rows, columns = self.axis(b, b.ndim - 2), self.axis(b, b.ndim - 1)
        if left is not None and rows is not None and columns is not None:
            parameter, axis, summed = rows
            places = list(range(left.ndim - 1))
            if self.varies(left, places):
                reason = "it mixes places, not channels"
                self.fix(summed, reason)
                self.fix(columns[2], reason)
                if self.varies(left, [left.ndim - 1]):
                    self.fix(left, reason)
                self.made(columns[2])
                self.give(output, left[..., :1])
                return
            line = self.along(left, left.ndim - 1, "a matrix product over another shape")
            self.tie(line, summed)
            self.consumed.add((parameter.name, axis))
            self.give(output, self.made(columns[2]))
            return
        if left is None or right is None:
            self._unknown(name, [a, b], [output])
            return
        count = int(np.prod(a.shape[:-2], dtype=int))
        first, second = (t.reshape(count, -1).numpy().astype(np.int64) for t in (left, right))
        heads = []
        for one, other in zip(first, second, strict=True):
            together = np.unique(np.concatenate([one, other]))
            self.tie(together[:1], together)
            self.heads.update(together.tolist())
            heads.append(together[0])
        self.give(output, np.array(heads).reshape(*a.shape[:-2], 1, 1))

    def batch_norm(self, name: str, args: Any, kwargs: Any, outputs: Any) -> None:
        x, result = args[0], next(iter(tensors_in((outputs,))))
        labels = self.of(x)
        if labels is None:
            return
        line = self.along(labels, 1, "normalisation over another shape")
        for tensor in args[1:5]:
            if isinstance(tensor, Tensor):
                found = self.axis(tensor, 0)
                self.tie(line, found[2]) if found else self.fix(line, "its statistics are computed")
        self.give(result, labels)

    def layer_norm(self, name: str, args: Any, kwargs: Any, outputs: Any) -> None:
        x, shape, result = args[0], args[1], next(iter(tensors_in((outputs,))))
        labels = self.of(x)
        if labels is None:
            return
        if self.varies(labels, range(x.ndim - len(shape), x.ndim)):
            self.fix(labels, "layer normalisation takes its mean over all channels")
        self.give(result, labels)

    def group_norm(self, name: str, args: Any, kwargs: Any, outputs: Any) -> None:
        x, weight, bias, groups, result = args[0], args[1], args[2], args[6], next(iter(tensors_in((outputs,))))
        labels = self.of(x)
        if labels is None:
            return
        line = self.along(labels, 1, "normalisation over another shape")
        self.tie(line.reshape(groups, -1), line.reshape(groups, -1)[:, :1])
        for tensor in (weight, bias):
            if isinstance(tensor, Tensor):
                found = self.axis(tensor, 0)
                self.tie(line, found[2]) if found else self.fix(line, "its scale is computed")
        self.give(result, labels)

    def reduce(self, name: str, args: Any, kwargs: Any, outputs: Any) -> None:
        x = args[0]
        labels = self.of(x)
        if labels is None:
            return
        given = args[1] if len(args) > 1 else kwargs.get("dim")
        dims = range(x.ndim) if given is None else [given] if isinstance(given, int) else given
        dims = sorted({dim % x.ndim for dim in dims}) or list(range(x.ndim))
        if self.varies(labels, dims):
            self.fix(labels, f"{name} is taken over all channels")
        for dim in dims:
            labels = labels.narrow(dim, 0, 1)
        for result in tensors_in((outputs,)):
            kept = labels
            if result.ndim != x.ndim:
                for dim in reversed(dims):
                    kept = kept.squeeze(dim)
            self.give(result, kept)

    def along_one(self, name: str, args: Any, kwargs: Any, outputs: Any) -> None:
        x, dim = args[0], args[1] if len(args) > 1 else kwargs.get("dim", -1)
        labels = self.of(x)
        if labels is None:
            return
        if self.varies(labels, [dim % x.ndim]):
            self.fix(labels, f"{name} is taken over all channels")
        for result in tensors_in((outputs,)):
            if result.shape == x.shape:
                self.give(result, labels)

    def spatial(self, name: str, args: Any, kwargs: Any, outputs: Any) -> None:
        x = args[0]
        labels = self.of(x)
        if labels is None:
            return
        count = next(n for n in (1, 2, 3) if f"{n}d" in name) if "d" in name else 2
        dims = range(x.ndim - count, x.ndim)
        if self.varies(labels, dims):
            self.fix(labels, f"{name} mixes channels")
        for dim in dims:
            labels = labels.narrow(dim, 0, 1)
        for result in tensors_in((outputs,)):
            self.give(result, labels)

    def pad(self, name: str, args: Any, kwargs: Any, output: Tensor) -> None:
        """New places of a channel belong to it; new channels stay."""
        x, widths = args[:2]
        labels = self.of(x)
        if labels is None:
            return
        for dim in range(1, len(widths) // 2 + 1):
            before, after = widths[2 * dim - 2 : 2 * dim]
            if (before or after) and not self.varies(labels, [x.ndim - dim]):
                labels = labels.narrow(-dim, 0, 1)
            elif before or after:
                labels = nn.functional.pad(labels, [0, 0] * (dim - 1) + [before, after])
        self.give(output, labels)

    def embedding(self, name: str, args: Any, kwargs: Any, output: Tensor) -> None:
        parameter = self.parameters.get(memory_of(args[0]))
        if parameter is None or len(parameter.shape) != 2:
            self._unknown(name, [args[0]], [output])
            return
        self.give(output, self.made(parameter.first[1] + np.arange(parameter.shape[1])))


Rule = Callable[[Tracer, str, Any, Any, Any], None]

_POOLS = (
    "adaptive_avg_pool{}d", "adaptive_max_pool{}d", "avg_pool{}d", "max_pool{}d_with_indices", "upsample_nearest{}d",
    "upsample_linear{}d", "upsample_bilinear{}d", "upsample_bilinear{}d_aa", "upsample_bicubic{}d",
    "upsample_trilinear{}d", "reflection_pad{}d", "replication_pad{}d",
)  # fmt: skip

_RULES: dict[str, Rule] = {
    "convolution": Tracer.convolution,
    "addmm": Tracer.addmm,
    "mm": Tracer.matmul,
    "bmm": Tracer.matmul,
    "baddbmm": Tracer.addmm,
    "batch_norm": Tracer.batch_norm,
    "batch_norm_legit": Tracer.batch_norm,
    "batch_norm_legit_no_training": Tracer.batch_norm,
    "layer_norm": Tracer.layer_norm,
    "group_norm": Tracer.group_norm,
    "embedding": Tracer.embedding,
    "constant_pad_nd": Tracer.pad,
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "std", "prod", "norm"), Tracer.reduce),
    **dict.fromkeys(("softmax", "safe_softmax", "log_softmax", "cumsum", "sort"), Tracer.along_one),
    **dict.fromkeys((kind.format(n) for kind in _POOLS for n in "123"), Tracer.spatial),
}
"""What happens to labels, by operator; pointwise ones are known by their tag."""

_POINTWISE = {"hardtanh", "hardswish", "hardsigmoid", "silu", "mish", "dropout", "copy", "relu6", "prelu_kernel"}
_SUMS = {"add", "relu", "hardtanh", "clamp", "clamp_min", "leaky_relu"}
"""Sums, and activations that change nothing where they stand behind one again: ways from a block's input to its output.
"""

_MOVES = {
    "cat", "stack", "clone", "to_copy", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "index_select", "index",
    "repeat", "roll", "flip", "slice_scatter", "select_scatter", "unsafe_view", "contiguous", "repeat_interleave",
    "gather", "expand_copy", "view_copy", "permute_copy", "slice_copy", "rot90", "tril", "triu",
}  # fmt: skip
"""Operators that move data and change none: what they do to the data they do to the labels."""
