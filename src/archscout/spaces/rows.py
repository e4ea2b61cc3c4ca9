"""A space of networks for rows of numbers: multilayer perceptrons and the ResNet of Gorishniy et al. 2021, arXiv
2106.11959, which they found to be strong on tables, without dropout."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError
from archscout.core.graph import Graph, Node
from archscout.core.registry import register
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.elastic import Number, compute, linear
from archscout.networks.series import batch_norm1d
from archscout.spaces.notation import read_parts
from archscout.spaces.sizes import check_sizes

KINDS = ("mlp", "resnet")
DEPTHS = (1, 2, 3, 4)
WIDTHS = (8, 16, 32, 64, 128, 256)
ACTIVATIONS = ("relu", "silu")

REFERENCES: Mapping[str, str] = {
    "mlp": "mlp2x64_relu",
    "mlp_small": "mlp1x32_relu",
    "mlp_wide": "mlp2x256_relu",
    "mlp_deep": "mlp3x128_relu",
    "resnet": "resnet2x64_relu",
    "resnet_small": "resnet1x32_relu",
    "resnet_wide": "resnet3x128_silu",
}

_LAYERS = re.compile(r"([a-z]+)(\d+)x(\d+)")
_ACTIVATION = re.compile(r"([a-z]+)")
_EXAMPLE = REFERENCES["mlp"]


@register("space", "rows")
class Rows(Space):
    """Fully connected layers over the columns of a row: 96 architectures.

    Choices: plain layers (`mlp`: linear, batch normalisation, activation) or residual blocks (`resnet`: batch
    normalisation, a linear layer of twice the width, activation, a linear layer back); how many; how wide; and the
    activation. `mlp2x64_relu` has two layers of 64 units.

    Args:
        width: the most units of a layer.
    """

    def __init__(self, width: int = WIDTHS[-1]) -> None:
        check_sizes("rows", WIDTHS[0], width=width)
        self.name = "rows"
        self.width = width

    @cached_property
    def choices(self) -> Sequence[Choice]:
        return (
            Choice("kind", KINDS),
            Choice("depth", DEPTHS, ordinal=True),
            Choice("width", tuple(width for width in WIDTHS if width <= self.width), ordinal=True),
            Choice("activation", ACTIVATIONS),
        )

    # -- text -----------------------------------------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        return f"{values['kind']}{values['depth']}x{values['width']}_{values['activation']}"

    def read(self, text: str) -> dict[str, Option]:
        parts = text.strip().split("_")
        if len(parts) != 2:
            raise UsageError(f"architecture '{text[:80]}' has {len(parts)} parts where there are two: {_EXAMPLE}.")
        names = (("kind", "depth", "width"), ("activation",))
        return read_parts(self, text, parts, (_LAYERS, _ACTIVATION), names, _EXAMPLE)

    # -- forms ----------------------------------------------------------------------------------------------------

    def graph(self, architecture: Architecture) -> Graph:
        """The chain of layers."""
        kind, width = str(architecture["kind"]), architecture["width"]
        layers = [Node(f"{kind}{width}", group=kind)] * int(architecture["depth"])
        nodes = (Node("input"), *layers, Node(str(architecture["activation"])), Node("output"))
        return Graph(nodes, tuple((i, i + 1) for i in range(len(nodes) - 1)))

    def references(self) -> Mapping[str, Architecture]:
        """Those that are no wider than the space."""
        parsed = {name: text for name, text in REFERENCES.items() if int(_LAYERS.match(text)[3]) <= self.width}  # type: ignore[index]
        return {name: self.parse(text) for name, text in parsed.items()}

    # -- network --------------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        if len(task.input_shape) != 1:
            raise UsageError(
                f"space '{self.name}' needs rows of numbers; task '{task.name}' has inputs of shape {task.input_shape}."
            )

    def network(self, task: Task, pick: Pick) -> nn.Module:
        width = pick.number("width")
        inputs = task.input_shape[0]

        def plain() -> nn.Module:
            first, other = (partial(_layer, pick, size, width) for size in (inputs, width))
            return pick.depth("depth", [first, *[other] * (DEPTHS[-1] - 1)])  # type: ignore[no-any-return]

        def residual() -> nn.Module:
            blocks = pick.depth("depth", [partial(Block, pick, width)] * DEPTHS[-1])
            return nn.Sequential(linear(inputs, width), blocks, batch_norm1d(width), _activation(pick))

        return nn.Sequential(pick("kind", {"mlp": plain, "resnet": residual}), task.head(width))


def _activation(pick: Pick) -> nn.Module:
    module: nn.Module = pick("activation", {"relu": nn.ReLU, "silu": nn.SiLU})
    return module


def _layer(pick: Pick, inputs: Number, outputs: Number) -> nn.Module:
    return nn.Sequential(linear(inputs, outputs, bias=False), batch_norm1d(outputs), _activation(pick))


class Block(nn.Module):
    """A row, and what two layers make of it, the first of twice the width."""

    def __init__(self, pick: Pick, width: Number) -> None:
        super().__init__()
        inner = compute(_twice, width)
        self.norm = batch_norm1d(width)
        self.widen = linear(width, inner)
        self.activation = _activation(pick)
        self.narrow = linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.add(x, self.narrow(self.activation(self.widen(self.norm(x)))))
        return y


def _twice(width: int) -> int:
    return 2 * width
