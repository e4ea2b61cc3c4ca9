"""Lookup tables: the time of a network as the sum of the times of its layers, each measured alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Option
from archscout.core.errors import UsageError
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.costs.latency import measure_module
from archscout.costs.models.base import LatencyModel, checked
from archscout.networks.pick import build

Key = tuple[str, tuple[tuple[int, ...], ...]]
Timer = Callable[[nn.Module, tuple[int, ...]], float]


def measured(module: nn.Module, input_shape: tuple[int, ...]) -> float:
    """Milliseconds of a module alone, on this machine, for one example of `input_shape`."""
    return measure_module(module, input_shape).value


class LookupTable(LatencyModel):
    """Times of layers measured in isolation, summed, scaled and shifted to a few whole networks.

    A layer is a module without children; what its settings are and the shape that it gets are its key, so that a layer
    which occurs in many networks is measured once, when it is first met. Sums and activations that are function calls
    have no entry: the calibration by whole networks (`fit`) stands for them. Without `fit`, a prediction is the plain
    sum.

    `expected` is the mean over distributions of choices, differentiable, for methods that search by gradients.

    Args:
        space: what the architectures belong to.
        task: what the networks are built for.
        timer: milliseconds of a module for one example of a shape. Default: measured on this machine.
    """

    def __init__(self, space: Space, task: Task, timer: Timer = measured) -> None:
        self.space, self.task, self.timer = space, task, timer
        self.entries: dict[Key, float] = {}
        self._scale, self._offset, self._deviation = 1.0, 0.0, float("nan")

    def layers(self, architecture: Architecture) -> list[tuple[Key, nn.Module]]:
        """Every execution of a layer in one run of the network, in order."""
        network = build(self.space, architecture, self.task).eval()
        with _recorded(network) as runs, torch.no_grad():
            network(torch.zeros((1, *self.task.input_shape)))
        return runs

    def total(self, architecture: Architecture) -> float:
        """The sum over the layers, in milliseconds; layers not met before are measured."""
        return sum(self._time(key, module) for key, module in self.layers(architecture))

    def fit(self, space: Space, architectures: Sequence[Architecture], ms: Sequence[float] | np.ndarray) -> Self:
        """Calibrate by whole networks: times are a line over the sums, with a slope that is not negative."""
        times = checked(space, architectures, ms)
        if space.digest != self.space.digest:
            raise UsageError(f"this lookup table is one of space '{self.space.name}', not of '{space.name}'.")
        sums = np.array([self.total(architecture) for architecture in architectures])
        apart = sums - sums.mean()
        slope = float(apart @ times / (apart @ apart)) if apart @ apart > 0 else 0.0
        if slope <= 0:  # too few or too similar networks: the sums keep their proportions
            slope = float(times.mean() / sums.mean())
        self._scale, self._offset = slope, float(times.mean() - slope * sums.mean())
        errors = np.log(self._line(sums) / times)
        self._deviation = float(np.sqrt((errors**2).sum() / max(1, len(times) - 2)))
        return self

    def predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        sums = np.array([self.total(architecture) for architecture in architectures])
        return self._line(sums), np.full(len(sums), self._deviation)

    def _line(self, sums: np.ndarray) -> np.ndarray:
        return np.maximum(self._offset + self._scale * sums, 1e-6)

    # -- expectation ----------------------------------------------------------------------------------------------

    def by_choice(self, samples: int = 200, *, seed: int = 0) -> tuple[float, dict[str, dict[Option, float]]]:
        """A constant and, for each option of each choice, the milliseconds that it adds, by least squares.

        Exact, up to what cannot be told apart, where layers of different choices do not shape each other.
        """
        rng = stream(seed, "lookup table")
        sampled = [self.space.sample(rng) for _ in range(samples)]
        design = np.hstack([np.ones((samples, 1)), self.space.encode(sampled).astype(float)])
        times, _ = self.predict(sampled)
        weights, *_ = np.linalg.lstsq(design, times, rcond=None)
        added: dict[str, dict[Option, float]] = {}
        position = 1
        for choice in self.space.choices:
            added[choice.name] = {}
            for option in choice.options:
                added[choice.name][option] = float(weights[position])
                position += 1
        return float(weights[0]), added

    @staticmethod
    def expected(table: tuple[float, Mapping[str, Mapping[Option, float]]], odds: Mapping[str, Tensor]) -> Tensor:
        """The mean latency, in milliseconds, where each choice is drawn from its own distribution.

        Args:
            table: what `by_choice` gave.
            odds: for each choice, the probabilities of its options, in their order; gradients flow through them.

        Raises:
            UsageError: a choice has no distribution, or one of another length.
        """
        constant, added = table
        parts = []
        for name, options in added.items():
            if name not in odds or odds[name].shape != (len(options),):
                raise UsageError(f"choice '{name}' needs the probabilities of its {len(options)} options.")
            parts.append(odds[name] @ torch.tensor(list(options.values()), dtype=odds[name].dtype))
        return constant + torch.stack(parts).sum()

    def _time(self, key: Key, module: nn.Module) -> float:
        if key not in self.entries:
            _, shapes = key
            free = isinstance(module, nn.Identity) or len(shapes) != 1
            self.entries[key] = 0.0 if free else float(self.timer(module, shapes[0]))
        return self.entries[key]


@contextmanager
def _recorded(network: nn.Module) -> Iterator[list[tuple[Key, nn.Module]]]:
    """Notes each run of a module without children: its settings and the shapes of the tensors that it gets."""
    runs: list[tuple[Key, nn.Module]] = []

    def note(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        shapes = tuple(tuple(x.shape[1:]) for x in inputs if isinstance(x, Tensor))
        runs.append(((repr(module), shapes), module))

    leaves = [module for module in network.modules() if not any(module.children())]
    hooks = [leaf.register_forward_pre_hook(note) for leaf in dict.fromkeys(leaves)]
    try:
        yield runs
    finally:
        for hook in hooks:
            hook.remove()
