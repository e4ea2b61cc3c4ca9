"""Blocks of a trained network that a single convolution could stand for, and the feature maps that they make."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from archscout.networks.collapsible import CollapsibleBlock

KERNEL = 3
"""Height and width of the convolution that stands for a block."""

_CHUNK = 16


@dataclass(frozen=True)
class Replaceable:
    """A block that makes one feature map of one.

    Args:
        name: of the module.
        shape: of its input, one example.
        outputs: channels that it makes.
        stride: of what stands for it.
    """

    name: str
    shape: tuple[int, ...]
    outputs: int
    stride: int

    def replacement(self, seed: int = 0) -> CollapsibleBlock:
        """What stands for it, untrained: collapsible, with a slope for each channel that begins as none."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return CollapsibleBlock(self.shape[0], self.outputs, KERNEL, self.stride, slope=True).eval()


def replaceable(network: nn.Module, x: Tensor, part: nn.Module | None = None) -> dict[str, Replaceable]:
    """By name, the innermost modules of at least two convolutions that make one feature map of one, and run once.

    Args:
        network: is run, in evaluation mode.
        x: its inputs.
        part: of the network, in which modules are named; all of it where None.
    """
    part = part or network
    inputs, outputs = _maps(network, x[:1], part, _with_convolutions(part))
    inner = [name for name in inputs if not any(other.startswith(f"{name}.") for other in inputs)]
    blocks = {}
    for name in inner:
        before, after = inputs[name], outputs[name]
        stride = max(1, round(before.shape[2] / after.shape[2]))
        size = tuple((side - 1) // stride + 1 for side in before.shape[2:])
        if tuple(after.shape[2:]) == size:
            blocks[name] = Replaceable(name, tuple(before.shape[1:]), after.shape[1], stride)
    return blocks


def maps_of(
    network: nn.Module, x: Tensor, part: nn.Module, blocks: Mapping[str, Replaceable], pixels: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """Of each block, its inputs and outputs (N, C, H, W) on the first examples, of so many pixels together at most."""
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in blocks}
    for start in range(0, len(x), _CHUNK):
        inputs, outputs = _maps(network, x[start : start + _CHUNK], part, blocks)
        for name, kept in pairs.items():
            area = outputs[name].shape[2] * outputs[name].shape[3]
            if start * area < pixels:
                kept.append((inputs[name], outputs[name]))
    return {name: (torch.cat([i for i, _ in kept]), torch.cat([o for _, o in kept])) for name, kept in pairs.items()}


def _maps(
    network: nn.Module, x: Tensor, part: nn.Module, names: Collection[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of each named module that runs once on one feature map and makes one: both."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    runs: dict[str, int] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def hook(_: nn.Module, given: tuple[object, ...], result: object) -> None:
            runs[name] = runs.get(name, 0) + 1
            maps = [each for each in (*given, result) if isinstance(each, Tensor) and each.ndim == 4]
            if len(maps) == 2 == len(given) + 1 and runs[name] == 1:
                inputs[name], outputs[name] = maps[0].clone(), maps[1].clone()
            else:
                inputs.pop(name, None)

        return hook

    handles = [part.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    training = network.training
    try:
        with torch.no_grad():
            network.eval()(x)
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return inputs, outputs


def _with_convolutions(part: nn.Module) -> list[str]:
    def convolutions(module: nn.Module) -> int:
        return sum(isinstance(layer, nn.Conv2d) for layer in module.modules())

    return [name for name, module in part.named_modules() if name and convolutions(module) >= 2]
