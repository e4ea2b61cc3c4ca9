"""The deployed form of a network: the same answers from fewer operators.

Batch normalisation is folded into the convolution or linear layer before it, the division by the standard deviation of
stored inputs into the first layer, and layers with nothing between them become one. Which layers are neighbours is
read off one run (who reads whose output), not off code, so that a module of the user's own is folded as well; and what
was folded must answer as before (1e-5 of the largest output), or the network stays as it was.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode

from archscout.core.errors import DataNotice
from archscout.networks.memory import memory_of, tensors_in
from archscout.networks.parametrized import settle
from archscout.tasks.image_task import Deployed, Mirrored

TOLERANCE = 1e-5
"""Of the largest output: how far the deployed form may be from the network."""

_SCALES = (1.0, 255.0)  # inputs may be normalised numbers or pixels


def form(network: nn.Module, input_shape: Sequence[int], *, checked: bool = True) -> nn.Module:
    """A copy of a network as it is deployed: in evaluation mode, with fewer operators and the same answers.

    - What parametrizations compute (weight normalisation, say) becomes a plain weight.
    - Batch normalisation with running statistics goes into the layer before it, where nothing else reads that layer.
    - Of the normalisation of stored images (`Deployed`), the division goes into the first convolution; the subtraction
      too where that convolution does not pad (padding with zeros is padding with the mean of the stored image).
    - Two layers with nothing between them become one, where that takes no more multiply-adds.

    Modules without weights (the meta device) are folded as well: for counting. A network that cannot be run on zeros of
    shape (1, *input_shape), or whose folded form answers differently, comes back as a plain copy.

    Args:
        network: any module that takes one tensor; it is left as it was.
        input_shape: of one example, without the batch dimension.
        checked: whether answers are compared; without, what is folded depends on the structure alone.
    """
    if isinstance(network, Mirrored):
        return Mirrored(form(network.network, input_shape, checked=checked)).eval()
    plain = copy.deepcopy(network).eval()
    folded = copy.deepcopy(plain)
    with torch.no_grad():
        try:
            changed = settle(folded)
            changed = _fold(folded, input_shape, _norms) or changed
            if isinstance(folded, Deployed):
                flow = _follow(folded, input_shape)
                folded, centred = _inputs(folded, flow)
                changed = centred or changed
            for _ in range(sum(1 for _ in folded.modules())):
                if not _fold(folded, input_shape, _chains):
                    break
                changed = True
            return folded if changed and (not checked or _same(plain, folded, input_shape)) else plain
        except Exception as error:
            if _runs_on_zeros(plain, input_shape):
                reason = f"{type(error).__name__}: {error}"[:200]
                warnings.warn(
                    f"a network is deployed as it is, for folding it failed ({reason}).", DataNotice, stacklevel=2
                )
            return plain


def _runs_on_zeros(network: nn.Module, input_shape: Sequence[int]) -> bool:
    parameter = next(iter(network.parameters()), None)
    try:
        network(torch.zeros((1, *input_shape), device="cpu" if parameter is None else parameter.device))
    except Exception:  # whatever a module of the user's own raises for zeros
        return False
    return True


class Centred(nn.Module):
    """A network whose first layer divides by the standard deviation: only the mean is taken off stored images."""

    mean: Tensor

    def __init__(self, network: nn.Module, mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x - self.mean)  # type: ignore[no-any-return]


# -- who reads what ---------------------------------------------------------------------------------------------------


@dataclass
class _Call:
    """One run of a layer: the memory of its input and output, by number, their shapes, and how they lie in it."""

    name: str
    layer: nn.Module
    source: int = -1
    result: int = -1
    source_shape: tuple[int, ...] = ()
    result_shape: tuple[int, ...] = ()
    source_view: tuple[Any, ...] = ()
    result_view: tuple[Any, ...] = ()


@dataclass
class _Flow:
    """The layers that ran, in order, and how many operators read each piece of memory."""

    calls: list[_Call] = field(default_factory=list)
    reads: Counter[int] = field(default_factory=Counter)
    held: list[Tensor] = field(default_factory=list)
    inner: int = -1
    """The memory that the network inside `Deployed` got as its input."""

    def once(self, layer: nn.Module) -> bool:
        """Whether a layer ran once, and each of its parameters was read once: nothing else depends on it."""
        runs = sum(call.layer is layer for call in self.calls)
        return runs == 1 and all(self.reads[memory_of(p)] == 1 for p in layer.parameters(recurse=False))

    def pairs(self) -> Iterator[tuple[_Call, _Call]]:
        """Layers of which the second is all that reads the output of the first."""
        makers = {call.result: call for call in self.calls}
        for call in self.calls:
            first = makers.get(call.source)
            alone = first is not None and first is not call and self.reads[call.source] == 1
            if first is not None and alone and first.result_view == call.source_view:
                yield first, call


class _Reader(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operators that read a piece of memory. Views read nothing; what writes in place reads."""

    def __init__(self, flow: _Flow) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flow = flow

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        tensors = list(tensors_in((args, tuple((kwargs or {}).values()))))
        results = list(tensors_in((outputs,)))
        self.flow.held += results  # so that no address is used twice
        sources = {memory_of(t) for t in tensors}
        view = not func._schema.is_mutable and bool(results) and all(memory_of(t) in sources for t in results)
        if not view:
            self.flow.reads.update(sources)
        return outputs


