"""Bytes of flash on a microcontroller, before any training."""

from __future__ import annotations

from typing import ClassVar

from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.estimator import Setting
from archscout.core.registry import register
from archscout.costs.peak_memory import BYTES
from archscout.costs.programs import counts, estimated


@register("cost", "flash")
class Flash(Cost):
    """Bytes of flash that the network in integers takes on a microcontroller, as the C code of `archscout deploy`.

    Weights of 8 bits, biases, factors and descriptions of layers as they will be; the code of the kernels that it needs
    as it was linked for a Cortex-M4. An ESTIMATE, tested to be within 5 % of what is linked. Infinite where an operator
    has no integer form, which `details["refused"]` names.
    """

    name = "flash"
    key = "flash_bytes"
    units: ClassVar = BYTES

    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        program = counts(architecture, setting)
        return estimated(program.flash, program)
