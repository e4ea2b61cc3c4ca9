"""In what numbers and in which memory layout a deployed network computes."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from archscout.core.errors import ArchscoutError, UsageError
from archscout.networks.outputs import precise

Precision = Literal["float32", "bfloat16", "int8"]
Layout = Literal["contiguous", "channels_last"]

DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Form:
    """What a figure of a deployed network holds for.

    Args:
        precision: what operators compute in, and what weights and activations are stored in.
        layout: of kernels and feature maps in memory, where PyTorch runs the network; other runtimes have their own.
    """

    precision: Precision = "float32"
    layout: Layout = "contiguous"

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and activations."""
        return DTYPES[self.precision]

    @property
    def bytes(self) -> int:
        """Of one number.

        >>> Form("int8").bytes
        1
        """
        return self.dtype.itemsize

    @property
    def memory_format(self) -> torch.memory_format:
        return MEMORY_FORMATS[self.layout]

    def as_json(self) -> dict[str, Any]:
        """For results."""
        return {"precision": self.precision, "layout": self.layout, "bytes_per_number": self.bytes}

    def applied(self, network: nn.Module) -> nn.Module:
        """A copy of a network that computes in this form in PyTorch, from inputs and to outputs in single precision.

        Raises `UsageError` for integers, which are not a matter of casting (`archscout.deploy.quantise`).
        """
        if self.precision == "int8":
            raise UsageError("a network is not cast to int8 but quantised: use archscout.quantise.")
        if self == Form():
            return copy.deepcopy(network)
        return _InForm(copy.deepcopy(network), self).train(network.training)


class _InForm(nn.Module):
    """A network in other numbers, or in another layout, than its inputs."""

    def __init__(self, network: nn.Module, form: Form) -> None:
        super().__init__()
        self.form = form
        self.network = network.to(form.dtype)
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.ndim == 4:
                tensor.data = tensor.data.contiguous(memory_format=form.memory_format)

    def forward(self, x: Tensor) -> Any:
        if x.ndim == 4:
            x = x.to(self.form.dtype, memory_format=self.form.memory_format)
        try:
            return precise(self.network(x.to(self.form.dtype)))
        except RuntimeError as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise ArchscoutError(
                f"the network does not run in {self.form.precision} with layout {self.form.layout} ({reason})."
            ) from error
