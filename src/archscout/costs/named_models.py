"""Latency models by name: what `archscout device fit` offers, each made for the networks of a setting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError, nearest
from archscout.core.estimator import Setting
from archscout.core.seeds import stream
from archscout.costs.memory_traffic import traffic_bytes
from archscout.costs.models.base import LatencyModel, Measured
from archscout.costs.models.bayesian import BayesianLatency
from archscout.networks.tracing import trace_architecture

DEFAULT = "bayesian"
NAMES = ("bayesian", "boosted", "gcn", "help", "linear", "lookup", "nasflat", "oneproxy")

FROM_OTHERS = ("help", "nasflat", "oneproxy")
"""Models that learn from devices that are known already."""

POOL = 300
"""Random architectures, beside the measured ones, of which known devices tell the latency."""

Known = Callable[[Sequence[Architecture]], list[Measured]]
"""What the known devices say of some architectures."""


def new_model(setting: Setting) -> BayesianLatency:
    """The default model for a device on which the networks of a setting are measured."""
    return BayesianLatency(counts=Counts(setting))


def named(
    name: str,
    setting: Setting,
    measured: Sequence[Architecture],
    ms: Sequence[float],
    known: Known,
    pool: Sequence[Architecture] | None = None,
) -> LatencyModel:
    """A model that is not fitted yet.

    Args:
        name: of `NAMES`.
        setting: whose networks are predicted.
        measured: what it will be fitted to; HELP takes its references among them.
        ms: their milliseconds, by which OneProxy's proxy is chosen: the device that ranks them most alike.
        known: the devices that some models learn from.
        pool: what they are asked of beside `measured`; 300 random architectures where not given.

    Raises:
        UsageError: there is no such model, or it needs other devices and none is known.
    """
    if name not in NAMES:
        raise UsageError(f"there is no latency model '{name}': {nearest(name, NAMES)}")
    if name == "bayesian":
        return new_model(setting)
    if name == "boosted":
        from archscout.costs.models.boosted import BoostedLatency

        return BoostedLatency(Counts(setting), seed=setting.seed)
    if name == "linear":
        from archscout.costs.models.linear import LinearLatency

        return LinearLatency(Counts(setting))
    if name == "gcn":
        from archscout.costs.models.gcn import GCNLatency

        return GCNLatency(seed=setting.seed)
    if name == "lookup":
        from archscout.costs.models.lookup import LookupTable

        return LookupTable(setting.space, setting.task)
    if pool is None:
        rng = stream(setting.seed, "known devices")
        pool = [setting.space.simplify(setting.space.sample(rng)) for _ in range(POOL)]
    return _from_others(name, setting, measured, ms, known, pool)


def _from_others(
    name: str,
    setting: Setting,
    measured: Sequence[Architecture],
    ms: Sequence[float],
    known: Known,
    pool: Sequence[Architecture],
) -> LatencyModel:
    asked = list({each.text: each for each in (*measured, *pool)}.values())
    others = known(asked)
    if not others:
        raise UsageError(
            f"latency model '{name}' learns from other devices, and none is known for these networks: take bayesian, "
            "boosted, gcn, linear or lookup."
        )
    if name == "oneproxy":
        from archscout.costs.models.oneproxy import OneProxyLatency, monotonicity

        times = {each.text: value for each, value in zip(measured, ms, strict=True)}
        first = [asked.index(each) for each in {each.text: each for each in measured}.values()]
        own = np.asarray([times[asked[place].text] for place in first])
        proxy = max(others, key=lambda other: monotonicity(other.ms[first], own))
        return OneProxyLatency(proxy, seed=setting.seed)
    if name == "nasflat":
        from archscout.costs.models.nasflat import DeviceEmbeddingLatency

        return DeviceEmbeddingLatency(others, seed=setting.seed)
    from archscout.costs.models.help import HELPLatency

    count = len({each.text for each in measured})
    return HELPLatency(others, references=min(10, count), among=count, seed=setting.seed)


class Counts:
    """Multiply-adds, bytes moved and operators of networks: (n, 3); each network is traced once."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.known: dict[str, tuple[int, int, int]] = {}

    def __call__(self, architectures: Sequence[Architecture]) -> np.ndarray:
        for architecture in architectures:
            if architecture.text not in self.known:
                graph = trace_architecture(self.setting.space, architecture, self.setting.task)
                macs = graph.macs
                self.known[architecture.text] = macs, traffic_bytes(graph), len(graph.nodes)
        return np.asarray([self.known[architecture.text] for architecture in architectures], dtype=float)
