"""The layers of a network and which feed which, for scores that look at the graph of layers alone.

Convolutions, linear layers, pools and `nn.Identity` modules are layers; sums, normalisations and activations are
wires: a layer after a sum has several parents. Read off one run in which no number is computed: of the modules' code
on wires in the place of tensors where it does nothing but add and average them, of its operators otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from archscout.core.architecture import Architecture
from archscout.core.errors import UndefinedScore
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.estimators.zero_cost.skeleton import Skeleton, pair, places, skeleton
from archscout.networks.tracing import blueprint


@dataclass(frozen=True)
class Convolution:
    """What decides how inputs and outputs of a convolution hang together."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


@dataclass(frozen=True)
class Layer:
    """One layer. `parents` are the numbers of the layers that feed it; the input is number 0.

    `shape` is that of its output and `inputs` that of its input, both for one example.
    """

    kind: str
    parents: tuple[int, ...]
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    convolution: Convolution | None = None


def layers(space: Space, architecture: Architecture, task: Task) -> list[Layer]:
    """The layers of an architecture's network in the order of execution, the input first.

    Raises `UndefinedScore` for a network that does not run without numbers.
    """
    try:
        return wire_layers(skeleton(space, architecture, task), task.input_shape)
    except (TypeError, AttributeError, ValueError, RuntimeError):
        return trace_layers(blueprint(space, architecture, task), task.input_shape)


class Wire:
    """Stands for a tensor: its shape for one example, and the layers that it is a sum of. Anything else is an error."""

    def __init__(self, shape: tuple[int, ...], parents: frozenset[int]) -> None:
        self.shape, self.parents = shape, parents

    def __add__(self, other: Wire) -> Wire:
        if self.shape != other.shape:
            raise ValueError("wires of two shapes are no sum of channels")
        return Wire(self.shape, self.parents | other.parents)

    def mean(self, dimensions: tuple[int, ...]) -> Wire:
        raise TypeError("only a reader of wires can average them")


