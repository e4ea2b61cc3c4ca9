"""In which number format and memory layout a network trains fastest: a few timed steps decide.

Bfloat16 halves the time of plain convolutions on a processor with matrix units for it (AMX, AVX512-BF16), doubles that
of depthwise ones, and is slower throughout where a processor must emulate it. Channels last is faster for most
networks, and some refuse it. No rule tells all of this beforehand, so steps of the network itself, on a batch of its
own size, are timed. Ties go to the first of `MODES`, by a margin wide enough that noise seldom decides.

Weights, their gradients and the state of the optimiser stay in single precision: bfloat16 is what operators compute in
(`torch.autocast`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.deploy.precision import MEMORY_FORMATS, Layout
from archscout.training.contexts import evaluation, hookable
from archscout.training.quick import quick_convolutions

Precision = Literal["float32", "bfloat16"]

MARGIN = 0.8
"""Another mode is taken only where it needs less than this share of the time of the one before it."""

SMALLEST_STEP = 2e8
"""Multiply-adds of a forward pass over a batch: with fewer, the calling of operators takes the time, and casts only add
to it."""

FEWEST_STEPS = 60
"""Steps of a training that are too few to pay for timing."""

TIMED_STEPS = 3
"""Of a batch of the training's size; the first prepares kernels and memory, and the fastest counts."""

PART, FEWEST = 4, 8
"""Steps on a fourth of a batch, of so many examples at least, tell which modes are worth timing."""

CLOSE = 1.6
"""Modes that take more than so many times as long as the fastest one there are not."""

KNOWN_FAMILIES = 1024


@dataclass(frozen=True)
class Mode:
    """How the arithmetic of a training runs."""

    precision: Precision
    layout: Layout

    @property
    def memory_format(self) -> torch.memory_format:
        return MEMORY_FORMATS[self.layout]

    def autocast(self, device: str) -> AbstractContextManager[Any]:
        """Where the network runs."""
        return _half(torch.device(device).type) if self.mixed else nullcontext()

    @property
    def mixed(self) -> bool:
        return self.precision == "bfloat16"

    def notes(self) -> dict[str, str]:
        """As JSON, for checkpoints and results."""
        return asdict(self)


@contextmanager
def _half(device: str) -> Iterator[None]:
    """Operators compute in bfloat16, convolutions on a processor with quicker gradients."""
    with torch.autocast(device, torch.bfloat16), quick_convolutions() if device == "cpu" else nullcontext():
        yield


MODES = (
    Mode("float32", "channels_last"),
    Mode("bfloat16", "channels_last"),
    Mode("float32", "contiguous"),
    Mode("bfloat16", "contiguous"),
)

_families: dict[tuple[Any, ...], Mode] = {}
"""What was chosen for networks like one that was timed; of this process alone."""


def choose(
    network: nn.Module,
    x: Tensor,
    loss: Callable[[nn.Module, Tensor], Tensor],
    *,
    steps: int,
    precision: str = "auto",
    layout: str = "auto",
) -> Mode:
    """The mode in which a training runs fastest; everything about the network is left as it was.

    Timed once for networks of one family: inputs of one shape, about the same number of multiply-adds and the same
    share of grouped convolutions.

    Args:
        network: on the device where it is trained.
        x: a batch of inputs, of the size that the training uses.
        loss: what is differentiated in a step, from network and inputs.
        steps: of the whole training.
        precision, layout: one that is given is not chosen.

    Raises:
        UsageError: if the network does not run as given.
    """
    modes = [m for m in MODES if precision in ("auto", m.precision) and layout in ("auto", m.layout)]
    device = x.device.type
    timed = device == "cpu" and steps >= FEWEST_STEPS
    work = grouped = 0.0
    with laid_out(network, torch.contiguous_format):
        if not runs_channels_last(network, x[:2]):
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
            modes = [mode for mode in modes if mode.layout == "contiguous"]
        if timed and len(modes) > 1:
            work, grouped = _profile(network, x[:2])
    if not modes:
        raise UsageError("the network does not run with its channels last: train it with layout=contiguous.")
    if precision == "auto" and device == "cuda":
        half: Precision = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
        return next(mode for mode in modes if mode.precision == half)
    if len(modes) == 1 or not timed:
        return modes[0]
    if work * len(x) < SMALLEST_STEP:
        return modes[0]
    size = round(math.log2(work))
    family = (torch.get_num_threads(), tuple(x.shape), tuple(modes), size, round(4 * grouped))
    if family not in _families:
        if len(_families) >= KNOWN_FAMILIES:
            _families.clear()
        _families[family] = _fastest(network, x, loss, modes)
    return _families[family]


