"""The graph of any network at the level of operators, from one run in which no number is computed.

The design meets three constraints. It works for a plain `nn.Module` with whatever control flow, so operators are seen
where they are dispatched, not in source or a symbolic trace. It is fast enough for thousands of networks a minute, so
the input has no data (the meta device) and the output shape of an operator is looked up by its signature after the
first time. And the memory of the result can be followed: views are no nodes, and what writes in place has size 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.parametrize import ParametrizationList
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from archscout.core.architecture import Architecture
from archscout.core.errors import ArchscoutError
from archscout.core.graph import Graph, Node
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.networks.memory import memory_of, tensors_in
from archscout.networks.pick import build


def trace(network: nn.Module, input_shape: Sequence[int]) -> Graph:
    """The operators that a network runs for one example in evaluation mode, and the data that flows between them.

    Nodes are in the order of execution: `input`, the operators, `output`. A node's `size` is the bytes of the memory
    that its output takes (float32: 4 for each number); it is 0 where the operator writes into the memory of its first
    source. Views share their tensor's memory and are no nodes. `macs` are multiply-adds of convolutions and matrix
    products, by the formulas of `torch.utils.flop_counter`; what parametrizations compute from weights alone counts
    none. `weights` are the bytes of parameters and statistics that it reads. `group` is the option ("choice=option")
    that the operator belongs to. Attention appears as its matrix products. What leads nowhere and costs no multiply-add
    is left out.

    Where the code looks at numbers (`.item()`, an assertion, an index by truth values), which the run without data does
    not have, it runs on zeros instead, and where it refuses these, on random numbers between 0 and 1.

    Args:
        network: any module that takes one tensor; its state and mode are left as they were.
        input_shape: of one example, without the batch dimension.

    Raises:
        ArchscoutError: the network does not run on an input of that shape.
    """
    shape = (1, *input_shape)
    tensors = [*network.parameters(), *network.buffers()]
    without_weights = any(tensor.is_meta for tensor in tensors)
    try:
        return _run(network, torch.empty(shape, device="meta"))
    except Exception as error:  # a module's code fails in any way where it misses numbers
        if without_weights:
            raise ArchscoutError(
                f"the network cannot be traced without weights: {_line(error)}; trace one that holds them."
            ) from error
    device = tensors[0].device if tensors else torch.device("cpu")
    try:
        return _run(network, torch.zeros(shape, device=device))
    except Exception:
        generator = torch.Generator().manual_seed(0)
        try:
            return _run(network, torch.rand(shape, generator=generator).to(device))
        except Exception as error:
            raise ArchscoutError(
                f"the network does not run on an input of shape {tuple(input_shape)}: {_line(error)}"
            ) from error


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def blueprint(space: Space, architecture: Architecture, task: Task) -> nn.Module:
    """The stand-alone network for counting: without memory for its weights where its code can be run so."""
    try:
        return build(space, architecture, task, device="meta")
    except Exception:
        return build(space, architecture, task)


def trace_architecture(space: Space, architecture: Architecture, task: Task) -> Graph:
    """The operators of the stand-alone network of an architecture. Raises `ArchscoutError` where it does not run."""
    try:
        return trace(task.answering(blueprint(space, architecture, task)), task.input_shape)
    except ArchscoutError:
        return trace(build(space, architecture, task), task.input_shape)


def _run(network: nn.Module, x: Tensor) -> Graph:
    recorder = _Recorder(x)
    with _quiet(network), _groups(network, recorder.groups), _weights(network, recorder), torch.no_grad(), recorder:
        outputs = network(x)
    return recorder.graph(list(tensors_in((outputs,))))


@contextmanager
def _quiet(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, without fused forms of attention and recurrent layers, which hide products; undone after."""
    training = [module for module in network.modules() if module.training]
    fast = torch.backends.mha.get_fastpath_enabled()
    fused = torch._C._get_mkldnn_enabled()  # `torch.backends.mkldnn.flags` warns of unrelated hardware
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    for module in training:
        module.training = False
    try:
        with (
            torch.inference_mode(False),
            sdpa_kernel(SDPBackend.MATH),
            torch.backends.cudnn.flags(enabled=False),
        ):
            yield
    finally:
        for module in training:
            module.training = True
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(fused)