def wire_layers(bones: Skeleton, input_shape: tuple[int, ...]) -> list[Layer]:
    """The layers of a skeleton. Raises `TypeError` and its like where its code does more than add and average."""
    wired = [Layer("input", (), tuple(input_shape), tuple(input_shape))]

    class Running(Wire):
        @classmethod
        def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is not torch.zeros_like or len(args) != 1 or kwargs:
                raise TypeError("only zeros are made of wires")
            return args[0]  # what it has the shape of counts as its source, as it does among operators

        def __add__(self, other: Wire) -> Wire:
            made = super().__add__(other)
            return Running(made.shape, made.parents)

        def mean(self, dimensions: tuple[int, ...]) -> Wire:
            if dimensions != (2, 3):
                raise TypeError("an average over other than places")
            return add("pool", self, self.shape[:1])

    def add(kind: str, x: Wire, shape: tuple[int, ...], form: Convolution | None = None) -> Wire:
        wired.append(Layer(kind, tuple(sorted(x.parents)), x.shape, shape, form))
        return Running(shape, frozenset({len(wired) - 1}))

    def convolution(layer: nn.Conv2d, x: Wire) -> Wire:
        if isinstance(layer.padding, str):
            raise TypeError("padding by name")
        form = Convolution(layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
        size = places(x.shape[1:], layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        return add("convolution", x, (layer.out_channels, *size), form)

    def pool(layer: nn.AvgPool2d, x: Wire) -> Wire:
        sizes = pair(layer.kernel_size), pair(layer.stride), pair(layer.padding), (1, 1)
        return add("pool", x, (x.shape[0], *places(x.shape[1:], *sizes, up=layer.ceil_mode)))

    functions: dict[type, Any] = {
        nn.Conv2d: convolution,
        nn.Linear: lambda layer, x: add("linear", x, (layer.out_features,)),
        nn.AvgPool2d: pool,
        nn.Identity: lambda layer, x: add("identity", x, x.shape),
    }
    bones.run(functions, Running(tuple(input_shape), frozenset({0})))
    return wired


def trace_layers(network: nn.Module, input_shape: tuple[int, ...]) -> list[Layer]:
    """The layers of a network. Raises `UndefinedScore` for one that does not run without numbers."""
    some = next(network.parameters(), None)
    recorder = _Recorder(tuple(input_shape))

    def mark(module: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> Tensor:
        return recorder.identity(y)

    handles = [m.register_forward_hook(mark) for m in network.modules() if type(m) is nn.Identity]
    try:
        x = torch.zeros((2, *input_shape), device="meta" if some is None else some.device)
        with torch.no_grad(), recorder:
            recorder.begin(x)
            network.eval()(x)
    except (RuntimeError, NotImplementedError) as error:
        raise UndefinedScore(f"the layers of the network cannot be read off: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
    return recorder.layers


_POOLS = ("avg_pool", "max_pool", "adaptive_avg_pool", "adaptive_max_pool")
_REDUCTIONS = ("mean", "sum", "amax", "max")
"""Pooling as code of a user's own writes it, over one dimension after the other or all at once."""


def _over_places(args: Any) -> bool:
    """Whether the dimensions that go are those of places, not of examples, channels or parts of a sum."""
    gone = args[1] if len(args) > 1 else ()
    gone = gone if isinstance(gone, list | tuple) else [gone]
    return bool(gone) and all(isinstance(d, int) and d % args[0].ndim >= 2 for d in gone) and args[0].ndim <= 4


_LINEAR = ("addmm", "mm", "linear")


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down layers as they are dispatched."""

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers = [Layer("input", (), input_shape, input_shape)]
        self.feeds: dict[int, tuple[tuple[int, ...], Tensor]] = {}
        """By the identity of a storage: the layers that it comes from. Tensors are held, so that identities stay."""
        self.reductions: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def begin(self, x: Tensor) -> None:
        self._set(x, (0,))

    def identity(self, y: Tensor) -> Tensor:
        parents = self._get(y)
        made = y.clone()
        self._add("identity", parents, y, made)
        return made

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = func._overloadpacket.__name__.strip("_")
        tensors = [t for a in args for t in (a if isinstance(a, list | tuple) else [a]) if isinstance(t, Tensor)]
        parents = tuple(sorted({parent for t in tensors for parent in self._get(t)}))
        results = made if isinstance(made, list | tuple) else (made,)
        out = next((t for t in results if isinstance(t, Tensor)), None)
        if out is None or not parents:
            return made
        activation = next(t for t in tensors if self._get(t))
        if name == "convolution":
            form = Convolution(tuple(args[1].shape[2:]), tuple(args[3]), tuple(args[4]), tuple(args[5]), args[8])
            self._add("convolution", parents, activation, out, form)
        elif name in _LINEAR:
            self._add("linear", parents, activation, out)
        elif name.startswith(_POOLS):
            self._add("pool", parents, activation, out)
        elif name == "mean" or (name in _REDUCTIONS and _over_places(args)):
            self._reduce(parents, activation, out)
        else:
            for t in results:
                if isinstance(t, Tensor):
                    self._set(t, parents)
        return made

    def _add(self, kind: str, parents: tuple[int, ...], x: Tensor, y: Tensor, form: Convolution | None = None) -> None:
        self._set(y, (len(self.layers),))
        self.layers.append(Layer(kind, parents, tuple(x.shape[1:]), tuple(y.shape[1:]), form))

    def _reduce(self, parents: tuple[int, ...], x: Tensor, y: Tensor) -> None:
        """A pool; the same one as before where only a further dimension goes."""
        if len(parents) == 1 and parents[0] in self.reductions:
            self.layers[parents[0]] = replace(self.layers[parents[0]], shape=tuple(y.shape[1:]))
            self._set(y, parents)
            return
        self.reductions.add(len(self.layers))
        self._add("pool", parents, x, y)

    def _get(self, t: Tensor) -> tuple[int, ...]:
        return self.feeds.get(t.untyped_storage()._cdata, ((), t))[0]

    def _set(self, t: Tensor, layers: tuple[int, ...]) -> None:
        self.feeds[t.untyped_storage()._cdata] = layers, t