def _fastest(network: nn.Module, x: Tensor, loss: Callable[[nn.Module, Tensor], Tensor], modes: list[Mode]) -> Mode:
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    modules = [(module, module.training) for module in network.modules()]
    try:
        network.train()
        part = x[: len(x) // PART]
        if len(part) >= FEWEST:
            rough = _timed(network, part, loss, modes)
            close = CLOSE * min(rough.values(), default=0.0)
            modes = [mode for mode in modes if mode in rough and rough[mode] <= close] or modes
        seconds = _timed(network, x, loss, modes) if len(modes) > 1 else {}
    finally:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        network.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, content in buffers:
                buffer.copy_(content)
        for module, training in modules:
            module.training = training
    fastest = modes[0]
    for mode in modes:
        if mode in seconds and seconds[mode] < MARGIN * seconds.get(fastest, math.inf):
            fastest = mode
    return fastest


def _timed(
    network: nn.Module, x: Tensor, loss: Callable[[nn.Module, Tensor], Tensor], modes: list[Mode]
) -> dict[Mode, float]:
    """Seconds of a step in each mode that the network runs in."""
    seconds: dict[Mode, float] = {}
    for mode in modes:
        with suppress(RuntimeError):  # an operator that has no bfloat16
            seconds[mode] = _step_seconds(network, x, loss, mode, TIMED_STEPS)
    return seconds


def _step_seconds(
    network: nn.Module, x: Tensor, loss: Callable[[nn.Module, Tensor], Tensor], mode: Mode, steps: int
) -> float:
    """Processor seconds of the fastest of some steps: other programs disturb it less than the time on the clock."""
    network.to(memory_format=mode.memory_format)  # type: ignore[call-overload]
    x = x.contiguous(memory_format=mode.memory_format)
    seconds = math.inf
    for _ in range(steps):
        network.zero_grad(set_to_none=True)
        started = time.process_time()
        with mode.autocast(x.device.type):
            value = loss(network, x)
        value.backward()  # type: ignore[no-untyped-call]
        seconds = min(seconds, time.process_time() - started)
    return seconds


def _profile(network: nn.Module, x: Tensor) -> tuple[float, float]:
    """Multiply-adds an example, and the share of the outputs of layers that come from grouped convolutions."""
    work = grouped = outputs = 0.0

    def look(module: nn.Module, _: Any, output: Any) -> None:
        nonlocal work, grouped, outputs
        weights = [p for p in module._parameters.values() if p is not None and p.ndim > 1]
        if isinstance(output, Tensor) and weights and len(x):
            outputs += output.numel()
            grouped += output.numel() if getattr(module, "groups", 1) > 1 else 0
            work += sum(weight.numel() / weight.shape[0] for weight in weights) * output.numel() / len(x)

    hooks = [module.register_forward_hook(look) for module in hookable(network)]
    try:
        with evaluation(network):
            network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return work, grouped / max(outputs, 1)


def runs_channels_last(network: nn.Module, x: Tensor) -> bool:
    """Whether a network takes feature maps whose channels lie last in memory; its weights are left in that layout.

    A module that calls `view` on feature maps, as many a tutorial does, refuses them.
    """
    try:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with evaluation(network):
            network(x.contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        return False
    return True


@contextmanager
def laid_out(network: nn.Module, layout: torch.memory_format) -> Iterator[None]:
    """The network with its weights in a memory layout; they are put back afterwards."""
    try:
        network.to(memory_format=layout)  # type: ignore[call-overload]
        yield
    finally:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


@contextmanager
def fast_layout(network: nn.Module, x: Tensor) -> Iterator[torch.memory_format]:
    """The network with its weights in the layout that is usually the faster one; they are put back afterwards."""
    with laid_out(network, torch.contiguous_format):
        if runs_channels_last(network, x):
            yield torch.channels_last
        else:
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
            yield torch.contiguous_format