@contextmanager
def _groups(network: nn.Module, stack: list[str]) -> Iterator[None]:
    """Keep on `stack` the options (`picked`) whose modules are running, the innermost last."""
    handles = []
    for module in network.modules():
        if (picked := module.__dict__.get("picked")) is not None:
            handles.append(module.register_forward_pre_hook(lambda *_, picked=picked: stack.append(picked)))
            handles.append(module.register_forward_hook(lambda *_: stack.pop() and None, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _weights(network: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """Count nothing while weights are computed from other tensors, as once and for all before a network is used."""
    handles = []
    for module in network.modules():
        if isinstance(module, ParametrizationList):
            handles.append(module.register_forward_pre_hook(lambda *_: recorder.begin_weight()))
            handles.append(module.register_forward_hook(lambda *_: recorder.end_weight(), always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Signature(NamedTuple):
    """What an operator gives for arguments of certain shapes: shape, stride and type of each output; multiply-adds."""

    outputs: tuple[tuple[tuple[int, ...], tuple[int, ...], torch.dtype], ...]
    several: bool
    macs: int | None


_signatures: dict[Any, _Signature] = {}
_functional: dict[Any, bool] = {}


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every operator that is dispatched and whose memory it reads."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.labels, self.of_group, self.weights = ["input"], [""], [0]
        self.macs: list[int | None] = [0]
        self.sources: list[list[int]] = [[]]
        self.groups: list[str] = [""]
        self.writer: dict[int, int] = {}
        """Which node last wrote a storage."""
        self.made: list[list[tuple[int, int]]] = [[]]
        """The storages that a node made, with their bytes."""
        self.read: set[int] = set()
        self.weights_begun = 0
        """How many computations of weights are under way, one within the other."""
        self.held: list[StorageWeakRef] = []
        """Without these, the address of a storage that died could name another."""
        self._claim(x, 0)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and guarding against it would import the compiler, a second's work

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled():  # there, operators come here whole that otherwise come as their parts
            with self:
                outputs = func.decompose(*args, **kwargs)
            if outputs is not NotImplemented:
                return outputs
        tensors = [*tensors_in(args), *tensors_in(tuple(kwargs.values()))]
        inputs = [memory_of(t) for t in tensors]
        weights = sum(
            t.numel() * t.element_size() for t, key in zip(tensors, inputs, strict=True) if key not in self.writer
        )
        outputs, macs = _dispatch(func, args, kwargs)
        macs = 0 if self.weights_begun else macs
        sources = list(dict.fromkeys(self.writer[key] for key in inputs if key in self.writer))
        results = list(tensors_in((outputs,)))
        fresh = [t for t in results if (key := memory_of(t)) not in self.writer and key not in inputs]
        written = [memory_of(t) for t in _written(func, args, kwargs)]
        if not fresh and not any(key in self.writer for key in written):
            return outputs  # a view, or something that concerns weights alone
        node = len(self.labels)
        self.labels.append(_label(func, args))
        self.of_group.append(self.groups[-1])
        self.macs.append(macs)
        self.weights.append(weights)
        self.sources.append(sources)
        self.made.append([])
        self.read.update(inputs)
        for key in written:
            self.writer[key] = node
        for t in fresh:
            self._claim(t, node)
        return outputs

    def begin_weight(self) -> None:
        self.weights_begun += 1

    def end_weight(self) -> None:
        self.weights_begun -= 1

    def _claim(self, t: Tensor, node: int) -> None:
        key = memory_of(t)
        if key not in self.writer:
            storage = t.untyped_storage()
            self.held.append(StorageWeakRef(storage))  # type: ignore[no-untyped-call]
            self.writer[key] = node
            self.made[node].append((key, storage.nbytes()))

    def graph(self, outputs: Sequence[Tensor]) -> Graph:
        keys = [memory_of(t) for t in outputs]
        self.read.update(keys)
        last = sorted({self.writer[key] for key in keys if key in self.writer})
        count = len(self.labels)
        kept, waiting = {0}, last + [node for node in range(count) if self.macs[node] != 0]
        while waiting:
            node = waiting.pop()
            if node not in kept:
                kept.add(node)
                waiting += self.sources[node]
        order = {node: place for place, node in enumerate(sorted(kept))}
        nodes = [
            Node(self.labels[n], self._size(n), macs or 0, self.of_group[n], self.weights[n], macs is not None)
            for n in order
            for macs in [self.macs[n]]
        ]
        edges = [(order[source], order[n]) for n in order for source in self.sources[n]]
        return Graph((*nodes, Node("output")), (*edges, *((order[n], len(nodes)) for n in last)))

    def _size(self, node: int) -> int:
        # A second result that nobody reads (the places of the maxima, kept statistics) is not part of the computation.
        return sum(size for place, (key, size) in enumerate(self.made[node]) if place == 0 or key in self.read)


def _dispatch(func: Any, args: Any, kwargs: Any) -> tuple[Any, int | None]:
    """Run an operator; one whose inputs have no data is run once for each signature."""
    tensors = [*tensors_in(args), *tensors_in(tuple(kwargs.values()))]
    if not any(t.is_meta for t in tensors):
        outputs = func(*args, **kwargs)
        return outputs, _macs(func, args, kwargs, outputs)
    key = None
    if _is_functional(func):
        key = (func, torch.get_default_dtype(), _freeze(args), _freeze(tuple(kwargs.items())))
        if (known := _signatures.get(key)) is not None:
            answers = [torch.empty_strided(shape, s, dtype=dtype, device="meta") for shape, s, dtype in known.outputs]
            return (tuple(answers) if known.several else answers[0]), known.macs
    args, kwargs = _map(args, _without_data), {name: _map(value, _without_data) for name, value in kwargs.items()}
    outputs = func(*args, **kwargs)
    macs = _macs(func, args, kwargs, outputs)
    several = isinstance(outputs, tuple)
    results = outputs if several else (outputs,)
    given = {memory_of(t) for t in tensors}  # some views do not say in their schema that they are
    if key is not None and all(isinstance(t, Tensor) and _is_plain(t) and memory_of(t) not in given for t in results):
        if len(_signatures) > 20_000:
            _signatures.clear()
        shapes = tuple((tuple(t.shape), t.stride(), t.dtype) for t in results)
        _signatures[key] = _Signature(shapes, several, macs)
    return outputs, macs


def _is_functional(func: Any) -> bool:
    """Whether all that an operator does is to make new tensors."""
    known = _functional.get(func)
    if known is None:
        schema = func._schema
        known = not schema.is_mutable and all(result.alias_info is None for result in schema.returns)
        _functional[func] = known
    return known


def _is_plain(t: Tensor) -> bool:
    return t.is_meta and t.storage_offset() == 0 and t.untyped_storage().nbytes() == _extent(t) * t.element_size()


def _extent(t: Tensor) -> int:
    return 0 if t.numel() == 0 else 1 + sum((n - 1) * s for n, s in zip(t.shape, t.stride(), strict=True))


def _without_data(t: Tensor) -> Tensor:
    return t if t.is_meta else torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta")


def _macs(func: Any, args: Any, kwargs: Any, outputs: Any) -> int | None:
    """The multiply-adds of an operator; None where it multiplies matrices and no formula is known."""
    packet = func._overloadpacket
    formula: Callable[..., int] | None = flop_registry.get(packet)
    if formula is not None:
        return formula(*args, **kwargs, out_val=outputs) // 2
    own = _FORMULAS.get(packet.__name__.rstrip("_"))
    if own is not None:
        return own(*args)
    return None if func.namespace not in _OF_TORCH or _MATRIX.search(packet.__name__) else 0


def _trilinear(*args: Any) -> int:
    """The sum over products of three tensors that `nn.Bilinear` is: terms, each one multiply-add."""
    shapes = []
    for tensor, extra in zip(args[:3], args[3:6], strict=True):
        for dimension in sorted(extra):
            tensor = tensor.unsqueeze(dimension)
        shapes.append(tensor.shape)
    return math.prod(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]


_FORMULAS: dict[str, Callable[..., int]] = {
    "mv": lambda matrix, vector: matrix.numel(),
    "addmv": lambda start, matrix, vector, *_: matrix.numel(),
    "dot": lambda left, right: left.numel(),
    "vdot": lambda left, right: left.numel(),
    "addr": lambda start, left, right, *_: left.numel() * right.numel(),
    "addbmm": lambda start, left, right, *_: left.numel() * right.shape[2],
    "_addmm_activation": lambda start, left, right, *_: left.numel() * right.shape[1],
    "_int_mm": lambda left, right, *_: left.numel() * right.shape[1],
    "_trilinear": _trilinear,
}
"""Products that the flop counter of PyTorch leaves out."""

_OF_TORCH = frozenset({"aten", "prim", "prims"})

_MATRIX = re.compile(
    r"^(?!_?upsample|_thnn_fused|_convert|r?sqrt|linalg_vector_norm).*"
    r"(mm|mv|matmul|convolution|conv_|attention|rnn|lstm|gru|linear|linalg|fft|cholesky|solve|svd|qr|inverse|cdist|"
    r"pdist|euclidean|sparse|encoder_layer)"
)
"""Names of operators that multiply matrices, or solve with them. What is not one of these (sums, products of elements,
pooling, normalisation, activations, moves of data) has no multiply-adds by definition."""


def _written(func: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:
    """The tensors that an operator changes in place."""
    if func._schema.is_mutable:
        for position, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[position] if position < len(args) else kwargs.get(argument.name)
                yield from tensors_in((value,))


def _map(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list | tuple):
        return type(value)([_map(item, change) for item in value])
    return value


def _freeze(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape), value.stride(), value.dtype
    if isinstance(value, list | tuple):
        return tuple([_freeze(item) for item in value])
    return type(value), value


_PLAIN_NAMES = {"addmm": "linear", "mm": "linear", "bmm": "matmul", "baddbmm": "matmul"}


def _label(func: Any, args: Any) -> str:
    name: str = func._overloadpacket.__name__.strip("_")
    if name == "convolution":
        weight, groups, transposed = args[1], args[8], args[6]
        kernel = "x".join(str(n) for n in weight.shape[2:])
        kind = "" if groups == 1 else "depthwise " if groups == args[0].shape[1] else "grouped "
        return f"{kind}{'transposed ' if transposed else ''}conv {kernel}"
    if "batch_norm" in name:
        return "batch_norm"
    return _PLAIN_NAMES.get(name, name.removeprefix("native_").removesuffix("_with_indices"))
