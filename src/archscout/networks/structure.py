"""What tells the structure of one module from that of another."""

from __future__ import annotations

from typing import Any

from torch import nn

from archscout.core.digest import Digest

_TENSORS = ("_parameters", "_buffers")
_ELSEWHERE = (*_TENSORS, "_modules", "training", "_non_persistent_buffers_set")


def structure(module: nn.Module) -> str:
    """A digest of a module without the values of its parameters and buffers.

    In it are the tree of its parts with their classes and attributes, hooks, the code of classes that are a user's own,
    and shapes, types, sharing and `requires_grad` of all tensors.
    """
    return _Structure(module).add(module).text()


class _Structure(Digest):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        # Layers also hold some of their tensors as plain attributes (the flat weights of an LSTM).
        self._registered = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}

    def array(self, value: Any) -> None:
        if id(value) not in self._registered:
            super().array(value)
        elif not self._met(value):
            shape = "lazy" if nn.parameter.is_lazy(value) else tuple(value.shape)
            self.mark(f"tensor {shape} {value.dtype} {value.requires_grad}")

    def reference(self, value: Any) -> None:
        if not isinstance(value, nn.Module):
            super().reference(value)
            return
        self.mark("layer").add(type(value))
        for name in _TENSORS:
            self.add(vars(value)[name])
        self.add(vars(value).get("_non_persistent_buffers_set", set()))
        for name, attribute in vars(value).items():
            if name in _ELSEWHERE:
                continue
            if "_hooks" in name and isinstance(attribute, dict):
                attribute = list(attribute.values())  # the keys are numbers that count all hooks of the process
            self.add(name).add(attribute)
        self.add(vars(value)["_modules"])
