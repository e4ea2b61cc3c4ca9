"""What each layer of a trained network costs, and what is left of that when it is cut: for choosing among cuts."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from archscout.backbones.adapted import inner
from archscout.core.choice import Choice, Option
from archscout.networks.cutting import Cut
from archscout.networks.labels import Axis
from archscout.spaces.trained import TrainedSpace

FLOOR = 0.15
"""Of the time of a layer, what remains however little it computes."""


@dataclass
class _Layer:
    """A layer with weights, by the name of these, and what it costs whole."""

    weight: str
    macs: float
    seconds: float


class _Parts(NamedTuple):
    """What is left of the cost of each tensor and layer."""

    params: dict[str, float]
    macs: dict[str, float]
    seconds: dict[str, float]
    others: dict[str, float]

    def costs(self) -> dict[str, float]:
        seconds = sum(self.seconds.values()) + sum(self.others.values())
        return {"params": sum(self.params.values()), "macs": sum(self.macs.values()), "latency": seconds}


@dataclass
class Accounts:
    """What each layer of a network costs, and what is left of that under an architecture.

    Parameters are exact; so are the multiply-adds of convolutions and linear layers. Seconds were measured layer by
    layer in one run: those of a layer with weights shrink with its multiply-adds, down to `FLOOR`; those of all else
    stay as long as the layer does.

    Args:
        space: what can be cut.
        sizes: shapes of parameters.
        layers: with weights, by name.
        others: seconds of layers without weights, by name.
    """

    space: TrainedSpace
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    layers: dict[str, _Layer] = field(default_factory=dict)
    others: dict[str, float] = field(default_factory=dict)
    _indices: dict[str, dict[Axis, np.ndarray]] = field(default_factory=dict)
    """Of each group, how many indices of each axis go with each unit."""

    def costs(self, architecture: Mapping[str, Option]) -> dict[str, float]:
        """`params`, `macs` and `latency` (seconds) of an architecture."""
        what = self.space.cut_of(architecture)
        return self._parts(what, self._gone(what)).costs()

    def alternatives(self, architecture: Mapping[str, Option]) -> dict[str, list[dict[str, float]]]:
        """By choice, the `costs` of each of its options, all else as in an architecture, in less time."""
        before = self.space.cut_of(architecture)
        gone = self._gone(before)
        parts = self._parts(before, gone)

        def costs(choice: Choice, option: Option) -> dict[str, float]:
            what = self.space.cut_of({**architecture, choice.name: option})
            groups = [name for name in self.space.groups if what.units.get(name) != before.units.get(name)]
            now = Counter(gone)
            for group in groups:
                now.subtract(self._of_units(group, before.units.get(group, ())))
                now.update(self._of_units(group, what.units.get(group, ())))
            changed = self._parts(what, now, self._touched(what, before, groups))
            return _Parts(*({**whole, **part} for whole, part in zip(parts, changed, strict=True))).costs()

        return {choice.name: [costs(choice, option) for option in choice.options] for choice in self.space.choices}

    def _touched(self, what: Cut, before: Cut, groups: Sequence[str]) -> set[str]:
        """Tensors and layers in which two cuts differ."""
        names = {name for group in groups for name, _ in self.space.groups[group].units[0]}
        kernels = {*what.kernels, *before.kernels}
        names |= {f"{layer}.weight" for layer in kernels if what.kernels.get(layer) != before.kernels.get(layer)}
        blocks = tuple(f"{block}." for block in set(what.blocks) ^ set(before.blocks))
        if blocks:
            names |= {name for each in (self.sizes, self.layers, self.others) for name in each
                      if name.startswith(blocks)}  # fmt: skip
        return names | {name.rpartition(".")[0] for name in names}

    def _parts(self, what: Cut, gone: Mapping[Axis, int], names: set[str] | None = None) -> _Parts:
        """Of all tensors and layers, or of those of these names."""
        blocks = tuple(f"{block}." for block in what.blocks)

        def wanted(all_names: Iterable[str]) -> Iterable[tuple[str, bool]]:
            """Names, and whether anything is left of them."""
            return (
                (name, not (blocks and name.startswith(blocks))) for name in all_names if names is None or name in names
            )

        def kernel(weight: str) -> float:
            """Of the places of a kernel, the share that is left."""
            layer, _, end = weight.rpartition(".")
            if end != "weight" or layer not in what.kernels:
                return 1.0
            shape = self.sizes[weight]
            return float((what.kernels[layer] / shape[-1]) ** (len(shape) - 2))

        parts = _Parts({}, {}, {}, {})
        for name, stays in wanted(self.sizes):
            left = math.prod(float(size - gone.get((name, axis), 0)) for axis, size in enumerate(self.sizes[name]))
            parts.params[name] = left * kernel(name) if stays else 0.0
        for name, stays in wanted(self.layers):
            layer = self.layers[name]
            shape = self.sizes[layer.weight]
            share = math.prod(1 - gone.get((layer.weight, axis), 0) / size for axis, size in enumerate(shape))
            share *= kernel(layer.weight)
            parts.macs[name] = layer.macs * share if stays else 0.0
            parts.seconds[name] = layer.seconds * (FLOOR + (1 - FLOOR) * share) if stays else 0.0
        for name, stays in wanted(self.others):
            parts.others[name] = self.others[name] if stays else 0.0
        return parts

    def _gone(self, what: Cut) -> Counter[Axis]:
        """How many indices of each axis go."""
        gone: Counter[Axis] = Counter()
        for name, units in what.units.items():
            gone.update(self._of_units(name, units))
        return gone

    def _of_units(self, name: str, units: Sequence[int]) -> dict[Axis, int]:
        if name not in self._indices:
            group = self.space.groups[name]
            self._indices[name] = {axis: np.array([len(unit[axis]) for unit in group.units]) for axis in group.units[0]}
        places = np.asarray(units, dtype=int)
        return {axis: int(counts[places].sum()) for axis, counts in self._indices[name].items()}


def accounts(network: nn.Module, space: TrainedSpace, example: Tensor, runs: int = 5) -> Accounts:
    """Measure the layers of a network on an example (a batch of 1): the least time of a few runs each."""
    part = inner(network)
    known = Accounts(space, {name: tuple(p.shape) for name, p in part.named_parameters()})
    begun: dict[str, float] = {}
    times: dict[str, list[float]] = {}
    positions: dict[str, float] = {}
    handles = []

    def before(name: str) -> Any:
        def hook(*_: Any) -> None:
            begun[name] = time.perf_counter()

        return hook

    def after(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            times.setdefault(name, []).append(time.perf_counter() - begun[name])
            if isinstance(output, Tensor):
                weight = module._parameters.get("weight")
                channels = output.shape[-1 if isinstance(module, nn.Linear) else 1] if output.ndim > 1 else 1
                transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
                places = inputs[0].numel() / inputs[0].shape[1] if transposed else output.numel() / max(1, channels)
                positions[name] = places * (weight.numel() if weight is not None else 0)

        return hook

    for name, module in part.named_modules():
        if not any(True for _ in module.children()):
            handles += [module.register_forward_pre_hook(before(name)), module.register_forward_hook(after(name))]
    try:
        with torch.inference_mode():
            for _ in range(runs):
                network(example)
    finally:
        for handle in handles:
            handle.remove()
    for name, module in part.named_modules():
        if name in times:
            calls = max(1, len(times[name]) // runs)
            least = min(times[name]) * calls
            if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)) and f"{name}.weight" in known.sizes:
                known.layers[name] = _Layer(f"{name}.weight", positions[name] * calls, least)
            else:
                known.others[name] = least
    return known
