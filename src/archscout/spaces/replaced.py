"""The space of a trained network whose blocks may each become a single convolution (RAN-explicit: Bhardwaj et al. 2022,
arXiv 2208.08562)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from archscout.backbones.adapted import inner
from archscout.core.choice import Choice
from archscout.core.errors import UsageError
from archscout.core.space import Pick
from archscout.core.task import Task
from archscout.networks.replaceable import replaceable
from archscout.spaces.reducing import ReducingSpace, allowed, check_layers
from archscout.spaces.trained import TrainedSpace

BLOCK, CONVOLUTION = "block", "convolution"


class ReplacedSpace(ReducingSpace):
    """Each block of a trained network as it is, or as one convolution (collapsed) with a slope below zero.

    Args:
        original: the space of the network.
        only: names of blocks or layers (or their beginnings) that may be replaced; all where empty.
        keep: names of blocks or layers (or their beginnings) that may not.

    Raises:
        UsageError: the network has no block that a convolution could stand for.
    """

    def __init__(self, original: TrainedSpace, only: Sequence[str] = (), keep: Sequence[str] = ()) -> None:
        self.original = original
        self.name = "replaced:" + original.name.removeprefix("trained:")
        check_layers(original.name, original.module, (*only, *keep))
        blocks = replaceable(original.module, torch.zeros(1, *original.input_shape))
        within = {name: any(layer.startswith(f"{name}.") for layer in keep) for name in blocks}
        self.blocks = {
            name: block for name, block in blocks.items() if allowed(name, only, keep) and not within[name]
        }  # fmt: skip
        if not self.blocks:
            raise UsageError(
                f"nothing of network '{original.name}' can be replaced: it has no module of two convolutions and more "
                "that makes one feature map of one" + (" among the layers that may change." if blocks else ".")
            )

    @property
    def choices(self) -> Sequence[Choice]:
        return [Choice(f"{name}.form", (BLOCK, CONVOLUTION)) for name in self.blocks]

    @property
    def untouched(self) -> dict[str, str]:
        return {}

    def identity(self) -> dict[str, Any]:
        return self.original.identity() | {"class": type(self), "choices": list(self.choices)}

    def adapted(self, task: Task) -> nn.Module:
        return self.original.adapted(task)

    def network(self, task: Task, pick: Pick) -> nn.Module:
        device = torch.get_default_device()
        with torch.device("cpu"):  # where its weights are
            network = self.adapted(task)
            part = inner(network)
            for name, block in self.blocks.items():
                forms = {BLOCK: partial(part.get_submodule, name), CONVOLUTION: block.replacement().collapsed}
                part.set_submodule(name, pick(f"{name}.form", forms))
        return network.to(device).train()
