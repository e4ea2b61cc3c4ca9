"""The bytes that the stored weights take."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import register
from archscout.costs.peak_memory import BYTES
from archscout.networks.few_bits import FewBits
from archscout.networks.tracing import blueprint


@register("cost", "weight_bytes")
class WeightBytes(Cost):
    """Bytes of the stored weights, those of convolutions and matrices at a given number of bits.

    Args:
        bits: of each weight that belongs to a tensor of two or more dimensions; such a tensor takes whole bytes. All
            others (biases, normalisation and its statistics) are float32, 4 bytes. With 32 this is what the tensors
            take in a file. Weights that have bits of their own (space `compressed`) count as these.
    """

    units: ClassVar = BYTES

    def __init__(self, bits: int = 32) -> None:
        if type(bits) is not int or not 1 <= bits <= 32:
            raise UsageError(f"the bits of cost 'weight_bytes' must be a whole number from 1 to 32, not {bits}.")
        self.name = "weight_bytes"
        self.bits = bits
        self.key = "weight_bytes" if bits == 32 else f"weight_bytes_{bits}bit"

    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        network = blueprint(setting.space, architecture, setting.task)
        return Measurement(float(stored_bytes(network, self.bits)))


def stored_bytes(network: nn.Module, bits: int = 32) -> int:
    """What the parameters and statistics of a network take in a file; a tensor that occurs twice counts once.

    >>> stored_bytes(nn.Linear(3, 3), bits=4)
    17
    """
    own = {id(each.original): each[0].stored_bits(each.original) for each in network.modules()
           if isinstance(each, ParametrizationList) and isinstance(each[0], FewBits)}  # fmt: skip
    tensors = {id(t): t for t in (*network.parameters(), *network.buffers()) if t.is_floating_point()}
    return sum(math.ceil(own.get(key, t.numel() * (bits if t.ndim > 1 else 32)) / 8) for key, t in tensors.items())
