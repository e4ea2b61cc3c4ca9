"""Looking at a forward pass while it runs: what modules return, and what goes into rectifiers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from archscout.estimators.zero_cost.layers import familiar, is_familiar

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
    functions: AbstractContextManager[Any] = nullcontext()
    if not familiar(network):
        functions = _Functions(watchers)
        handles += [m.register_forward_pre_hook(functions.enter) for m in network.modules()]
        handles += [m.register_forward_hook(functions.leave, always_call=True) for m in network.modules()]
    try:
        with functions:
            yield
    finally:
        for handle in handles:
            handle.remove()


class _Functions(TorchFunctionMode):
    """Shows what activations, pooling and the like return that a user's own code calls as functions, as if modules."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        super().__init__()
        self.watchers = watchers
        self.running: list[nn.Module] = []

    def enter(self, module: nn.Module, _: Any) -> None:
        self.running.append(module)

    def leave(self, *_: Any) -> None:
        self.running.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        y = func(*args, **(kwargs or {}))
        kind = _AS_MODULES.get(getattr(func, "__name__", "").rstrip("_"))
        if kind is not None and isinstance(y, Tensor) and self.running and not is_familiar(self.running[-1]):
            for watcher in self.watchers:
                watcher.module(kind, y.detach())
        return y


_ACTIVATIONS = (
    nn.ReLU(), nn.ReLU6(), nn.ELU(), nn.SELU(), nn.CELU(), nn.GELU(), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Tanh(),
    nn.Sigmoid(), nn.Hardsigmoid(), nn.Hardtanh(), nn.LeakyReLU(), nn.Softplus(), nn.Softsign(), nn.LogSigmoid(),
)  # fmt: skip
_AS_MODULES: dict[str, nn.Module] = {type(module).__name__.lower(): module for module in _ACTIVATIONS} | {
    "leaky_relu": nn.LeakyReLU(),
    "logsigmoid": nn.LogSigmoid(),
    "flatten": nn.Flatten(),
    **{f"{kind}_pool{d}d": nn.Identity() for kind in ("avg", "max", "adaptive_avg", "adaptive_max") for d in (1, 2, 3)},
}
"""What stands for a function that PyTorch also has as a module without weights, by the function's name."""


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
