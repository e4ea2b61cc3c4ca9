"""Many backward passes as one, through what autograd has recorded of a forward pass.

Through batch normalisation every output depends on every example, so the gradients of N outputs take N passes; what a
pass costs is mostly the calls and their unsuited kernels. Here the gradients of several passes go side by side, P
behind the first dimension (N x P x C x H x W), through the nodes of the recorded graph in turn. Layers whose own
backward kernels are slow on few channels run as what they are the adjoint of: a convolution as a convolution with the
kernel turned round, of two passes at once where their channels are few, average pooling as sums of shifted maps, batch
normalisation on P C channels. A node of a kind that is not known here is called once a pass, as autograd calls it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_aten: Any = torch.ops.aten

Node = Any
"""What `grad_fn` of a tensor is."""

Heard = Callable[[Tensor], None]

_FEW = 6
"""Channels up to which convolutions of two passes run as one of twice the channels, whose kernels fill their lanes."""


class Passes:
    """Backward passes from one tensor to some nodes of its graph.

    Args:
        root: the tensor; its graph is left as it is and can be used again.
        heard: for each node of interest a function that is shown the gradients of its output (N x P x ...).
        weighed: the same for convolutions without bias, in two steps: what makes the gradients of the weights of
            those of its output, in a linear way (P x C x numbers), and what is shown them.
        scales: for batch normalisations (those for which `has_scale` holds) what is shown the gradients of the weights
            (P x C).
    """

    def __init__(
        self,
        root: Tensor,
        heard: Mapping[Node, Heard],
        weighed: Mapping[Node, tuple[Callable[[Tensor], Tensor], Heard]] | None = None,
        scales: Mapping[Node, Heard] | None = None,
    ) -> None:
        self.root, self.heard, self.weighed, self.scales = root.grad_fn, heard, weighed or {}, scales or {}
        self._order = _order(root.grad_fn, {*heard, *self.weighed, *self.scales})
        users = Counter(parent for node in self._order for parent, _ in node.next_functions)
        self._pairs = {
            node: before
            for node in self._order
            for before, _ in node.next_functions[:1]
            if has_scale(node) and before in self.weighed and users[before] == 1 and _gains(node, before)
        }
        self._paired = set(self._pairs.values())
        self._leading = set(self._order)
        self._held: dict[tuple[Node, int], tuple[Tensor, ...]] = {}
        self.own = False
        """Whether nobody else holds the gradient that a node is given, so that it may be overwritten."""

    @torch.no_grad()
    def run(self, cotangent: Tensor) -> None:
        """Several passes, given the gradients of the root (N x P x ...)."""
        waiting: dict[Node, dict[int, tuple[Tensor, bool]]] = {self.root: {0: (cotangent, False)}}
        for node in self._order:
            arrived = waiting.pop(node, None)
            if arrived is None:
                continue
            if node in self.heard:
                self.heard[node](arrived[0][0])
            if node in self.weighed and node not in self._paired:
                weigh, show = self.weighed[node]
                show(weigh(arrived[0][0]))
            parents = [edge if edge[0] in self._leading else (None, 0) for edge in node.next_functions]
            if node not in self.scales and all(parent is None for parent, _ in parents):
                continue
            gradients = {number: gradient for number, (gradient, _) in arrived.items()}
            self.own = set(arrived) == {0} and arrived[0][1]
            several = self._back(node, gradients)
            for (parent, number), made in zip(parents, several, strict=False):
                if parent is None or made is None:
                    continue
                there = waiting.setdefault(parent, {})
                if isinstance(made, _Part):
                    there[number] = made.added(there.get(number))
                    continue
                alone = sum(other is made for other in several) == 1
                fresh = alone and (self.own or all(made is not gradient for gradient in gradients.values()))
                made = _fit(made, tuple(parent._input_metadata[number].shape))
                if number in there:
                    total, own = there[number]
                    there[number] = (total.add_(made) if own else total + made, True)
                else:
                    there[number] = (made, fresh)

    def _back(self, node: Node, gradients: dict[int, Tensor]) -> Made:
        if len(gradients) == 1 and 0 in gradients:
            handler = _norm_of_convolution if node in self._pairs else _HANDLERS.get(type(node).__name__)
            made = handler(self, node, gradients[0]) if handler else None
            if made is not None:
                return made
        self.own = False
        return _one_by_one(node, gradients)

    def convolution(self, node: Node) -> Node:
        """The convolution whose output alone a batch normalisation is given, one of `weighed`."""
        return self._pairs[node]

    def leads_on(self, node: Node) -> bool:
        return any(parent in self._leading for parent, _ in node.next_functions)

    def weight(self, node: Node) -> Tensor:
        """Of a convolution; times the factor that the normalisation behind it has left out."""
        weight: Tensor = node._saved_weight
        if node not in self._paired:
            return weight
        factor = self._held[node, 0][0]
        return weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))

    def hold(self, node: Node, passes: int, make: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What a node needs for so many passes, made the first time."""
        key = (node, passes)
        if key not in self._held:
            self._held[key] = make()
        return self._held[key]


