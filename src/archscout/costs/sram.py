"""Bytes of memory on a microcontroller, before any training."""

from __future__ import annotations

from typing import ClassVar

from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.estimator import Setting
from archscout.core.registry import register
from archscout.costs.peak_memory import BYTES
from archscout.costs.programs import counts, estimated


@register("cost", "sram")
class Sram(Cost):
    """Bytes of memory that the network in integers takes on a microcontroller, as the C code of `archscout deploy`.

    One block in which values share memory by their lifetimes, in the order of the code, with the workspace of
    convolutions; and the stack. An ESTIMATE, tested to be within 10 % of what is counted. Infinite where an operator
    has no integer form, which `details["refused"]` names.
    """

    name = "sram"
    key = "sram_bytes"
    units: ClassVar = BYTES

    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        program = counts(architecture, setting)
        return estimated(program.sram, program)
