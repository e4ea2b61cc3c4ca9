"""Looking at a forward pass while it runs: what modules return, and what goes into rectifiers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from archscout.estimators.zero_cost.layers import familiar, is_familiar
from archscout.estimators.zero_cost.own_code import OnFlatMap, Unknown, leaves, own_calls
from archscout.estimators.zero_cost.rectifying import rectified


class Watcher:
    """Looks at a forward pass while it runs, and keeps of it what a score needs."""

    unknown = ""
    """Why what modules return is not all known; a score that looks at it is undefined then."""

    def gate(self, x: Tensor) -> None:
        """The input of a rectifier (N x ...), in the order of execution: ReLU, or what is zero or small below zero."""

    def module(self, module: nn.Module, y: Tensor) -> None:
        """A module without parts of its own and what it returns (N x ...), in the order of execution."""


@contextmanager
def showing(network: nn.Module, watchers: Sequence[Watcher]) -> Iterator[None]:
    """Show watchers what the innermost modules return, within the block; a user's own calls of functions as modules."""
    own = not familiar(network)
    looking = [watcher for watcher in watchers if type(watcher).module is not Watcher.module]

    def show(kind: nn.Module, y: Tensor) -> None:
        y = y.detach().clone() if own else y.detach()  # a user's own code may change it in place
        for watcher in looking:
            if isinstance(kind, Unknown):
                watcher.unknown = kind.reason
            else:
                watcher.module(kind, y)

    calls: list[Any] = []

    def hook(module: nn.Module, inputs: Any, y: Any) -> None:
        if isinstance(y, Tensor):
            name = type(module).__name__.lower()
            flat = bool(inputs) and any(each.on_flat_map(name, inputs[0], y) for each in calls)
            show(OnFlatMap(name) if flat else module, y)

    # Before those of `own_calls`, so that what a watcher calls is none of the network's own calls.
    handles = [m.register_forward_hook(hook) for m in leaves(network) if is_familiar(m)]
    try:
        with own_calls(network, lambda call: show(call.kind, call.output)) as mode:
            calls += [] if mode is None else [mode]
            yield
    finally:
        for handle in handles:
            handle.remove()


class Watching(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Shows the inputs of rectifiers to watchers, wherever in the network's code they stand."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.watchers = watchers
        self._sigmoid: tuple[Tensor, Tensor] | None = None

    def _is_silu(self, x: Any, gate: Any) -> bool:
        return self._sigmoid is not None and x is self._sigmoid[0] and gate is self._sigmoid[1]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and guarding against it would import the compiler, a second's work

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = func._overloadpacket.__name__.strip("_"), kwargs or {}
        x = rectified(name, args, kwargs)
        if x is None and name == "mul" and len(args) == 2:  # SiLU, written as x * sigmoid(x)
            x = next((args[1 - place] for place in (0, 1) if self._is_silu(args[1 - place], args[place])), None)
        if x is not None:
            for watcher in self.watchers:
                watcher.gate(x)
        y = func(*args, **kwargs)
        if name == "sigmoid":
            self._sigmoid = args[0], y
        return y
