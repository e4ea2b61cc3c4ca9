"""What a user's own code calls as functions, shown as the modules of PyTorch that do the same.

Scores that look at layers would otherwise depend on how a network is written: `F.conv2d` with a parameter or a
convolution, `x @ w.T + b` or a linear layer, `x.clamp(min=0)` or a ReLU, `x.mean((2, 3))` or pooling and flattening.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from archscout.estimators.zero_cost.layers import familiar, is_familiar
from archscout.estimators.zero_cost.rectifying import rectified


class Unknown(nn.Module):
    """Stands for a product with weights of which it is not known where the channels of the result are."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    @property
    def reason(self) -> str:
        """Why a score that looks at layers is undefined."""
        return f"its code multiplies by weights with '{self.name}', which no layer of PyTorch stands for"


class OnFlatMap(Unknown):
    """Stands for an activation of a map that is written as vectors, so that its channels are not known."""

    @property
    def reason(self) -> str:
        return f"its code calls '{self.name}' on feature maps that it has flattened: call it before"


@dataclass(frozen=True)
class Call:
    """A call of a function: the module that stands for it, its first input, its output, the weights it multiplies by.

    Of a user's own module without parts in which nothing is known, the module itself and its output.
    """

    kind: nn.Module
    input: Tensor | None
    output: Tensor
    weight: nn.Parameter | None = None

    @property
    def channel(self) -> int:
        """The dimension of the output's channels."""
        return channel_dimension(self.kind, self.output)


def channel_dimension(kind: nn.Module, y: Tensor) -> int:
    """Which dimension of a layer's output has its channels."""
    return y.ndim - 1 if isinstance(kind, nn.Linear) else 1


def is_leaf(module: nn.Module) -> bool:
    """Whether a module has no parts; what makes its weights (`torch.nn.utils.parametrize`) is none."""
    return all(name == "parametrizations" for name, _ in module.named_children())


def leaves(network: nn.Module) -> Iterator[nn.Module]:
    """The modules without parts, without those that make weights."""
    if is_leaf(network):
        yield network
    else:
        seen = set()
        for name, module in network.named_modules():
            if "parametrizations" not in name.split(".") and is_leaf(module) and module not in seen:
                seen.add(module)
                yield module


@contextmanager
def own_calls(network: nn.Module, show: Callable[[Call], None]) -> Iterator[_Functions | None]:
    """Show what a user's own code calls within the block, in the order of execution; nothing in familiar networks.

    Modules without parts whose code is a user's own are shown here, and are not to be shown otherwise: by the calls
    within, or by themselves where none of these is known.
    """
    if familiar(network):
        yield None
        return
    mode = _Functions(network, show)
    handles = [m.register_forward_pre_hook(mode.enter) for m in network.modules()]
    handles += [m.register_forward_hook(mode.leave, always_call=True) for m in network.modules()]
    try:
        with mode:
            yield mode
        mode.flush()
    finally:
        for handle in handles:
            handle.remove()


def own_weights(network: nn.Module, run: Callable[[], Any]) -> list[Call]:
    """The calls of a user's own code that multiply by weights while `run` runs the network."""
    calls: list[Call] = []

    def keep(call: Call) -> None:
        if call.weight is not None:
            calls.append(Call(call.kind, None, call.output.detach()[:0], call.weight))

    with own_calls(network, keep):
        run()
    return calls


@dataclass
class _Running:
    module: nn.Module
    shown: bool = False


