"""The layers of a network and which feed which, for scores that look at the graph of layers alone.

Convolutions, linear layers, pools and `nn.Identity` modules are layers; sums, normalisations and activations are
wires: a layer after a sum has several parents. Read off one run in which no number is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from archscout.core.errors import UndefinedScore
from archscout.estimators.zero_cost.harness import Subject


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


def layers(subject: Subject) -> list[Layer]:
    """The layers in the order of execution, the input first; those that nothing reads are left out of no count."""
    return subject.once("layers", lambda: trace_layers(subject.blueprint, subject.setting.task.input_shape))


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


_POOLS = ("avg_pool", "max_pool", "adaptive_avg_pool", "adaptive_max_pool", "mean")
_LINEAR = ("addmm", "mm", "linear")


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down layers as they are dispatched."""

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers = [Layer("input", (), input_shape, input_shape)]
        self.feeds: dict[int, tuple[tuple[int, ...], Tensor]] = {}
        """By the identity of a storage: the layers that it comes from. Tensors are held, so that identities stay."""

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
        else:
            for t in results:
                if isinstance(t, Tensor):
                    self._set(t, parents)
        return made

    def _add(self, kind: str, parents: tuple[int, ...], x: Tensor, y: Tensor, form: Convolution | None = None) -> None:
        self._set(y, (len(self.layers),))
        self.layers.append(Layer(kind, parents, tuple(x.shape[1:]), tuple(y.shape[1:]), form))

    def _get(self, t: Tensor) -> tuple[int, ...]:
        return self.feeds.get(t.untyped_storage()._cdata, ((), t))[0]

    def _set(self, t: Tensor, layers: tuple[int, ...]) -> None:
        self.feeds[t.untyped_storage()._cdata] = layers, t
