"""Batch normalisation while networks are scored: by the statistics of the batch, or otherwise than it does by itself.

Layers and calls of `F.batch_norm` in a user's own code are treated alike.
"""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from archscout.estimators.zero_cost.layers import familiar, is_familiar

_SIGNATURE = inspect.signature(F.batch_norm)
_OF_TORCH = ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps")
"""Arguments of `torch.batch_norm` by place."""


def by_batch_statistics(network: nn.Module) -> None:
    """Let batch normalisation use the statistics of the batch from now on, and leave those that it keeps."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.train()
            module.momentum = 0.0
        elif not is_familiar(module):
            module.__class__ = _normalising(type(module))  # type: ignore[arg-type]  # a class can be hashed


@contextmanager
def normalised_by(network: nn.Module, function: Callable[[Any, Tensor], Tensor]) -> Iterator[None]:
    """Let batch normalisation give `function(layer, input)`, within the block.

    The layer has what scores ask for: `num_features`, `eps`, `affine`, `weight` and `bias`.
    """
    layers: list[Any] = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for layer in layers:
        layer.forward = partial(function, layer)
    calls: AbstractContextManager[Any] = nullcontext() if familiar(network) else _Calls(partial(_give, function))
    try:
        with calls:
            yield
    finally:
        for layer in layers:
            del layer.forward


def unchanged(layer: Any, x: Tensor) -> Tensor:
    """No normalisation, for `normalised_by`."""
    return x


def _give(function: Callable[[Any, Tensor], Tensor], arguments: dict[str, Any]) -> Tensor:
    x, weight, bias = arguments["input"], arguments.get("weight"), arguments.get("bias")
    eps = arguments.get("eps", 1e-5)
    layer = SimpleNamespace(num_features=x.shape[1], eps=eps, affine=weight is not None, weight=weight, bias=bias)
    return function(layer, x)


class _Within(threading.local):
    """Whether a thread is in a module whose calls are seen to already: one's own may hold each other."""

    reached = False


_within = _Within()


class _Calls(TorchFunctionMode):
    """Gives for calls of `F.batch_norm` and `torch.batch_norm` what a function makes of their arguments."""

    def __init__(self, function: Callable[[dict[str, Any]], Tensor]) -> None:
        super().__init__()
        self.function = function

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm:
            return self.function(dict(_SIGNATURE.bind(*args, **kwargs).arguments))
        if func is torch.batch_norm:
            return self.function(dict(zip(_OF_TORCH, args, strict=False)) | kwargs)
        return func(*args, **kwargs)


def _of_the_batch(arguments: dict[str, Any]) -> Tensor:
    arguments.pop("cudnn_enabled", None)
    x = arguments["input"]
    if math.prod(x.shape) == x.shape[1] and arguments.get("running_mean") is not None:
        return F.batch_norm(**arguments)  # one number a channel has no statistics: as asked for, where layers are told
    return F.batch_norm(**arguments | {"training": True, "momentum": 0.0})


@lru_cache(maxsize=256)
def _normalising(kind: type[nn.Module]) -> type[nn.Module]:
    """The class of modules with this code, in which calls of batch normalisation use the statistics of the batch.

    A class, since what runs parts of a network again replaces `forward` of single modules.
    """
    if getattr(kind, "normalises_by_batch", False):
        return kind

    def forward(self: nn.Module, *inputs: Any, **named: Any) -> Any:
        if _within.reached:
            return kind.forward(self, *inputs, **named)
        _within.reached = True
        try:
            with _Calls(_of_the_batch):
                return kind.forward(self, *inputs, **named)
        finally:
            _within.reached = False

    members = {"forward": forward, "normalises_by_batch": True, "__module__": kind.__module__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), members)
