"""Looking at a forward pass while it runs: what modules return, and what goes into rectifiers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_GATES = frozenset({"relu", "hardtanh", "leaky_relu", "prelu_kernel", "elu", "gelu", "silu", "hardswish", "mish"})
"""Operators that let through what is above zero and hold back what is below."""


class Watcher:
    """Looks at a forward pass while it runs, and keeps of it what a score needs."""

    def gate(self, x: Tensor) -> None:
        """The input of a rectifier (N x ...), in the order of execution: ReLU, or what is zero or small below zero."""

    def module(self, module: nn.Module, y: Tensor) -> None:
        """A module without parts of its own and what it returns (N x ...), in the order of execution."""


@contextmanager
def showing(network: nn.Module, watchers: Sequence[Watcher]) -> Iterator[None]:
    """Show watchers what the innermost modules return, within the block."""

    def hook(module: nn.Module, _: Any, y: Any) -> None:
        if isinstance(y, Tensor):
            for watcher in watchers:
                watcher.module(module, y.detach())

    handles = [m.register_forward_hook(hook) for m in network.modules() if not any(True for _ in m.children())]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Watching(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Shows the inputs of rectifiers to watchers, wherever in the network's code they stand."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.watchers = watchers

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and guarding against it would import the compiler, a second's work

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._overloadpacket.__name__.strip("_")
        # Of the clamps only ReLU6, which begins at zero, is a rectifier.
        if name in _GATES and not (name == "hardtanh" and (len(args) < 2 or args[1] != 0)):
            for watcher in self.watchers:
                watcher.gate(args[0])
        return func(*args, **(kwargs or {}))