def _follow(network: nn.Module, input_shape: Sequence[int]) -> _Flow:
    flow = _Flow()
    parameter = next(iter(network.parameters()), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    x = torch.zeros((1, *input_shape), device=device)
    flow.held.append(x)
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, (_ConvNd, nn.Linear, _BatchNorm)):
            call = _Call(name, module)
            handles.append(module.register_forward_pre_hook(_note_source(call)))
            handles.append(module.register_forward_hook(_note_result(flow, call)))
    if isinstance(network, Deployed):
        handles.append(network.network.register_forward_pre_hook(lambda _, x: setattr(flow, "inner", memory_of(x[0]))))
    try:
        with _Reader(flow):
            outputs = network(x)
    finally:
        for handle in handles:
            handle.remove()
    flow.reads.update({memory_of(t) for t in tensors_in((outputs,))})
    return flow


def _note_source(call: _Call) -> Callable[..., None]:
    def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        call.source, call.source_shape, call.source_view = (
            memory_of(inputs[0]),
            tuple(inputs[0].shape),
            _view(inputs[0]),
        )

    return note


def _note_result(flow: _Flow, call: _Call) -> Callable[..., None]:
    def note(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        call.result, call.result_shape, call.result_view = memory_of(output), tuple(output.shape), _view(output)
        flow.calls.append(_Call(**vars(call)))

    return note


def _view(t: Tensor) -> tuple[Any, ...]:
    return tuple(t.shape), t.stride(), t.storage_offset()


def _same(network: nn.Module, folded: nn.Module, input_shape: Sequence[int]) -> bool:
    """Whether two networks answer alike (also true of networks without weights, which have no answers)."""
    parameter = next(iter(network.parameters()), None)
    if parameter is None or parameter.is_meta:
        return True
    generator = torch.Generator().manual_seed(0)
    for scale in _SCALES:
        x = (torch.rand((2, *input_shape), generator=generator) * scale).to(parameter.device)
        expected, answers = list(tensors_in((network(x),))), list(tensors_in((folded(x),)))
        if not expected or len(answers) != len(expected):
            return False
        for before, after in zip(expected, answers, strict=True):
            # Written so that what is not finite differs.
            if not float((after - before).abs().max()) <= TOLERANCE * max(1.0, float(before.abs().max())) < math.inf:
                return False
    return True


# -- folding ----------------------------------------------------------------------------------------------------------


def _fold(network: nn.Module, input_shape: Sequence[int], rule: Callable[[_Call, _Call], nn.Module | None]) -> bool:
    """Apply a rule to pairs of neighbours; each layer takes part once. Whether anything changed."""
    flow = _follow(network, input_shape)
    done: set[int] = set()
    for first, second in flow.pairs():
        layers = {id(first.layer), id(second.layer)}
        if done & layers or not (flow.once(first.layer) and flow.once(second.layer)):
            continue
        if first.layer._forward_hooks or second.layer._forward_pre_hooks:
            continue  # the user's own code looks at what lies between
        dropped = rule(first, second)
        if dropped is not None:
            done |= layers
            _replace(network, first.name if dropped is first.layer else second.name, nn.Identity())
    return bool(done)


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent) if parent else network, child, module)