def has_scale(node: Node) -> bool:
    """Whether the gradients of a batch normalisation's weights fall out of its backward pass."""
    return type(node).__name__ == "NativeBatchNormBackward0" and bool(node._saved_training)


def _gains(norm: Node, convolution: Node) -> bool:
    """Whether a map has more places than a channel has weights, so that sums over weights are the cheaper ones."""
    places, weights = norm._saved_input[0, 0].numel(), convolution._saved_weight[0].numel()
    return bool(places > weights)


def _order(root: Node, heard: Collection[Node]) -> list[Node]:
    """The nodes from which something of interest is reached, each before those that it hands on to."""
    after: list[Node] = []
    leading: dict[Node, bool] = {}
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, left = stack.pop()
        parents = [parent for parent, _ in node.next_functions if parent is not None]
        if left:
            leading[node] = node in heard or any(leading[parent] for parent in parents)
            after.append(node)
        elif node not in leading:
            leading[node] = False
            stack.append((node, True))
            stack += [(parent, False) for parent in parents if parent not in leading]
    return [node for node in reversed(after) if leading[node]]


def _fit(gradient: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A gradient summed over what its tensor was broadcast along."""
    own = gradient.shape[:1] + gradient.shape[2:] if shape else gradient.shape[1:]
    if tuple(own) == shape:
        return gradient
    passes = gradient.unbind(0 if gradient.ndim == 1 else 1)
    return torch.stack([each.sum_to_size(shape) for each in passes], 1 if shape else 0)


def _one_by_one(node: Node, gradients: dict[int, Tensor]) -> list[Tensor | None]:
    """What the node itself makes of the gradients of each pass."""
    passes = next(iter(gradients.values())).shape[1]
    call = node if callable(node) else node.apply  # the latter of functions that are written in Python
    rows = []
    for number in range(passes):
        given = [gradients[place].select(1, number) if place in gradients else None for place in range(_outputs(node))]
        made = call(*given)
        rows.append(made if isinstance(made, tuple) else (made,))
    return [None if column[0] is None else torch.stack(column, 1) for column in zip(*rows, strict=True)]


def _outputs(node: Node) -> int:
    return len(node._input_metadata)


# -- kinds of nodes: gradients of the inputs (None: not this one) ------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """A gradient that is zero but for a place."""

    gradient: Tensor
    place: tuple[slice, ...]
    shape: list[int]

    def added(self, before: tuple[Tensor, bool] | None) -> tuple[Tensor, bool]:
        """To a gradient, which may be overwritten or not; in a tensor that nobody else holds."""
        if before is None:
            whole = self.gradient.new_zeros(self.shape)
            whole[self.place] = self.gradient
        else:
            whole = before[0] if before[1] else before[0].clone()
            whole[self.place] += self.gradient
        return whole, True


Made = Sequence[Tensor | _Part | None]
Handler = Callable[[Passes, Node, Tensor], Made | None]


def _relu(passes: Passes, node: Node, gradient: Tensor) -> Made | None:
    into = gradient if passes.own else torch.empty_like(gradient)
    result = node._saved_result[:, None].expand_as(gradient)
    return [_aten.threshold_backward.grad_input(gradient, result, 0, grad_input=into)]


def _add(passes: Passes, node: Node, gradient: Tensor) -> Made | None:
    return [gradient, gradient] if node._saved_alpha == 1 else None


def _weighted_sum(passes: Passes, node: Node, gradient: Tensor) -> Made | None:
    if node.needs_input_grad[0]:
        return None
    weights = node.saved_tensors[0].tolist()
    products = {weight: gradient if weight == 1 else gradient * weight for weight in set(weights)}
    return [None, *(products[weight] for weight in weights)]


def _multiply(passes: Passes, node: Node, gradient: Tensor) -> Made | None:
    gradients: list[Tensor | None] = []
    for factor in (node._saved_other, node._saved_self):
        if factor is not None and factor.ndim > gradient.ndim - 1:
            return None
        gradients.append(
            None if factor is None else gradient * (factor[:, None] if factor.ndim == gradient.ndim - 1 else factor)
        )
    return gradients


def _average(passes: Passes, node: Node, gradient: Tensor) -> Made | None:
    shape = list(node._saved_self_sym_sizes)
    dims = sorted(_signed(dim) % len(shape) for dim in node._saved_dim)
    if not dims or dims[0] == 0:
        return None
    for dim in dims if not node._saved_keepdim else ():
        gradient = gradient.unsqueeze(dim + 1)
    count = 1
    for dim in dims:
        count *= shape[dim]
    whole = (shape[0], gradient.shape[1], *shape[1:])
    return [(gradient / count).expand(whole).contiguous()]


def _signed(saved: int) -> int:
    """A number as it was recorded: negative ones without their sign."""
    return saved - (1 << 64) if saved >= 1 << 63 else saved


def _part(passes: Passes, node: Node, gradient: Tensor) -> Made | None:
    shape = list(node._saved_self_sym_sizes)
    dim = _signed(node._saved_dim) % len(shape)
    if not dim:
        return None
    whole = [shape[0], gradient.shape[1], *shape[1:]]
    seen = slice(_signed(node._saved_start), _signed(node._saved_end), node._saved_step)
    return [_Part(gradient, (*(slice(None),) * (dim + 1), seen), whole)]


def _padded(passes: Passes, node: Node, gradient: Tensor) -> Made | None:
    pads = [_signed(pad) for pad in node._saved_pad]
    if len(pads) // 2 > gradient.ndim - 2:
        return None
    return [F.pad(gradient, [-pad for pad in pads])]


def _linear(passes: Passes, node: Node, gradient: Tensor) -> Made | None:
    if node._saved_mat2 is None:
        return None
    made = gradient @ node._saved_mat2.t()
    return [None, made if node._saved_alpha == 1 else made * node._saved_alpha, None]


def _norm(passes: Passes, node: Node, gradient: Tensor) -> Made | None:
    x = node._saved_input
    if not node._saved_training:
        return None
    count = gradient.shape[1]
    channels = x.shape[1]

    def beside() -> tuple[Tensor, ...]:
        wide = x[:, None].expand(len(x), count, *x.shape[1:]).reshape(len(x), count * channels, *x.shape[2:])
        weight = torch.ones_like(node._saved_result1) if node._saved_weight is None else node._saved_weight
        return wide, *(row.repeat(count) for row in (weight, node._saved_result1, node._saved_result2))

    wide, weight, mean, deviation = passes.hold(node, count, beside)
    made, scales, _ = _aten.native_batch_norm_backward(
        gradient.reshape(wide.shape), wide, weight, None, None, mean, deviation, True, node._saved_eps,
        [True, node in passes.scales, False],
    )  # fmt: skip
    if node in passes.scales:
        passes.scales[node](scales.view(count, channels))
    return [made.reshape(gradient.shape), None, None]


def _norm_of_convolution(passes: Passes, node: Node, gradient: Tensor) -> Made | None:
    """A normalisation w n + b of x = W u, without a pass over maps for what the gradients of W say already.

    The gradient of x is f (g - mean(g) - n mean(g n)), with g that of the output and f = w / s. With U(g) the gradient
    of W for g, the sum of g x is W U(g), and the gradient of W is f (U(g) - mean(g) U(1) - mean(g n) U(n)). The factor
    f goes into the weights with which the convolution hands on.
    """
    x, convolution = node._saved_input, passes.convolution(node)
    weigh, show = passes.weighed[convolution]
    mean, inverse = node._saved_result1, node._saved_result2
    shape = (1, 1, -1, *(1,) * (x.ndim - 2))

    count = x.numel() // x.shape[1]
    factor = inverse if node._saved_weight is None else inverse * node._saved_weight
    passes.hold(convolution, 0, lambda: (factor,))

    def fixed() -> tuple[Tensor, ...]:
        normal = (x[:, None] - mean.view(shape)) * inverse.view(shape)
        of_ones, of_normal = (weigh(each) * factor[:, None] for each in (torch.ones_like(normal), normal))
        return normal, of_ones, of_normal, convolution._saved_weight.flatten(1) * (inverse / count)[:, None]

    normal, of_ones, of_normal, weight = passes.hold(node, 0, fixed)
    raw = weigh(gradient)
    means = gradient.sum([place for place in range(gradient.ndim) if place not in (1, 2)]) / count
    along = torch.linalg.vecdot(raw, weight) - means * (mean * inverse)
    if node in passes.scales:
        passes.scales[node](along * count)
    per_example = (raw * factor[:, None]).addcmul_(means[:, :, None], of_ones, value=-1)
    show(per_example.addcmul_(along[:, :, None], of_normal, value=-1))
    if not passes.leads_on(convolution):
        return [None, None, None]
    spread = (1, *means.shape, *shape[3:])
    return [torch.addcmul(gradient, normal, along.view(spread), value=-1).sub_(means.view(spread)), None, None]


def _convolution(passes: Passes, node: Node, gradient: Tensor) -> Made | None:
    weight, x = passes.weight(node), node._saved_input
    if x.ndim != 4 or node._saved_transposed:
        return None
    count = gradient.shape[1]
    flat = gradient.reshape(-1, *gradient.shape[2:])
    stride, padding = tuple(node._saved_stride), tuple(node._saved_padding)
    plain = node._saved_groups == 1 and tuple(node._saved_dilation) == (1, 1)
    if plain and stride == (1, 1) and all(k > p for k, p in zip(weight.shape[2:], padding, strict=True)):
        beside = 2 if max(weight.shape[:2]) <= _FEW and len(flat) % 2 == 0 else 1
        turned = passes.hold(node, beside, lambda: (_turned(weight, beside),))[0]
        both = flat.reshape(-1, beside * flat.shape[1], *flat.shape[2:])
        if weight.shape[2:] == (1, 1):
            made = torch.matmul(turned[:, :, 0, 0], both.flatten(2))
        else:
            made = F.conv2d(both, turned, padding=[k - 1 - p for k, p in zip(weight.shape[2:], padding, strict=True)])
    elif plain and stride == (2, 2) and padding == (1, 1) and weight.shape[2:] == (3, 3) and _even(x, flat):
        phases = passes.hold(node, 1, lambda: (_phases(weight),))[0]
        parts = F.conv2d(F.pad(flat, (0, 1, 0, 1)), phases).reshape(len(flat), -1, 2, 2, *flat.shape[2:])
        made = flat.new_empty((len(flat), *x.shape[1:]))
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            made[:, :, row::2, column::2] = parts[:, :, row, column]
    else:
        like = x[:1].expand(len(flat), *x.shape[1:])
        made, _, _ = _aten.convolution_backward(
            flat, like, weight, None, stride, padding, node._saved_dilation, False, node._saved_output_padding,
            node._saved_groups, [True, False, False],
        )  # fmt: skip
    return [made.reshape(len(x), count, *x.shape[1:]), None, None]


def _turned(weight: Tensor, beside: int) -> Tensor:
    """The adjoint of a convolution of stride 1, for so many maps whose channels lie one behind the other."""
    turned = weight.flip(2, 3).transpose(0, 1)
    taps = turned.flatten(2).unbind(2)
    blocks = torch.stack([torch.block_diag(*[tap] * beside) for tap in taps], 2)  # type: ignore[no-untyped-call]
    return blocks.reshape(*blocks.shape[:2], *weight.shape[2:])


def _even(x: Tensor, y: Tensor) -> bool:
    return x.shape[2] == 2 * y.shape[2] and x.shape[3] == 2 * y.shape[3]


def _phases(weight: Tensor) -> Tensor:
    """The adjoint of a 3 x 3 convolution of stride 2 as one of stride 1: a kernel for even and odd rows and columns.

    An even place of the input is seen by the middle of one kernel, an odd one by the end of one and the beginning of
    the next.
    """
    outputs, inputs = weight.shape[:2]
    made = weight.new_zeros((inputs, 2, 2, outputs, 2, 2))
    taps = ({0: 1}, {0: 2, 1: 0})
    for row in (0, 1):
        for column in (0, 1):
            for down, i in taps[row].items():
                for right, j in taps[column].items():
                    made[:, row, column, :, down, right] = weight[:, :, i, j].t()
    return made.reshape(inputs * 4, outputs, 2, 2)


def _pool(passes: Passes, node: Node, gradient: Tensor) -> Made | None:
    x = node._saved_self
    if x.ndim != 4:
        return None
    flat = gradient.reshape(-1, *gradient.shape[2:])
    kernel, padding = tuple(node._saved_kernel_size), tuple(node._saved_padding)
    stride = tuple(node._saved_stride) or kernel
    settings = (node._saved_ceil_mode, node._saved_count_include_pad, node._saved_divisor_override)
    if (kernel, stride, padding) == ((3, 3), (1, 1), (1, 1)) and settings[2] is None and min(x.shape[2:]) > 1:
        made = three_sums(flat / passes.hold(node, 0, lambda: (_counted(x, settings[1]),))[0])
    elif kernel == stride and padding == (0, 0) and settings[2] is None and _whole(x, kernel):
        high, wide = kernel
        each = flat / (high * wide)
        made = flat.new_empty((*flat.shape[:3], high, flat.shape[3], wide))
        for row, column in itertools.product(range(high), range(wide)):
            made[:, :, :, row, :, column] = each
    else:
        like = x[:1].expand(len(flat), *x.shape[1:])
        made = _aten.avg_pool2d_backward(flat, like, kernel, stride, padding, *settings)
    return [made.reshape(len(x), gradient.shape[1], *x.shape[1:])]


def _whole(x: Tensor, kernel: tuple[int, ...]) -> bool:
    return x.shape[2] % kernel[0] == 0 and x.shape[3] % kernel[1] == 0


def _counted(x: Tensor, padding_too: bool) -> Tensor:
    """How many places a window of 3 x 3 averages, by its place."""
    ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    return ones * 9 if padding_too else three_sums(ones)


def three_sums(x: Tensor) -> Tensor:
    """The sum over windows of 3 x 3, with zeros around (N x C x H x W, H and W above 1).

    Rows lie one after the other, so that a shift by one column is one of the whole tensor; only the first and the last
    column then have what is not theirs.
    """
    x = x.contiguous()
    beside = x.clone()
    flat, long = beside.view(-1), x.view(-1)
    flat[1:].add_(long[:-1])
    flat[:-1].add_(long[1:])
    torch.add(x[..., 0], x[..., 1], out=beside[..., 0])
    torch.add(x[..., -1], x[..., -2], out=beside[..., -1])
    made = beside.clone()
    made[..., 1:, :].add_(beside[..., :-1, :])
    made[..., :-1, :].add_(beside[..., 1:, :])
    return made


_HANDLERS: dict[str, Handler] = {
    "ReluBackward0": _relu,
    "AddBackward0": _add,
    "MulBackward0": _multiply,
    "MeanBackward1": _average,
    "_WeightedSumBackward": _weighted_sum,
    "AddmmBackward0": _linear,
    "SliceBackward0": _part,
    "ConstantPadNdBackward0": _padded,
    "NativeBatchNormBackward0": _norm,
    "ConvolutionBackward0": _convolution,
    "AvgPool2DBackward0": _pool,
}
