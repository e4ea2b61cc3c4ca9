"""Which calls of operators rectify: let through what is above zero, and hold back what is below."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_ALWAYS = frozenset({"relu", "leaky_relu", "prelu_kernel", "elu", "gelu", "silu", "hardswish", "mish"})


def rectified(name: str, args: Any, kwargs: Any) -> Tensor | None:
    """The input of a rectifier (ReLU, or what is zero or small below zero); None for other calls.

    Args:
        name: of the operator, without underscores at its ends.
        args: its arguments by place.
        kwargs: those by name.
    """
    if name in _ALWAYS:
        return args[0] if args else None
    rule = _RULES.get(name)
    return None if rule is None else rule(args, kwargs)


def _from_zero(args: Any, kwargs: Any) -> Tensor | None:
    """Of the clamps only those that begin at zero rectify, such as ReLU6."""
    low = args[1] if len(args) > 1 else kwargs.get("min", kwargs.get("min_val"))
    return args[0] if low is not None and _is_zero(low) else None


def _threshold(args: Any, kwargs: Any) -> Tensor | None:
    where, value = (args[1:3] if len(args) > 2 else (kwargs.get("threshold", 1), kwargs.get("value", 1)))[:2]
    return args[0] if where == value == 0 else None


def _of_two(args: Any, kwargs: Any) -> Tensor | None:
    two = [*args, *(kwargs[name] for name in ("other",) if name in kwargs)]
    if len(two) != 2 or not all(isinstance(each, Tensor) for each in two):
        return None
    return next((two[1 - place] for place in (1, 0) if _is_zero(two[place])), None)


def _where(args: Any, kwargs: Any) -> Tensor | None:
    if len(args) != 3 or not isinstance(args[1], Tensor) or kwargs:
        return None
    return args[1] if _is_sign(args[0], args[1]) else None


def _masked(args: Any, kwargs: Any) -> Tensor | None:
    if len(args) != 2 or not all(isinstance(each, Tensor) for each in args):
        return None
    return next((args[1 - place] for place in (1, 0) if _is_sign(args[place], args[1 - place])), None)


def _is_zero(x: Any) -> bool:
    return not bool(x.any()) if isinstance(x, Tensor) else x == 0


def _is_sign(mask: Tensor, x: Tensor) -> bool:
    """Whether a mask is where a tensor is above zero."""
    if mask.dtype != torch.bool or mask.shape != x.shape or x.dtype == torch.bool:
        return False
    return torch.equal(mask, x > 0) or torch.equal(mask, x >= 0)


_RULES = {
    **dict.fromkeys(("hardtanh", "clamp", "clip", "clamp_min"), _from_zero),
    "threshold": _threshold,
    **dict.fromkeys(("maximum", "max", "fmax"), _of_two),
    "where": _where,
    **dict.fromkeys(("mul", "rmul", "imul", "multiply"), _masked),
}
