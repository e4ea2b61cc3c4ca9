"""A supernet that learns from its own largest network as that was before the others were trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archscout.core.space import Space
from archscout.core.task import Task
from archscout.supernets.extent import ends
from archscout.supernets.step import Step
from archscout.supernets.supernet import Supernet
from archscout.supernets.terms import Labels, Mean, distillation


class TaughtSupernet(Supernet):
    """A supernet beside a copy of its largest network, which is no longer trained; its weights are in checkpoints, too.

    `keep` makes the copy.
    """

    def __init__(self, space: Space, task: Task, *, seed: int = 0) -> None:
        super().__init__(space, task, seed=seed)
        self.teacher = Resting(self.extract(ends(self)[1]))

    def keep(self) -> None:
        """From now on the teacher is the largest network as it is."""
        device = next(self.network.parameters()).device
        self.teacher = Resting(self.extract(ends(self)[1])).to(device)


class Resting(nn.Module):
    """A network in evaluation mode, whatever the mode of what it belongs to."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Resting:
        super().train(False)
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)  # type: ignore[no-any-return]


class Taught(Mean):
    """The mean over paths of the loss against labels and of the divergence from the teacher (Cai et al. 2020, arXiv
    1908.09791, with a ratio of 1); their gradients are summed. Raises `TypeError` for a supernet without a teacher."""

    def __init__(self) -> None:
        super().__init__([Labels(), distillation], summed=True)

    def __call__(self, step: Step) -> float:
        if not isinstance(step.supernet, TaughtSupernet):
            raise TypeError("this objective needs a supernet with a teacher (TaughtSupernet)")
        with torch.no_grad():
            step.teacher = step.supernet.teacher(step.train[0])
        return super().__call__(step)
