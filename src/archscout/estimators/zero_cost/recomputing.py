"""Backward passes in little memory: beyond a limit, parts of a network keep nothing but their inputs.

What a backward pass needs of such a part is made again when the pass gets there, and dropped when it has passed (Chen,
Xu, Zhang, Guestrin 2016, "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174). Below the limit nothing
changes, so that small batches cost what they cost. PyTorch's own checkpoints load its compiler, a second's work in
every process, and leave it open in what order hooks within a part see what was made again and its gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks

LIMIT = 800_000_000
"""Bytes that a pass may hold. NAS-Bench-201's largest network holds 0.6e9 with a batch of 64."""

_SHARE = 0.25
"""Of the limit: what a part may hold that is made again; beyond it, its own parts are treated alike."""

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@contextmanager
def recomputing(
    network: nn.Module, again: Callable[[], AbstractContextManager[Any]] = nullcontext, *, share: float = 1
) -> Iterator[None]:
    """Forward passes within the block hold no more than about `LIMIT`; their backward passes may come later.

    Args:
        network: its parts must give the same for the same inputs and parameters each time they run.
        again: what a part runs within when it is made again, for hooks that look at its tensors and their gradients.
        share: of the limit.
    """
    kept, some = _Kept(share * LIMIT), list(parts(network))
    for part in some:
        part.forward = partial(_run, part, part.forward, kept, again)
    try:
        yield
    finally:
        for part in some:
            del part.forward


def parts(network: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules with parts of their own that are no mere lists of such modules: cells, blocks, stems."""
    for child in network.children():
        inner = list(child.children())
        if isinstance(child, _CONTAINERS) and any(any(True for _ in each.children()) for each in inner):
            yield from parts(child)
        elif inner:
            yield child


class _Kept:
    """How many bytes forward passes have kept, and the most that a part needs."""

    def __init__(self, limit: float) -> None:
        self.limit, self.bytes, self.largest = limit, 0, 0

    @property
    def full(self) -> bool:
        """Whether a part that is made again would be too much: it holds what it keeps, and about as much beside it."""
        return self.bytes + 2 * self.largest > self.limit

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what autograd keeps within the block."""
        sizes: dict[int, int] = {}

        def keep(x: Tensor) -> Tensor:
            storage = x.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return x.detach()  # an output that its own function keeps would keep the function

        with saved_tensors_hooks(keep, lambda x: x):
            yield
        size = sum(sizes.values())
        self.bytes += size
        self.largest = max(self.largest, size)


def _run(
    part: nn.Module,
    forward: Callable[..., Any],
    kept: _Kept,
    again: Callable[[], AbstractContextManager[Any]],
    *inputs: Any,
    **named: Any,
) -> Any:
    if not torch.is_grad_enabled() or named or not all(isinstance(x, Tensor) for x in inputs):
        return forward(*inputs, **named)
    if kept.full:
        with torch.no_grad():
            y = forward(*inputs)
    else:
        before = kept.bytes
        with kept.counting():
            y = forward(*inputs)
        if not kept.full:
            return y
        kept.bytes = before  # what it has kept goes with the graph of its output
        with torch.no_grad():
            y = y.detach() if isinstance(y, Tensor) else y
    if not isinstance(y, Tensor):
        return forward(*inputs)
    kept.bytes += sum(x.nbytes for x in inputs)
    weights = [parameter for parameter in part.parameters() if parameter.requires_grad]
    return _Again.apply(part, forward, again, y, len(inputs), *inputs, *weights)  # type: ignore[no-untyped-call]


class _Again(torch.autograd.Function):
    """The output of a part as a function of its inputs and parameters; the part runs again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, part: nn.Module, forward: Any, again: Any, y: Tensor, count: int, *tensors: Tensor) -> Tensor:
        ctx.part, ctx.run, ctx.again, ctx.count = part, forward, again, count
        ctx.save_for_backward(*tensors)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        tensors, wanted = ctx.saved_tensors, ctx.needs_input_grad[5:]
        inputs = [x.detach().requires_grad_(w) for x, w in zip(tensors[: ctx.count], wanted, strict=False)]
        sources = [*inputs, *tensors[ctx.count :]]
        with torch.enable_grad(), ctx.again(), recomputing(ctx.part, ctx.again, share=_SHARE):
            y = ctx.run(*inputs)
        gradients = iter(torch.autograd.grad(y, [x for x in sources if x.requires_grad], slope, allow_unused=True))
        return *(None,) * 5, *(next(gradients) if x.requires_grad else None for x in sources)
