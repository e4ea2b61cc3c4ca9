"""Instructions of a network on a microcontroller, before any training."""

from __future__ import annotations

from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.estimator import Setting
from archscout.core.registry import register
from archscout.costs.programs import counts, estimated


@register("cost", "instructions")
class Instructions(Cost):
    """Instructions of one answer of the network in integers on a Cortex-M4, as the C code of `archscout deploy`.

    An ESTIMATE from how often the loops of its kernels run; `archscout deploy` counts them in QEMU. Infinite where an
    operator has no integer form, which `details["refused"]` names.
    """

    name = "instructions"
    key = "instructions"

    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        program = counts(architecture, setting)
        return estimated(program.instructions, program)
