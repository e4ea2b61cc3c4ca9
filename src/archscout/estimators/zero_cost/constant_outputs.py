"""What expressions of one channel come to under one constant for all weights, with few passes over memory.

- tensors are H x W x N, so that sums over windows are sums of long rows, and their memory is used again;
- values are kept as sums of multiples of tensors: a 1 x 1 convolution, batch normalisation and a sum cost nothing until
  a ReLU or a window asks for numbers;
- a summand that is below the rounding of the rest of its sum is not computed: with small constants whatever passes a
  convolution, beside what does not.

Outputs are remembered by expression, for many architectures of a space share one.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from archscout.estimators.zero_cost.expression import Map, Term

_REMEMBERED = 8192
"""Outputs of expressions that are kept."""

_LAZY = frozenset({"conv", "norm", "relu"})
"""Kinds of terms that are not evaluated before something asks for them."""


class _Memory:
    """Tensors by size, used again when nobody holds their `Numbers` any more."""

    def __init__(self, like: Tensor) -> None:
        self.like = like
        self.free: dict[Map, list[Tensor]] = {}

    def take(self, size: Map) -> Numbers:
        kept = self.free.setdefault(size, [])
        tensor = kept.pop() if kept else self.like.new_empty((*size, self.like.shape[-1]))
        return Numbers(tensor, kept)


class Numbers:
    """A tensor (H x W x N) and, once asked for, its mean and variance."""

    def __init__(self, tensor: Tensor, home: list[Tensor]) -> None:
        self.tensor, self._home = tensor, home
        self.moments: tuple[float, float] | None = None
        self.peak: float | None = None

    def __del__(self) -> None:
        self._home.append(self.tensor)


@dataclass
class Form:
    """constant + the sum of factor x numbers."""

    constant: float = 0.0
    parts: list[tuple[float, Numbers]] = field(default_factory=list)

    def times(self, factor: float) -> Form:
        return Form(self.constant * factor, [(f * factor, numbers) for f, numbers in self.parts])


class _Evaluation:
    """Terms under one constant for all weights."""

    def __init__(self, x: Tensor, weight: float, memory: _Memory) -> None:
        self.weight, self.memory = weight, memory
        self.tiny = torch.finfo(x.dtype).eps / 2
        self.values: dict[bytes, Form] = {}
        # The input is not this evaluation's to write to.
        self.input = Form(0.0, [(1.0, Numbers(x, []))])
        self.output: Tensor | None = None

    def run(self, terms: Sequence[Term]) -> Tensor:
        for term, last in zip(terms, _last_uses(terms), strict=True):
            if term.size is None:
                self._behind_maps(term)
            elif term.kind not in _LAZY:
                self.value(term)
            for key in last:
                self.values.pop(key, None)
        assert self.output is not None
        return self.output

    def _behind_maps(self, term: Term) -> None:
        if term.kind == "places":
            form = self.value(term.parts[0])
            made = self.memory.like.new_full(self.memory.like.shape[-1:], form.constant)
            for factor, numbers in form.parts:
                rows = numbers.tensor.flatten(0, 1)
                made.add_(rows.sum(0), alpha=factor / len(rows))
            self.output = made
        else:
            assert self.output is not None
            self.output = self.output * (self.weight * term.detail[0])

    def value(self, term: Term) -> Form:
        form = self.values.get(term.key)
        if form is None:
            form = self.values[term.key] = getattr(self, f"_{term.kind}")(term)
        return form

    # -- kinds of terms --

    def _input(self, term: Term) -> Form:
        return self.input

    def _zero(self, term: Term) -> Form:
        return Form()

    def _conv(self, term: Term) -> Form:
        inputs, kernel, stride, padding, _ = term.detail
        x = self.value(term.parts[0])
        factor = self.weight * inputs
        if (kernel, stride, padding) == ((1, 1), (1, 1), (0, 0)):
            return x.times(factor)
        if not x.parts and not x.constant:
            return Form()
        assert term.size is not None
        return Form(0.0, [(factor, self._window(self._numbers(x, term.parts[0]), term.detail[1:], term.size))])

    def _norm(self, term: Term) -> Form:
        affine, eps = term.detail
        x = self.value(term.parts[0])
        if not x.parts:
            return Form()
        factor, numbers = x.parts[0]
        if len(x.parts) > 1:
            factor, numbers = 1.0, self._numbers(Form(0.0, x.parts), term.parts[0])
        mean, variance = self._moments(numbers)
        if not variance and not mean:
            return Form()
        scale = factor / math.sqrt(factor * factor * variance + eps) * (self.weight if affine else 1.0)
        return Form(-mean * scale, [(scale, numbers)])

    def _relu(self, term: Term) -> Form:
        x = self.value(term.parts[0])
        if not x.parts:
            return Form(max(0.0, x.constant))
        assert term.size is not None
        numbers = self._numbers(x, term.parts[0])
        if any(numbers is held for _, held in x.parts):
            made = self.memory.take(term.size)
            torch.clamp_min(numbers.tensor, 0, out=made.tensor)
            return Form(0.0, [(1.0, made)])
        numbers.tensor.clamp_min_(0)
        return Form(0.0, [(1.0, numbers)])

    def _pool(self, term: Term) -> Form:
        x = self.value(term.parts[0])
        if not x.parts:
            return x
        assert term.size is not None
        source = term.parts[0].size
        assert source is not None
        made = self._window(self._numbers(Form(0.0, x.parts), term.parts[0]), term.detail, term.size)
        made.tensor.mul_(_shares(source, term.size, term.detail, made.tensor.dtype))
        return Form(x.constant, [(1.0, made)])

    def _sum(self, term: Term) -> Form:
        rest: list[Term] = []
        faint: list[Term] = []
        for part in term.parts:
            (faint if self._gain(part) < self.tiny and part.key not in self.values else rest).append(part)
        total = Form()
        for part in rest:
            self._add(total, self.value(part))
        if faint and total.parts:
            level = self.tiny * self._root_mean_square(total, term)
            faint = [part for part in faint if not self._bound(part) < level]
        for part in faint:
            self._add(total, self.value(part))
        return total

    # -- numbers --

    @staticmethod
    def _add(total: Form, other: Form) -> None:
        total.constant += other.constant
        for factor, numbers in other.parts:
            for place, (known, held) in enumerate(total.parts):
                if held is numbers:
                    total.parts[place] = (known + factor, held)
                    break
            else:
                total.parts.append((factor, numbers))

    def _numbers(self, form: Form, term: Term) -> Numbers:
        """The form as one tensor; a new one, unless the form is one."""
        parts = sorted(form.parts, key=lambda part: part[0] != 1.0)
        assert term.size is not None
        if len(parts) == 1 and parts[0][0] == 1.0 and not form.constant:
            return parts[0][1]
        made = self.memory.take(term.size)
        if not parts:
            made.tensor.fill_(form.constant)
            return made
        (factor, first), *others = parts
        if factor != 1.0:
            torch.mul(first.tensor, factor, out=made.tensor)
        elif others:
            (by, second), *others = others
            torch.add(first.tensor, second.tensor, alpha=by, out=made.tensor)
        else:
            torch.add(first.tensor, form.constant, out=made.tensor)
            return made
        for by, numbers in others:
            made.tensor.add_(numbers.tensor, alpha=by)
        if form.constant:
            made.tensor.add_(form.constant)
        return made

    def _moments(self, numbers: Numbers) -> tuple[float, float]:
        if numbers.moments is None:
            size = numbers.tensor.shape
            mean = float(numbers.tensor.mean())
            spare = self.memory.take((size[0], size[1]))
            row = torch.sub(numbers.tensor, mean, out=spare.tensor).view(-1)
            numbers.moments = mean, float(torch.dot(row, row)) / row.numel()
        return numbers.moments

    def _window(self, x: Numbers, window: tuple[Map, Map, Map, Map], size: Map) -> Numbers:
        kernel, stride, padding, dilation = window
        down = self.memory.take((size[0], x.tensor.shape[1]))
        _sums(x.tensor, down.tensor, kernel[0], stride[0], padding[0], dilation[0])
        if kernel[1] == 1 and stride[1] == 1 and not padding[1]:
            return down
        made = self.memory.take(size)
        _sums(down.tensor.transpose(0, 1), made.tensor.transpose(0, 1), kernel[1], stride[1], padding[1], dilation[1])
        return made

    # -- what need not be computed --

    def _gain(self, term: Term) -> float:
        """How much larger than the tensor behind a convolution and its normalisation what they make of it can be."""
        if term.kind != "norm" or term.parts[0].kind != "conv":
            return math.inf
        affine, eps = term.detail
        inputs, kernel, *_ = term.parts[0].detail
        window: float = inputs * kernel[0] * kernel[1] / math.sqrt(eps)
        return 2 * self.weight * window * (self.weight if affine else 1.0)

    def _bound(self, term: Term) -> float:
        """The largest absolute value that a term can have."""
        if term.kind == "norm" and term.parts[0].kind == "conv" and term.key not in self.values:
            return self._gain(term) * self._bound(term.parts[0].parts[0])
        if term.kind == "relu" and term.key not in self.values:
            return self._bound(term.parts[0])
        form = self.value(term)
        for _, numbers in form.parts:
            if numbers.peak is None:
                least, most = numbers.tensor.aminmax()
                numbers.peak = max(-float(least), float(most))
        largest = [abs(factor) * (numbers.peak or 0.0) for factor, numbers in form.parts]
        return abs(form.constant) + sum(largest)

    def _root_mean_square(self, form: Form, term: Term) -> float:
        """That of a form, which becomes one tensor."""
        numbers = self._numbers(form, term)
        form.constant, form.parts = 0.0, [(1.0, numbers)]
        row = numbers.tensor.view(-1)
        return math.sqrt(float(torch.dot(row, row)) / row.numel())


def _last_uses(terms: Sequence[Term]) -> list[list[bytes]]:
    """For each place the terms that nothing needs after it. What is lazy keeps its parts for as long as itself."""
    until: dict[bytes, int] = {}
    for place in range(len(terms) - 1, -1, -1):
        term = terms[place]
        own = until.setdefault(term.key, place)
        for part in term.parts:
            until[part.key] = max(until.get(part.key, 0), own if term.kind in _LAZY else place)
    by_place: list[list[bytes]] = [[] for _ in terms]
    for key, place in until.items():
        by_place[place].append(key)
    return by_place


def _sums(x: Tensor, out: Tensor, kernel: int, stride: int, padding: int, dilation: int) -> None:
    """Sums over windows along the first dimension, with zeros around."""
    length, places = len(x), len(out)
    taps = []
    for tap in range(kernel):
        shift = tap * dilation - padding
        first = max(0, -(shift // stride))
        last = min(places, (length - 1 - shift) // stride + 1)
        if last > first:
            taps.append((first, last, x[first * stride + shift : (last - 1) * stride + shift + 1 : stride]))
    # What reaches all places comes first and is written, the rest is added.
    taps.sort(key=lambda tap: tap[1] - tap[0], reverse=True)
    if not taps or taps[0][1] - taps[0][0] < places:
        out.zero_()
    elif len(taps) == 1:
        out.copy_(taps.pop(0)[2])
    else:
        (_, _, whole), (first, last, part), *taps = taps
        torch.add(whole[first:last], part, out=out[first:last])
        out[:first] = whole[:first]
        out[last:] = whole[last:]
    for first, last, part in taps:
        out[first:last].add_(part)


_known_shares: dict[Hashable, Tensor] = {}


def _shares(source: Map, size: Map, window: tuple[Map, Map, Map, Map], dtype: torch.dtype) -> Tensor:
    """One over the number of places that each window of a pool sees (H x W x 1)."""
    key = (source, size, window, dtype)
    if key not in _known_shares:
        ones = torch.ones((*source, 1), dtype=dtype)
        evaluation = _Evaluation(ones, 1.0, _Memory(ones))
        _known_shares[key] = 1 / evaluation._window(evaluation.input.parts[0][1], window, size).tensor
    return _known_shares[key]


_outputs: OrderedDict[Hashable, Tensor] = OrderedDict()


class Images:
    """A batch (N x C x H x W) as expressions take it: one channel (H x W x N), and a key of its numbers."""

    def __init__(self, x: Tensor, dtype: torch.dtype) -> None:
        self.channel = x.to(dtype).mean(1).permute(1, 2, 0).contiguous()
        self.memory = _Memory(self.channel)
        sha = hashlib.blake2b(self.channel.numpy().data, digest_size=16)
        self.key = (sha.digest(), dtype, tuple(self.channel.shape))


_batches: OrderedDict[tuple[int, torch.dtype], tuple[Tensor, Images]] = OrderedDict()


def images(x: Tensor, dtype: torch.dtype) -> Images:
    """Of a batch; those of the last two are remembered."""
    key = (id(x), dtype)
    if key not in _batches:
        _batches[key] = (x, Images(x, dtype))  # it holds x, so no other tensor has its identity
        if len(_batches) > 2:
            _batches.popitem(last=False)
    return _batches[key][1]


def constant_outputs(terms: Sequence[Term], batch: Images, weight: float) -> Tensor:
    """The outputs of the examples (N) with this number for all weights, as batch normalisation with the statistics of
    the batch gives them."""
    key = (terms[-1].key, batch.key, weight)
    if key in _outputs:
        _outputs.move_to_end(key)
        return _outputs[key]
    with torch.no_grad():
        _outputs[key] = _Evaluation(batch.channel, weight, batch.memory).run(terms)
    if len(_outputs) > _REMEMBERED:
        _outputs.popitem(last=False)
    return _outputs[key]
