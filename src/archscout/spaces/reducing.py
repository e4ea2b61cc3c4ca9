"""What the spaces that begin with a trained network share: the first option of each choice leaves it as it is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Option
from archscout.core.errors import UsageError
from archscout.core.space import Space
from archscout.core.task import Task

WHOLE = "whole"


class ReducingSpace(Space):
    """A trained network, and what may be done to make it cheaper."""

    @property
    @abstractmethod
    def untouched(self) -> Mapping[str, str]:
        """Layers that nothing is done to, and why."""

    @abstractmethod
    def adapted(self, task: Task) -> nn.Module:
        """The whole network for a task, its trained weights in place: a head of another size is new."""

    @property
    def widest(self) -> Architecture:
        """The network as it is."""
        return self.architecture({choice.name: choice.options[0] for choice in self.choices})

    def format(self, values: Mapping[str, Option]) -> str:
        """What differs from the network as it is; `whole` where nothing does."""
        cuts = {c.name: values[c.name] for c in self.choices if c.name in values and values[c.name] != c.options[0]}
        return super().format(cuts) if cuts else WHOLE

    def read(self, text: str) -> dict[str, Option]:
        """What a text does not name stays as it is."""
        values = {choice.name: choice.options[0] for choice in self.choices}
        return values if text.strip() == WHOLE else values | super().read(text)

    def check_task(self, task: Task) -> None:
        try:
            with torch.no_grad():
                outputs = self.adapted(task)(torch.zeros(2, *task.input_shape))
        except Exception as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise UsageError(
                f"network '{self.name}' cannot run on inputs of shape {task.input_shape} (task '{task.name}'): "
                f"{reason}."
            ) from error
        shape = tuple(getattr(outputs, "shape", ()))
        if shape[:2] != (2, task.outputs):
            raise UsageError(
                f"network '{self.name}' returns {type(outputs).__name__} of shape {shape} for two examples of task "
                f"'{task.name}', which needs (2, {task.outputs}): give it a last linear layer with so many outputs."
            )


def allowed(layer: str, only: Sequence[str], keep: Sequence[str]) -> bool:
    """Whether a layer may be changed, by names of layers or their beginnings."""

    def within(names: Sequence[str]) -> bool:
        return any(layer == name or layer.startswith(f"{name}.") for name in names)

    return not within(keep) and (not only or within(only))


def check_layers(name: str, network: nn.Module, layers: Iterable[str]) -> None:
    """Raise `UsageError` for a layer that a network does not have."""
    for layer in layers:
        if not any(key == layer or key.startswith(f"{layer}.") for key, _ in network.named_modules()):
            raise UsageError(f"network '{name}' has no layer '{layer}' to cut or keep: see named_modules().")
