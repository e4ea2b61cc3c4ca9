"""A network trained elsewhere, on the images of a task: enlarged, in its own normalisation, with a new head."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core.errors import UsageError


class Adapted(nn.Module):
    """A backbone behind what makes a task's inputs its own.

    Args:
        network: takes images (N x 3 x size x size) in its own normalisation.
        size: height and width that images are resized to (bilinear).
        mean: of each channel, what the backbone subtracts from an image.
        std: what it then divides by.
        task_mean: the same of the task, whose inputs come normalised.
        task_std: see there.

    Grey images become colour.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        network: nn.Module,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        task_mean: Sequence[float],
        task_std: Sequence[float],
    ) -> None:
        super().__init__()
        # The network's (pixel - mean) / std, where the input is (pixel - task_mean) / task_std.
        theirs, ours = torch.tensor([*task_std]), torch.tensor([*std])
        self.register_buffer("scale", (theirs / ours).view(-1, 1, 1))
        self.register_buffer("shift", ((torch.tensor([*task_mean]) - torch.tensor([*mean])) / ours).view(-1, 1, 1))
        self.network = network
        self.size = size

    def before(self, network: nn.Module) -> Adapted:
        """The same in front of another network, such as a part of this one."""
        other = copy.copy(self)
        other._modules = {**self._modules, "network": network}
        return other

    def forward(self, x: Tensor) -> Tensor:
        x = self.enlarged(x)
        return self.network(x)  # type: ignore[no-any-return]

    def enlarged(self, x: Tensor) -> Tensor:
        """Inputs of the task as the backbone takes them."""
        x = x * self.scale + self.shift
        if x.shape[2:] != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode="bilinear", align_corners=False)
        return x


def inner(network: nn.Module) -> nn.Module:
    """The part of a network that its layers are named in: of an adapted backbone, the backbone."""
    return network.network if isinstance(network, Adapted) else network


def with_head(network: nn.Module, head: str, outputs: int) -> nn.Module:
    """The network, in place, with a last linear layer of so many outputs; a layer of that size stays as it is.

    Raises `UsageError` where `head` is no linear layer.
    """
    try:
        layer = network.get_submodule(head)
    except AttributeError:
        layer = None
    if not isinstance(layer, nn.Linear):
        raise UsageError(f"the head '{head}' is no linear layer of the network: name its last one.")
    if layer.out_features != outputs:
        parent, _, child = head.rpartition(".")
        owner = network.get_submodule(parent) if parent else network
        setattr(owner, child, nn.Linear(layer.in_features, outputs, bias=True))
    return network


def last_linear(network: nn.Module) -> str:
    """The name of the last linear layer, in the order of definition; empty where there is none."""
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return names[-1] if names else ""