def _norms(first: _Call, second: _Call) -> nn.Module | None:
    """Batch normalisation into the layer before it."""
    layer, norm = first.layer, second.layer
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
        return None
    if isinstance(layer, _BatchNorm) or "weight" not in layer._parameters or _channels(layer) != norm.num_features:
        return None
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    if isinstance(layer, nn.Linear):
        if len(first.result_shape) != 2:
            return None  # of three dimensions, the second is the one that is normalised
        weight, bias = fuse_linear_bn_weights(layer.weight, layer.bias, *statistics)
    elif isinstance(layer, _ConvNd) and not (isinstance(layer, _ConvTransposeNd) and layer.groups > 1):
        transposed = isinstance(layer, _ConvTransposeNd)
        weight, bias = fuse_conv_bn_weights(layer.weight, layer.bias, *statistics, transpose=transposed)
    else:
        return None
    layer.weight, layer.bias = _parameter(weight), _parameter(bias)
    return norm


def _chains(first: _Call, second: _Call) -> nn.Module | None:
    """Two linear layers, or two convolutions of which one has kernel 1, into one."""
    a, b = first.layer, second.layer
    bias: Tensor | None
    if type(a) is nn.Linear and type(b) is nn.Linear:
        if a.in_features * b.out_features > a.weight.numel() + b.weight.numel():
            return None
        bias = b.bias if a.bias is None else b.weight @ a.bias + (0 if b.bias is None else b.bias)
        a.weight, a.bias = _parameter(b.weight @ a.weight), None if bias is None else _parameter(bias)
        a.out_features = b.out_features
        return b
    if not (type(a) is nn.Conv2d and type(b) is nn.Conv2d and a.groups == b.groups == 1):
        return None
    places, later = _pixels(first.result_shape), _pixels(second.result_shape)
    macs = a.weight.numel() * places + b.weight.numel() * later
    if _pointwise(b) and a.in_channels * b.out_channels * a.weight[0, 0].numel() * later <= macs:
        mix = b.weight[:, :, 0, 0]
        bias = b.bias if a.bias is None else mix @ a.bias + (0 if b.bias is None else b.bias)
        a.weight = _parameter(torch.einsum("om,mihw->oihw", mix, a.weight))
        a.bias, a.out_channels = None if bias is None else _parameter(bias), b.out_channels
        return b
    padded = b.padding not in (0, (0, 0), "valid")
    if (
        _pointwise(a)
        and not (padded and (a.bias is not None or b.padding_mode != "zeros"))
        and a.in_channels * b.out_channels * b.weight[0, 0].numel() * later <= macs
    ):
        mix = a.weight[:, :, 0, 0]
        added = None if a.bias is None else torch.einsum("omhw,m->o", b.weight, a.bias)
        b.weight = _parameter(torch.einsum("omhw,mi->oihw", b.weight, mix))
        if added is not None:
            b.bias = _parameter(added if b.bias is None else b.bias + added)
        b.in_channels = a.in_channels
        return a
    return None


def _inputs(network: Deployed, flow: _Flow) -> tuple[nn.Module, bool]:
    """The normalisation of stored images into the convolution that alone reads it."""
    first = next((call for call in flow.calls if isinstance(call.layer, _ConvNd)), None)
    if first is None or not isinstance(first.layer, nn.Conv2d) or not flow.once(first.layer):
        return network, False
    layer, channels = first.layer, network.mean.numel()
    # Only memory that no other layer has written can be the normalised image: its one reader is this convolution.
    is_image = first.source == flow.inner and flow.reads[first.source] == 1
    if not is_image or layer.groups != 1 or layer.in_channels != channels or layer.padding_mode != "zeros":
        return network, False
    std, mean = network.std.view(1, -1, 1, 1), network.mean
    layer.weight = _parameter(layer.weight / std)
    if type(layer) is not nn.Conv2d or layer.padding not in (0, (0, 0), "valid"):
        return Centred(network.network, mean), True
    shift = torch.einsum("oihw,i->o", layer.weight, mean.flatten())
    layer.bias = _parameter(-shift if layer.bias is None else layer.bias - shift)
    return network.network, True


def _pointwise(layer: nn.Conv2d) -> bool:
    return layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.padding in (0, (0, 0), "valid", "same")


def _pixels(shape: Sequence[int]) -> int:
    return shape[2] * shape[3] if len(shape) == 4 else 1


def _channels(layer: nn.Module) -> int:
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore[arg-type]


def _parameter(t: Tensor) -> nn.Parameter:
    return nn.Parameter(t.detach(), requires_grad=False)