class _Functions(TorchFunctionMode):
    """See `own_calls`. A product waits for the bias that is added to it, and a sigmoid for its own input (SiLU)."""

    def __init__(self, network: nn.Module, show: Callable[[Call], None]) -> None:
        super().__init__()
        self._show_to = show
        self._weights = _Weights(network)
        self._running: list[_Running] = []
        self._waiting: Call | None = None
        self._busy = False
        self._flat_maps: dict[int, Tensor] = {}
        """Maps that code of its own has written as vectors, by identity, so that they are kept."""

    def enter(self, module: nn.Module, _: Any) -> None:
        try:
            self.flush()
        finally:
            self._running.append(_Running(module))

    def leave(self, module: nn.Module, _: Any, y: Any) -> None:
        try:
            self.flush()
        finally:
            running = self._running.pop()
        if not is_familiar(module) and is_leaf(module) and not running.shown and isinstance(y, Tensor):
            self._show(Call(module, None, y))

    def flush(self) -> None:
        """Show what waits."""
        if self._waiting is not None:
            call, self._waiting = self._waiting, None
            self._show(call)

    def _show(self, call: Call) -> None:
        if self._running:
            self._running[-1].shown = True
        self._busy = True
        try:
            self._show_to(call)
        finally:
            self._busy = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._busy or (self._running and is_familiar(self._running[-1].module)):
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "").strip("_")
        joined = self._joined(name, args)
        tensors = [each for each in _flat([*args, *kwargs.values()]) if isinstance(each, Tensor)]
        if joined is None and name not in _ASKING and not all(map(self._weights.fixed, tensors)):
            self.flush()  # before it is changed in place
        y = func(*args, **kwargs)
        self._weights.follow(name, tensors, y)
        if not isinstance(y, Tensor):
            return y
        if joined is not None:
            assert self._waiting is not None
            self._waiting = Call(joined, None, y, self._waiting.weight)
            return y
        product = self._product(name, args, kwargs, tensors, y)
        if product is not None:
            self._waiting = product
        elif name == "sigmoid" and y is not args[0]:
            self._waiting = Call(_SIGMOID, args[0], y)
        else:
            kinds = _kinds(name, args, kwargs, y)
            self._flatten(name, args, y)
            if kinds and args and self.on_flat_map(name, args[0], y):
                kinds = [OnFlatMap(name)]
            for kind in kinds:
                self._show(Call(kind, args[0] if args else None, y))
        return y

    def _flatten(self, name: str, args: Any, y: Tensor) -> None:
        x = args[0] if args else None
        if name not in ("flatten", "reshape", "view") or not isinstance(x, Tensor) or x.ndim < 3 or y.ndim != 2:
            return
        if x.shape[2:].numel() > 1 and len(x) == len(y):
            self._flat_maps[id(y)] = y

    def on_flat_map(self, name: str, x: Any, y: Tensor) -> bool:
        """Whether a function changes the numbers of a map that code of its own has written as vectors."""
        changes = name in _AS_MODULES and "dropout" not in name and name != "flatten"
        if not changes or id(x) not in self._flat_maps or x.shape != y.shape:
            return False
        self._flat_maps[id(y)] = y
        return True

    def _joined(self, name: str, args: Any) -> nn.Module | None:
        """What the call that waits and this one are together."""
        call = self._waiting
        if call is None or len(args) != 2:
            return None
        other = next((args[1 - place] for place in (0, 1) if args[place] is call.output), None)
        if not isinstance(other, Tensor):
            return None
        if call.weight is not None and name in ("add", "radd", "iadd"):
            known = not isinstance(call.kind, Unknown) and other.numel() == call.output.shape[call.channel]
            return call.kind if known and self._weights.of(other) is not None else None
        return _SILU if name in ("mul", "rmul", "imul") and other is call.input and call.kind is _SIGMOID else None

    def _product(self, name: str, args: Any, kwargs: Any, tensors: list[Tensor], y: Tensor) -> Call | None:
        if name in _WITH_WEIGHT:
            place = 2 if name == "bilinear" else 1
            weight = self._weights.of(args[place] if len(args) > place else kwargs.get("weight"))
            return None if weight is None else Call(_WITH_WEIGHT[name], args[0] if args else None, y, weight)
        if name not in _PRODUCTS or all(self._weights.fixed(each) for each in tensors):
            return None
        some = next((weight for each in tensors if (weight := self._weights.of(each)) is not None), None)
        if some is None:
            return None
        if name in ("matmul", "mm", "addmm") and len(tensors) == len(args) and not kwargs:
            left, right = tensors[-2:]
            if right.ndim == 2 and (weight := self._weights.of(right)) is not None:
                return Call(_WITH_WEIGHT["linear"], left, y, weight)
            if left.ndim == 2 and right.ndim == 3 and name == "matmul" and self._weights.of(left) is not None:
                return Call(_WITH_WEIGHT["conv1d"], right, y, some)
        return Call(Unknown(name), None, y, some)


class _Weights:
    """Which tensors are made of parameters alone, and of which one; by identity, so that they are kept alive."""

    def __init__(self, network: nn.Module) -> None:
        self._known: dict[int, nn.Parameter | None] = {id(buffer): None for buffer in network.buffers()}
        self._known |= {id(parameter): parameter for parameter in network.parameters()}
        self._alive: list[Tensor] = []

    def of(self, x: Any) -> nn.Parameter | None:
        """The parameter that a tensor is made of."""
        return self._known.get(id(x))

    def fixed(self, x: Tensor) -> bool:
        """Whether a tensor does not depend on the inputs of the network."""
        return id(x) in self._known

    def follow(self, name: str, tensors: list[Tensor], y: Any) -> None:
        """What a call gives or changes: known where all tensors that it is given are."""
        changed = tensors[0] if name == "setitem" else y
        if not isinstance(changed, Tensor):
            return
        if all(map(self.fixed, tensors)):
            self._alive.append(changed)
            sources = (source for each in tensors if (source := self.of(each)) is not None)
            self._known[id(changed)] = next(sources, None)
        else:
            self._known.pop(id(changed), None)


def _flat(given: Any) -> Iterator[Any]:
    for each in given:
        yield from _flat(each) if isinstance(each, list | tuple) else (each,)


