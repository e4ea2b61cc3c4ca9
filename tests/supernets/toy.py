"""A space so small that everything can be enumerated, and steps on it."""

import torch
from torch import nn

from archscout.core.choice import Choice
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.supernets.distributions import Distribution
from archscout.supernets.step import Step
from archscout.supernets.supernet import Supernet
from archscout.testing import tiny_task


class Toy(Space):
    """Two decisions of three and two options."""

    name = "toy"
    choices = (Choice("first", ("skip", "tanh", "linear")), Choice("second", ("tanh", "linear")))

    def network(self, task, pick):
        build = {"skip": nn.Identity, "tanh": nn.Tanh, "linear": lambda: nn.Linear(6, 6)}
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, 6),
            pick("first", build),
            pick("second", {name: build[name] for name in ("tanh", "linear")}),
            nn.Linear(6, task.outputs),
        )


def random_logits(distribution, seed=0, scale=1.0):
    rng = stream(seed, "logits")
    with torch.no_grad():
        for logits in distribution.logits:
            logits.copy_(torch.as_tensor(scale * rng.normal(size=logits.shape)))
    return distribution


def make_step(space=None, *, number=0, seed=0, temperature=1.0, jobs=(), supernet=None, distribution=None):
    space, task = space or Toy(), tiny_task(examples=24)
    supernet = supernet or Supernet(space, task, seed=seed)
    distribution = distribution or random_logits(Distribution(space), seed)
    weights = list(supernet.parameters())
    return Step(
        number=number, progress=0.0, seed=seed, supernet=supernet, distribution=distribution,
        train=task.tensors(task.train), valid=task.tensors(task.valid), temperature=temperature,
        weights=weights, optimizer=torch.optim.SGD(weights, lr=0.1, momentum=0.9), jobs=list(jobs),
    )  # fmt: skip


def nasbench():
    return create("space", "nasbench201:width=4,cells=1")
