"""What operators do to the labels of a network (`archscout.networks.labels`): one function a kind of operator.

Each takes the labelling, the operator's name and arguments, and what it returned. What an operator with no rule touches
is pinned: it stays whole, with the operator's name as the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from archscout.networks.label_reductions import along_one, glu, reduce, vector_norm
from archscout.networks.labels import Labelling
from archscout.networks.memory import memory_of, tensors_in


def apply(labelling: Labelling, operator: Any, args: Any, kwargs: Any, outputs: Any) -> None:
    """Label what one operator (an overload of ATen) returned, and tie or pin what it combines."""
    operands, results = list(tensors_in((*args, *kwargs.values()))), list(tensors_in((outputs,)))
    name: str = operator._overloadpacket.__name__
    plain = name.strip("_").removeprefix("native_")
    rule = RULES.get(plain)
    try:
        if rule is not None:
            rule(labelling, name, args, kwargs, outputs)
        elif torch.Tag.pointwise in operator.tags or plain in POINTWISE:
            pointwise(labelling, plain, operands, results[0])
        elif plain in MOVES:
            move(labelling, operator, args, kwargs, results)
        else:
            unknown(labelling, plain, operands, results)
    except (IndexError, RuntimeError, ValueError, TypeError, AssertionError):
        unknown(labelling, plain, operands, results)


def unknown(labelling: Labelling, name: str, operands: Sequence[Tensor], results: Sequence[Tensor]) -> None:
    """Whatever went in stays whole; so does what came out."""
    for operand in operands:
        labelling.pin(operand, f"its operator {name} has no rule")
    if any(memory_of(t) in labelling.by_memory for t in operands):
        for result in results:
            labelling.give(result, np.zeros((1,) * max(result.ndim, 1), dtype=np.int32))


def pointwise(labelling: Labelling, name: str, operands: Sequence[Tensor], result: Tensor) -> None:
    """Elements of one place are combined: their atoms are tied, those of parameters along their axes too."""
    labelled = [(t, labels) for t in operands if (labels := labelling.of(t)) is not None]
    if not labelled:
        for operand in operands:
            labelling.pin(operand, "it is computed from other weights")
        return
    full = [labels for t, labels in labelled if t.shape == result.shape]
    if not full:
        for operand, _ in labelled:
            labelling.pin(operand, f"{name} spreads it over other dimensions")
        labelling.give(result, np.zeros((1,) * result.ndim))
        return
    reference = full[0]
    if name in _SUMS:
        labelling.adds.setdefault(memory_of(result), set()).update(
            memory_of(t) for t, _ in labelled if t.shape == result.shape
        )
    for operand, labels in labelled:
        spread = [
            dim
            for dim in range(1, operand.ndim + 1)
            if operand.shape[-dim] == 1 and result.shape[-dim] > 1 and labelling.varies(reference, [result.ndim - dim])
        ]
        spread += [
            dim for dim in range(operand.ndim + 1, result.ndim + 1) if labelling.varies(reference, [result.ndim - dim])
        ]
        if spread:
            labelling.fix(labels, f"{name} spreads it over other channels")
        elif labels is not reference:
            labelling.tie(reference, labels.expand(result.shape))
    for operand in operands:
        if labelling.of(operand) is not None:
            continue
        for dim in range(1, operand.ndim + 1):
            place = result.ndim - dim
            if operand.shape[-dim] == 1 or not labelling.varies(reference, [place]):
                continue
            parameter = labelling.axis(operand, operand.ndim - dim)
            if parameter is None:
                labelling.fix(reference, f"{name} combines it with numbers of a fixed shape")
            else:
                shape = [1] * result.ndim
                shape[place] = result.shape[place]
                labelling.tie(reference, parameter[2].reshape(shape))
    labelling.give(result, reference)


def move(labelling: Labelling, func: Any, args: Any, kwargs: Any, results: Sequence[Tensor]) -> None:
    """Data is moved and none changed: the operator runs on the labels."""

    def labels(value: Any) -> Any:
        if isinstance(value, Tensor):
            if value.dtype in (torch.int64, torch.int32, torch.bool) and labelling.of(value) is None:
                return value  # places, not numbers
            own = labelling.of(value)
            if own is None and (parameter := labelling.parameters.get(memory_of(value))) is not None:
                dim = max((d for d in range(value.ndim) if value.shape[d] > 1), default=0)
                tracked = labelling.axis(value, dim)
                if tracked is not None and parameter is tracked[0]:
                    shape = [1] * value.ndim
                    shape[dim] = value.shape[dim]
                    return torch.as_tensor(tracked[2], dtype=torch.int32).reshape(shape).expand(value.shape)
            return torch.zeros(value.shape, dtype=torch.int32) if own is None else own
        if isinstance(value, list | tuple):
            return type(value)(labels(item) for item in value)
        return value

    options = {key: value for key, value in kwargs.items() if key not in ("dtype", "memory_format", "layout", "device")}
    if func._overloadpacket.__name__ in ("_to_copy", "clone"):
        moved: Any = labels(args[0])
    else:
        moved = func(*labels(args), **{key: labels(value) for key, value in options.items()})
    for result, own in zip(results, list(tensors_in((moved,))), strict=True):
        labelling.give(result, own)


def convolution(labelling: Labelling, name: str, args: Any, kwargs: Any, output: Tensor) -> None:
    """Outputs are of the rows of the weight; inputs are tied to its columns, within groups to each other."""
    x, weight, bias = args[:3]
    transposed, groups = (args[6], args[8]) if name == "convolution" else (False, args[6])
    inputs = labelling.of(x)
    parameter = labelling.parameters.get(memory_of(weight))
    if parameter is None or parameter.shape != tuple(weight.shape) or inputs is None:
        unknown(
            labelling, "convolution with computed weights", [x, weight] + ([bias] if bias is not None else []), [output]
        )
        return
    line = labelling.along(inputs, 1, "convolution over a flattened shape")
    rows = parameter.first[0] + np.arange(weight.shape[0])
    columns = parameter.first[1] + np.arange(weight.shape[1])
    summed, own = (rows, columns) if transposed else (columns, rows)
    if groups == 1:
        labelling.tie(line, summed)
        labelling.consumed.add((parameter.name, 0 if transposed else 1))
    else:
        inside, outside = len(line) // groups, output.shape[1] // groups
        if parameter.name in labelling.within and not transposed:
            labelling.tie(line.reshape(groups, inside), columns)
            labelling.tie(rows.reshape(groups, outside), rows[:outside])
            labelling.consumed.add((parameter.name, 1))
        else:
            labelling.fix(columns, "it is the inside of a group")
            own = rows if not transposed else np.repeat(rows.reshape(groups, -1)[:, 0], outside)
            labelling.tie(line.reshape(groups, inside), rows.reshape(groups, -1)[:, :1])
            labelling.tie(rows.reshape(groups, -1), rows.reshape(groups, -1)[:, :1])
    if bias is not None:
        tracked = labelling.axis(bias, 0)
        labelling.tie(own, tracked[2]) if tracked else labelling.fix(own, "its bias is computed")
    labelling.give(output, labelling.make(own).reshape(-1, *[1] * (output.ndim - 2)))


def addmm(labelling: Labelling, name: str, args: Any, kwargs: Any, output: Tensor) -> None:
    """A matrix product with a bias."""
    bias, x, weight = args[:3]
    matmul(labelling, name, (x, weight), {}, output)
    labels = labelling.of(output)
    if labels is None:
        return
    parameter = labelling.axis(bias, bias.ndim - 1)
    if labelling.varies(labels, range(labels.ndim - 1)):
        return  # a layer over places has a bias of places, which all stay
    line = labelling.along(labels, labels.ndim - 1, "a bias of another shape")
    labelling.tie(line, parameter[2]) if parameter else labelling.fix(line, "its bias is computed")


def matmul(labelling: Labelling, name: str, args: Any, kwargs: Any, output: Tensor) -> None:
    """By a weight: a linear layer, over channels or over places; of two activations: attention, each head a unit."""
    a, b = args[:2]
    left, right = labelling.of(a), labelling.of(b)
    if left is None and right is not None and memory_of(a) in labelling.parameters:
        _matrix_before(labelling, a, right, output)
        return
    rows, columns = labelling.axis(b, b.ndim - 2), labelling.axis(b, b.ndim - 1)
    if left is not None and rows is not None and columns is not None:
        parameter, axis, summed = rows
        places = list(range(left.ndim - 1))
        if labelling.varies(left, places):
            reason = "it mixes places, not channels"
            labelling.fix(summed, reason)
            labelling.fix(columns[2], reason)
            if labelling.varies(left, [left.ndim - 1]):
                labelling.fix(left, reason)
            labelling.make(columns[2])
            labelling.give(output, left[..., :1])
            return
        line = labelling.along(left, left.ndim - 1, "a matrix product over another shape")
        labelling.tie(line, summed)
        labelling.consumed.add((parameter.name, axis))
        labelling.give(output, labelling.make(columns[2]))
        return
    if left is None or right is None:
        unknown(labelling, name, [a, b], [output])
        return
    count = int(np.prod(a.shape[:-2], dtype=int))
    first, second = (t.reshape(count, -1).numpy().astype(np.int64) for t in (left, right))
    heads = []
    for one, other in zip(first, second, strict=True):
        together = np.unique(np.concatenate([one, other]))
        labelling.tie(together[:1], together)
        labelling.heads.update(together.tolist())
        heads.append(together[0])
    labelling.give(output, np.array(heads).reshape(*a.shape[:-2], 1, 1))


def _matrix_before(labelling: Labelling, matrix: Tensor, labels: Tensor, output: Tensor) -> None:
    """By a weight on the left (what `einsum` may make of a layer), which sums over the last but one dimension of what
    has these labels."""
    rows, columns = labelling.axis(matrix, matrix.ndim - 2), labelling.axis(matrix, matrix.ndim - 1)
    assert rows is not None and columns is not None
    if labelling.varies(labels, [labels.ndim - 1]):
        for _, _, atoms in (rows, columns):
            labelling.fix(atoms, "it mixes places, not channels")
        if labelling.varies(labels, [labels.ndim - 2]):
            labelling.fix(labels, "a matrix product over another shape")
        labelling.give(output, labels.narrow(-2, 0, 1))
        return
    parameter, axis, summed = columns
    labelling.tie(labelling.along(labels, labels.ndim - 2, "a matrix product over another shape"), summed)
    labelling.consumed.add((parameter.name, axis))
    labelling.give(output, labelling.make(rows[2]).reshape(-1, 1))


def batch_norm(labelling: Labelling, name: str, args: Any, kwargs: Any, outputs: Any) -> None:
    """Channels are tied to the scales and statistics of theirs."""
    x, result = args[0], next(iter(tensors_in((outputs,))))
    labels = labelling.of(x)
    if labels is None:
        return
    line = labelling.along(labels, 1, "normalisation over another shape")
    for tensor in args[1:5]:
        if isinstance(tensor, Tensor):
            parameter, repeated = labelling.axis(tensor, 0), labelling.of(tensor)
            if parameter:
                labelling.tie(line, parameter[2])
            elif repeated is not None:  # by instance normalisation, for each example
                labelling.tie(line, repeated)
            else:
                labelling.fix(line, "its statistics are computed")
    labelling.give(result, labels)


def layer_norm(labelling: Labelling, name: str, args: Any, kwargs: Any, outputs: Any) -> None:
    """Channels stay where the mean is over them."""
    x, shape, result = args[0], args[1], next(iter(tensors_in((outputs,))))
    labels = labelling.of(x)
    if labels is None:
        return
    if labelling.varies(labels, range(x.ndim - len(shape), x.ndim)):
        labelling.fix(labels, "layer normalisation takes its mean over all channels")
    labelling.give(result, labels)


def group_norm(labelling: Labelling, name: str, args: Any, kwargs: Any, outputs: Any) -> None:
    """The channels of a group are tied to each other and to their scales."""
    x, weight, bias, groups, result = args[0], args[1], args[2], args[6], next(iter(tensors_in((outputs,))))
    labels = labelling.of(x)
    if labels is None:
        return
    line = labelling.along(labels, 1, "normalisation over another shape")
    labelling.tie(line.reshape(groups, -1), line.reshape(groups, -1)[:, :1])
    for tensor in (weight, bias):
        if isinstance(tensor, Tensor):
            parameter = labelling.axis(tensor, 0)
            labelling.tie(line, parameter[2]) if parameter else labelling.fix(line, "its scale is computed")
    labelling.give(result, labels)


def spatial(labelling: Labelling, name: str, args: Any, kwargs: Any, outputs: Any) -> None:
    """Pooling and its like: channels stay channels, all places are of them."""
    x = args[0]
    labels = labelling.of(x)
    if labels is None:
        return
    count = next(n for n in (1, 2, 3) if f"{n}d" in name) if "d" in name else 2
    dims = range(x.ndim - count, x.ndim)
    if labelling.varies(labels, dims):
        labelling.fix(labels, f"{name} mixes channels")
    for dim in dims:
        labels = labels.narrow(dim, 0, 1)
    for result in tensors_in((outputs,)):
        labelling.give(result, labels)


def pad(labelling: Labelling, name: str, args: Any, kwargs: Any, output: Tensor) -> None:
    """New places of a channel belong to it; new channels stay."""
    x, widths = args[:2]
    labels = labelling.of(x)
    if labels is None:
        return
    for dim in range(1, len(widths) // 2 + 1):
        before, after = widths[2 * dim - 2 : 2 * dim]
        if (before or after) and not labelling.varies(labels, [x.ndim - dim]):
            labels = labels.narrow(-dim, 0, 1)
        elif before or after:
            labels = nn.functional.pad(labels, [0, 0] * (dim - 1) + [before, after])
    labelling.give(output, labels)


def embedding(labelling: Labelling, name: str, args: Any, kwargs: Any, output: Tensor) -> None:
    """Makes the columns of its weight."""
    parameter = labelling.parameters.get(memory_of(args[0]))
    if parameter is None or len(parameter.shape) != 2:
        unknown(labelling, name, [args[0]], [output])
        return
    labelling.give(output, labelling.make(parameter.first[1] + np.arange(parameter.shape[1])))


Rule = Callable[[Labelling, str, Any, Any, Any], None]

_POOLS = (
    "adaptive_avg_pool{}d", "adaptive_max_pool{}d", "avg_pool{}d", "max_pool{}d_with_indices", "upsample_nearest{}d",
    "upsample_linear{}d", "upsample_bilinear{}d", "upsample_bilinear{}d_aa", "upsample_bicubic{}d",
    "upsample_trilinear{}d", "reflection_pad{}d", "replication_pad{}d",
)  # fmt: skip

RULES: dict[str, Rule] = {
    "convolution": convolution,
    "addmm": addmm,
    "mm": matmul,
    "bmm": matmul,
    "baddbmm": addmm,
    "batch_norm": batch_norm,
    "batch_norm_legit": batch_norm,
    "batch_norm_legit_no_training": batch_norm,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "embedding": embedding,
    "constant_pad_nd": pad,
    "glu": glu,
    **dict.fromkeys(("linalg_vector_norm", "norm"), vector_norm),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "std", "prod", "logsumexp"), reduce),
    **dict.fromkeys(("softmax", "safe_softmax", "log_softmax", "cumsum", "sort"), along_one),
    **dict.fromkeys((kind.format(n) for kind in _POOLS for n in "123"), spatial),
}
"""What happens to labels, by operator; pointwise ones are known by their tag."""

POINTWISE = {"hardtanh", "hardswish", "hardsigmoid", "silu", "mish", "dropout", "copy", "relu6", "prelu_kernel"}
_SUMS = {"add", "relu", "hardtanh", "clamp", "clamp_min", "leaky_relu"}
"""Sums, and activations that change nothing where they stand behind one again: ways from a block's input to its output.
"""

MOVES = {
    "cat", "stack", "clone", "to_copy", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "index_select", "index",
    "repeat", "roll", "flip", "slice_scatter", "select_scatter", "unsafe_view", "contiguous", "repeat_interleave",
    "gather", "expand_copy", "view_copy", "permute_copy", "slice_copy", "rot90", "tril", "triu",
}  # fmt: skip
"""Operators that move data and change none: what they do to the data they do to the labels."""
