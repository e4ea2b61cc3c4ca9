"""The number of multiply-adds."""

from __future__ import annotations

from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.estimator import Setting
from archscout.core.registry import register
from archscout.networks.tracing import trace_architecture


@register("cost", "macs")
class Macs(Cost):
    """Multiply-adds of the convolutions and matrix products for one example.

    Half of what `torch.utils.flop_counter` counts, by its formulas: padding counts as data; biases, normalisation,
    activations, pooling and sums are free. A network with operators that multiply matrices and have no formula (a
    Fourier transform, an operator of another package) has no count: `measure` raises `ArchscoutError` and names them.
    """

    name = "macs"
    key = "macs"

    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        graph = trace_architecture(setting.space, architecture, setting.task)
        return Measurement(float(graph.macs))
