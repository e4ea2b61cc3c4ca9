"""Where a trained network comes from: a backbone by name, a module, an exported program, a function of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from archscout.backbones.base import Backbone, fill, read_weights
from archscout.core.errors import UsageError
from archscout.core.registry import create, names
from archscout.core.task import Task
from archscout.networks.plain import copied, uncompiled
from archscout.spaces.trained import BackboneSpace, TrainedSpace, from_factory


@dataclass(frozen=True)
class Source:
    """Where a network comes from, as text and as a space for a task."""

    name: str
    make: Callable[[Task, int], TrainedSpace]
    """From a task and the size that a backbone gets its images at."""
    backbone: Backbone | None = None
    size: int | None = None
    """The size that was asked for."""


def source_of(
    network: nn.Module | str | Any,
    weights: str | Path | None = None,
    size: int | None = None,
    only: Sequence[str] = (),
    keep: Sequence[str] = (),
) -> Source:
    """The source of what `archscout.shrink` is given; its arguments are of the same names.

    Raises:
        UsageError: there is no such network, or what is asked of it is of another kind of source.
    """
    if isinstance(network, str) and network in names("backbone"):
        backbone = create("backbone", network)
        if weights is not None:
            raise UsageError(f"backbone '{network}' comes with its own weights: leave '{weights}' out.")
        backbone.file()  # says what to install

        def of_backbone(task: Task, side: int) -> TrainedSpace:
            return BackboneSpace(backbone, side, only=only, keep=keep)

        return Source(network, of_backbone, backbone, size)
    if isinstance(network, str):
        module_name, colon, factory = network.partition(":")
        if not colon:
            raise UsageError(
                f"there is no backbone '{network}': use one of {', '.join(names('backbone'))}, or write "
                "package.module:factory."
            )
        module, text = from_factory(module_name, factory), f"trained:{network}"
    elif isinstance(network, torch.export.ExportedProgram):
        module, text = network.module(), "trained:ExportedProgram"
    elif isinstance(network, nn.Module):
        module = uncompiled(network)
        text = f"trained:{type(module).__name__}"
    else:
        raise UsageError(f"a trained network is a torch.nn.Module or a name, not a {type(network).__name__}.")
    if weights is not None:
        module = fill(copied(module), read_weights(Path(weights)), f"'{weights}'")
    if size is not None:
        raise UsageError("the size of images is a choice for backbones alone: resize the data (size=N) for a network.")

    def of_module(task: Task, side: int) -> TrainedSpace:
        return TrainedSpace(module, text, input_shape=task.input_shape, only=only, keep=keep)

    return Source(text.removeprefix("trained:"), of_module)