def _kinds(name: str, args: Any, kwargs: Any, y: Tensor) -> list[nn.Module]:
    """The modules that stand for a call without weights."""
    given = args[1:] if name == "einsum" and len(args) == 2 else args  # sums over places
    x = given[0] if given and isinstance(given[0], Tensor) else None
    if rectified(name, args, kwargs) is not None:
        return [_AS_MODULES["relu"]]
    if name in _AS_MODULES:
        return [_AS_MODULES[name]]
    if x is None:
        return []
    if name in ("clamp", "clip") and len([each for each in [*args[1:], *kwargs.values()] if each is not None]) == 2:
        return [_AS_MODULES["hardtanh"]]
    if name in _OVER_PLACES and _pools(x, y):
        return [_POOL] if y.ndim == x.ndim else [_POOL, _AS_MODULES["flatten"]]
    if name in _SHAPING and x.ndim > y.ndim > 1 and x.numel() == y.numel():
        whole = y.shape[:-1] == x.shape[: y.ndim - 1] and (y.ndim == 2 or name in ("reshape", "view"))
        return [_AS_MODULES["flatten"]] if whole else []
    return []


def _pools(x: Tensor, y: Tensor) -> bool:
    """Whether examples and channels are left of a map; a vector by place (N x T x 1) is no map of channels."""
    places = y.shape[2:].numel()
    return x.ndim > 2 and y.shape[:2] == x.shape[:2] and places == 1 and (x.ndim > 3 or y.ndim == 2)


_SIGMOID, _SILU = nn.Sigmoid(), nn.SiLU()
_POOL = nn.AdaptiveAvgPool2d(1)

_ASKING = frozenset(["get", "size", "dim", "len", "is_floating_point", "is_contiguous"])
"""What a tensor is asked about itself."""

_OVER_PLACES = frozenset(["mean", "amax", "sum", "einsum"])
_SHAPING = frozenset(["reshape", "view", "squeeze", "getitem"])


def _bare(kind: type[nn.Module]) -> nn.Module:
    """A layer without weights, for which no random numbers are drawn."""
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    module.register_parameter("weight", None)
    return module


_WITH_WEIGHT: dict[str, nn.Module] = {
    "linear": _bare(nn.Linear),
    "bilinear": _bare(nn.Bilinear),
    "embedding": _bare(nn.Embedding),
    "conv1d": _bare(nn.Conv1d),
    "conv2d": _bare(nn.Conv2d),
    "conv3d": _bare(nn.Conv3d),
    "conv_transpose1d": _bare(nn.ConvTranspose1d),
    "conv_transpose2d": _bare(nn.ConvTranspose2d),
    "conv_transpose3d": _bare(nn.ConvTranspose3d),
}
"""What stands for a function with weights."""

_PRODUCTS = frozenset(
    ["matmul", "rmatmul", "mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "einsum", "tensordot", "inner"]
)

_MODULES = (
    nn.ReLU(), nn.ReLU6(), nn.ELU(), nn.SELU(), nn.CELU(), nn.GELU(), nn.SiLU(), nn.Mish(), nn.Hardswish(), nn.Tanh(),
    nn.Sigmoid(), nn.Hardsigmoid(), nn.Hardtanh(), nn.LeakyReLU(), nn.Softplus(), nn.Softsign(), nn.LogSigmoid(),
    nn.PReLU(), nn.RReLU(), nn.Hardshrink(), nn.Softshrink(), nn.Tanhshrink(), nn.GLU(), nn.Threshold(0, 0),
    nn.Softmax(-1), nn.Softmin(-1), nn.Dropout(), nn.Dropout1d(), nn.Dropout2d(), nn.Dropout3d(),
)  # fmt: skip
_AS_MODULES: dict[str, nn.Module] = {type(module).__name__.lower(): module for module in _MODULES} | {
    "leaky_relu": nn.LeakyReLU(),
    "log_sigmoid": nn.LogSigmoid(),
    "log_softmax": nn.LogSoftmax(-1),
    "flatten": nn.Flatten(),
    "batch_norm": nn.BatchNorm2d(1),
    "layer_norm": nn.LayerNorm(1),
    "group_norm": nn.GroupNorm(1, 1),
    "instance_norm": nn.InstanceNorm2d(1),
    "interpolate": nn.Upsample(scale_factor=1),
    "pixel_shuffle": nn.PixelShuffle(1),
    "pixel_unshuffle": nn.PixelUnshuffle(1),
    "pad": nn.ZeroPad2d(0),
    **{f"{kind}_pool{d}d": nn.Identity() for kind in ("avg", "max", "adaptive_avg", "adaptive_max") for d in (1, 2, 3)},
}
"""What stands for a function that PyTorch also has as a module, by the function's name."""
