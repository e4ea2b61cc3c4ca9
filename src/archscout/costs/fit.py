"""Whether a network fits into a microcontroller."""

from __future__ import annotations

import math
from typing import ClassVar

from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.registry import register
from archscout.costs import devices
from archscout.costs.peak_memory import least_peak_bytes
from archscout.costs.weight_bytes import stored_bytes
from archscout.networks.tracing import blueprint, trace_architecture

_FLOAT_BYTES = 4


@register("cost", "fit@DEVICE")
class Fit(Cost):
    """Share of a microcontroller's memory that the int8 network takes: above 1 it does not fit.

    The larger of two shares: activations at one byte a number, in the best order of operators (`peak_memory`), with
    what the runtime needs, of the SRAM; weights at 8 bits (`weight_bytes:bits=8`), with the runtime, of the flash.
    Infinite where the device does not run an operator; `details` says which, and has both shares.
    `--max fit@cortex-m4=1` lets nothing win that does not fit.

    Raises:
        UsageError: the device is unknown, or its memory is.
    """

    units: ClassVar = {"": 1.0}

    def __init__(self, device: str) -> None:
        self.device = devices.find(device)
        if self.device.memory is None:
            known = [name for name in devices.names() if devices.find(name).memory]
            raise UsageError(
                f"nothing is known of the memory of device '{device}': ask for one of {', '.join(known)}, or put its "
                f"sizes ('memory') into a profile in '{devices.user_folder()}'."
            )
        self.memory = self.device.memory
        self.name = f"fit@{device}"
        self.key = f"fit@{device}"

    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        graph = trace_architecture(setting.space, architecture, setting.task)
        missing = self.device.unsupported(graph.labels)
        sram = least_peak_bytes(graph)[0] / _FLOAT_BYTES + self.memory.runtime_sram_bytes
        network = blueprint(setting.space, architecture, setting.task)
        flash = stored_bytes(network, bits=8) + self.memory.runtime_flash_bytes
        shares = {"sram": sram / self.memory.sram_bytes, "flash": flash / self.memory.flash_bytes}
        value = math.inf if missing else max(shares.values())
        return Measurement(value, details={**shares, "unsupported": missing})
