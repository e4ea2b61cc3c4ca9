"""The meta device for networks that are only counted: what would draw or fill their weights does nothing there.

Without it, most of the time that building such a network takes goes into operators that initialise no memory.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import init
from torch.utils._device import DeviceContext

_FILLS = frozenset(
    (init.kaiming_normal_, init.kaiming_uniform_, init.normal_, init.uniform_, init.constant_,
     Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_)
)  # fmt: skip


class Undrawn(DeviceContext):
    """As `torch.device("meta")`; tensors of other devices are filled as ever."""

    def __init__(self) -> None:
        super().__init__("meta")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _FILLS:
            filled = args[0] if args else (kwargs or {}).get("tensor")
            if isinstance(filled, Tensor) and filled.is_meta:
                return filled
        return super().__torch_function__(func, types, args, kwargs)  # type: ignore[no-untyped-call]
