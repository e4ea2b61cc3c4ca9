"""The number of parameters."""

from __future__ import annotations

from archscout.core.architecture import Architecture
from archscout.core.cost import Cost, Measurement
from archscout.core.estimator import Setting
from archscout.core.registry import register
from archscout.networks.tracing import blueprint


@register("cost", "params")
class Params(Cost):
    """Parameters of the stand-alone network, with those of its batch normalisation and its head."""

    name = "params"
    key = "params"

    def measure(self, architecture: Architecture, setting: Setting) -> Measurement:
        network = blueprint(setting.space, architecture, setting.task)
        return Measurement(float(sum(parameter.numel() for parameter in network.parameters())))
