"""Energy, estimated from counts and a device's constants."""

from __future__ import annotations

from typing import ClassVar

from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.graph import Graph
from archscout.core.registry import register
from archscout.costs import devices
from archscout.costs.memory_traffic import traffic_bytes
from archscout.networks.tracing import trace_architecture


@register("cost", "energy@DEVICE")
class Energy(Cost):
    """Microjoules for one example on a named device: an ESTIMATE from multiply-adds and memory traffic.

    Multiply-adds and bytes moved, each times the device's constant; the rest of a real machine (instructions, leakage,
    idle parts) is left out. It orders networks; it does not replace a power meter. `details` has both parts.

    Raises:
        UsageError: the device is unknown, or its energy constants are.
    """

    units: ClassVar = {"": 1.0, "uj": 1.0, "µj": 1.0, "nj": 1e-3, "mj": 1e3, "j": 1e6}

    def __init__(self, device: str) -> None:
        profile = devices.find(device)
        if profile.energy is None:
            known = [name for name in devices.names() if devices.find(name).energy]
            raise UsageError(
                f"nothing is known of the energy that device '{device}' takes: ask for one of {', '.join(known)}, or "
                f"put the constants ('energy') into a profile in '{devices.user_folder()}'."
            )
        self.constants = profile.energy
        self.name = f"energy@{device}"
        self.key = f"energy@{device}_uj"

    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        graph = trace_architecture(setting.space, architecture, setting.task)
        arithmetic, memory = microjoules(graph, self.constants)
        details = {"estimate": True, "arithmetic_uj": arithmetic, "memory_uj": memory}
        return Measurement(arithmetic + memory, details=details)


def microjoules(graph: Graph, constants: devices.Energy) -> tuple[float, float]:
    """What multiply-adds and memory traffic of a graph take, in microjoules."""
    moved = traffic_bytes(graph) / 4 * constants.bytes_per_number
    return graph.macs * constants.pj_per_mac / 1e6, moved * constants.pj_per_byte / 1e6
