"""What networks give: a tensor, or tensors by name where several heads share a body."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Outputs = Tensor | Mapping[str, Tensor]


def each(outputs: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Outputs with every tensor changed."""
    if isinstance(outputs, Mapping):
        return {name: change(tensor) for name, tensor in outputs.items()}
    return change(outputs)


def precise(outputs: Any) -> Any:
    """Outputs in single precision at least, without what gradients would need."""
    if isinstance(outputs, Tensor):  # asked first, because a step of a small network notices what `Mapping` takes
        return outputs.detach().float() if outputs.dtype in (torch.bfloat16, torch.float16) else outputs.detach()
    return each(outputs, precise)


def joined(parts: Sequence[Any]) -> Any:
    """The outputs of several batches, as those of one."""
    if isinstance(parts[0], Mapping):
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return torch.cat(list(parts))


def named(outputs: Any) -> dict[str, Tensor]:
    """Every tensor by its name; a single one is called `output`."""
    return dict(outputs) if isinstance(outputs, Mapping) else {"output": outputs}
