"""A model of your own as a search space: mark what is open, and count, sample and build what it can be.

    python examples/own_model.py

The module below is an ordinary one that runs as it stands. To search it for a network that fits your device, save this
file and call

    archscout.search(archscout.space(Net(classes=10)), "digits", maximum={"latency": "1ms"}, budget="2m")
"""

import numpy as np
import torch
from torch import nn

import archscout
from archscout import BatchNorm2d, Conv2d, Depth, Kernel, Linear, OneOf, Width
from archscout.networks.pick import build


class Block(nn.Module):
    """A residual block: two convolutions, or a cheap pair of a depthwise and a pointwise one."""

    def __init__(self, width: Width) -> None:
        super().__init__()
        full = nn.Sequential(Conv2d(width, width, Kernel(3, 5), bias=False), BatchNorm2d(width), nn.ReLU())
        cheap = nn.Sequential(
            Conv2d(width, width, Kernel(3, 5, 7), depthwise=True, bias=False), Conv2d(width, width, 1, bias=False),
            BatchNorm2d(width), nn.ReLU(),
        )  # fmt: skip
        self.body = OneOf({"full": full, "cheap": cheap})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class Net(nn.Module):
    """A small classifier of 8 x 8 images with four kinds of choice in it."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        # One object in several places is one choice: the stem, all blocks and the head agree on the width.
        width = Width(8, 12, 16, 24, name="width")
        self.stem = Conv2d(1, width, 3)
        self.norm = BatchNorm2d(width)
        self.activation = OneOf({"relu": nn.ReLU(), "gelu": nn.GELU(), "silu": nn.SiLU()})
        self.blocks = Depth([Block(width) for _ in range(3)])
        self.pool = OneOf({"mean": nn.AdaptiveAvgPool2d(1), "max": nn.AdaptiveMaxPool2d(1)})
        self.head = Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.activation(self.norm(self.stem(x))))
        return self.head(self.pool(x).flatten(1))


def main() -> None:
    """Count, sample, build and mutate."""
    space = archscout.space(Net(classes=10))
    task = archscout.task("digits")
    print(f"{space.size():,} architectures of {len(space.choices)} choices:")
    for choice in space.choices:
        print(f"  {choice.name:24} {choice.options}")

    rng = np.random.default_rng(0)
    images, _ = task.tensors(task.valid.head(64))
    for architecture in (*space.extremes(), space.sample(rng), space.sample(rng)):
        network = build(space, architecture, task, seed=0)
        count = sum(parameter.numel() for parameter in network.parameters())
        print(f"\n{architecture}\n  {count:,} parameters, outputs {tuple(network(images).shape)}")
        print(f"  one mutation away: {space.mutate(architecture, rng)}")

    # print(archscout.search(space, task, maximum={"latency": "1ms"}, budget="2m", name="own-model"))


if __name__ == "__main__":
    main()
