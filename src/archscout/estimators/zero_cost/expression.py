"""Networks of equal channels as expressions of one channel.

With the same constant for all weights, equal operations on equal tensors give equal tensors. A network is then an
expression: identities are nothing, sums are sorted, what occurs twice is there once. It is read off one run of the
network's code on terms in the place of tensors; `archscout.estimators.zero_cost.constant_outputs` evaluates it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.estimators.zero_cost.one_channel import layers_fit
from archscout.estimators.zero_cost.skeleton import Skeleton, pair, places

Map = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True, eq=False)
class Term:
    """A tensor of the network: what made it of what. `size` is height and width, None behind the last map."""

    kind: str
    detail: tuple[Any, ...]
    parts: tuple[Term, ...]
    size: Map | None
    key: bytes


class _Reader:
    """Makes terms, equal ones once, in an order in which parts come first."""

    def __init__(self) -> None:
        self.terms: dict[bytes, Term] = {}
        self._known: dict[tuple[Any, ...], bytes] = {}

    def term(self, kind: str, detail: tuple[Any, ...], parts: tuple[Term, ...], size: Map | None) -> Term:
        about = (kind, detail, size, *(part.key for part in parts))
        key = self._known.get(about)
        if key is None:
            key = self._known[about] = hashlib.blake2b(repr(about).encode(), digest_size=16).digest()
        known = self.terms.get(key)
        if known is None:
            known = self.terms[key] = Term(kind, detail, parts, size, key)
        return known


class _Symbol:
    """Stands for a tensor of equal channels. What is done to it beside adding and averaging is an error."""

    def __init__(self, reader: _Reader, term: Term) -> None:
        self.reader, self.term = reader, term

    def made(self, kind: str, detail: tuple[Any, ...], size: Map | None) -> _Symbol:
        if self.term.kind == "input" and kind != "conv":
            raise TypeError("channels of the input are not equal")
        if self.term.size is None and kind != "linear":
            raise TypeError("only linear layers come behind the last map here")
        return _Symbol(self.reader, self.reader.term(kind, detail, (self.term,), size))

    def __add__(self, other: _Symbol) -> _Symbol:
        if self.term.size is None or self.term.size != other.term.size or "input" in (self.term.kind, other.term.kind):
            raise TypeError("only maps of one size are added here")
        parts: list[Term] = []
        for term in (self.term, other.term):
            parts += term.parts if term.kind == "sum" else (term,)
        parts.sort(key=lambda term: term.key)
        return _Symbol(self.reader, self.reader.term("sum", (), tuple(parts), self.term.size))

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> _Symbol:
        """Of PyTorch's functions only zeros are known: what comes out where nothing goes in."""
        if function is not torch.zeros_like or len(args) != 1 or kwargs:
            raise TypeError("only layers, sums and averages are read here")
        (x,) = args
        return _Symbol(x.reader, x.reader.term("zero", (), (), x.term.size))

    def mean(self, dimensions: tuple[int, ...]) -> _Symbol:
        if tuple(dimensions) != (2, 3) or self.term.size is None:
            raise TypeError("only maps are averaged here, over their places")
        return self.made("places", (), None)


def read(skeleton: Skeleton, input_shape: Sequence[int]) -> list[Term] | None:
    """The network as an expression; None where its code does more than layers, sums and averages over places.

    That goes for a user's own modules as well: whatever else they do to a term is an error.
    """
    if len(input_shape) != 3 or not layers_fit(skeleton):
        return None
    try:
        return expression(skeleton, (input_shape[1], input_shape[2]))
    except (TypeError, AttributeError, ValueError):
        return None


def expression(skeleton: Skeleton, size: Map) -> list[Term]:
    """The terms of a network whose layers keep equal channels equal, parts first, the output last.

    Raises `TypeError`, `AttributeError` or `ValueError` for a network whose code does more than layers, sums and
    averages over places.
    """
    reader = _Reader()

    def convolution(layer: nn.Conv2d, x: _Symbol) -> _Symbol:
        if isinstance(layer.padding, str):
            raise TypeError("padding by name")
        window = pair(layer.kernel_size), pair(layer.stride), pair(layer.padding), pair(layer.dilation)
        return x.made("conv", (layer.in_channels // layer.groups, *window), _places(x, *window))

    def norm(layer: _BatchNorm, x: _Symbol) -> _Symbol:
        return x.made("norm", (layer.affine, layer.eps), x.term.size)

    def pool(layer: nn.AvgPool2d, x: _Symbol) -> _Symbol:
        kernel, stride, padding = pair(layer.kernel_size), pair(layer.stride), pair(layer.padding)
        if layer.divisor_override or (layer.count_include_pad and padding != (0, 0)):
            raise TypeError("padding is counted")
        size = _places(x, kernel, stride, padding, (1, 1), up=layer.ceil_mode)
        return x.made("pool", (kernel, stride, padding, (1, 1)), size)

    def linear(layer: nn.Linear, x: _Symbol) -> _Symbol:
        if x.term.size is not None:
            raise TypeError("linear layers of maps")
        return x.made("linear", (layer.in_features,), None)

    functions: dict[type, Any] = {
        nn.Conv2d: convolution,
        _BatchNorm: norm,
        nn.AvgPool2d: pool,
        nn.Linear: linear,
        nn.ReLU: lambda layer, x: x.made("relu", (), x.term.size),
    }
    out = skeleton.run(functions, _Symbol(reader, reader.term("input", (), (), size)))
    if not isinstance(out, _Symbol) or out.term.size is not None:
        raise TypeError("the output is no number an example")
    needed = {out.term.key}
    for term in reversed(list(reader.terms.values())):
        if term.key in needed:
            needed |= {part.key for part in term.parts}
    return [term for key, term in reader.terms.items() if key in needed]


def _places(x: _Symbol, kernel: Map, stride: Map, padding: Map, dilation: Map, *, up: bool = False) -> Map:
    if x.term.size is None:
        raise TypeError("windows are over maps")
    height, width = places(x.term.size, kernel, stride, padding, dilation, up=up)
    return height, width
