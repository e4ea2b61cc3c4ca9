"""A space of time-delay networks for recordings: that of EfficientTDNN (Wang et al. 2022, arXiv 2103.13581), over the
blocks of ECAPA-TDNN (Desplanques, Thienpondt, Demuynck 2020, arXiv 2005.07143)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Condition, Option
from archscout.core.errors import UsageError
from archscout.core.graph import Graph, Node
from archscout.core.registry import register
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.elastic import Number, compute, now
from archscout.networks.series import ConvBN, batch_norm1d, conv1d
from archscout.spaces.notation import read_parts
from archscout.spaces.sizes import check_sizes

RATIOS = (25, 35, 50, 75, 100)
"""Percent of the channels that there are at most."""

DEPTHS = (2, 3, 4)
KERNELS = (1, 3, 5)
DILATIONS = (2, 3, 4, 5)
"""Of each block."""

PARTS = 8
"""Groups of channels that a block convolves one after the other, each with what the one before it gave."""

SQUEEZED = 16
LEAST_FRAMES = 8

REFERENCES: Mapping[str, str] = {
    "tdnn_small": "k5w50_k3w50_k3w50_cat50",
    "tdnn": "k5w100_k3w100_k3w100_k3w100_cat100",
    "tdnn_narrow": "k5w35_k3w35_k3w35_k3w35_cat35",
    "tdnn_deep": "k5w50_k3w50_k3w50_k3w50_k3w50_cat50",
}

_LAYER = re.compile(r"k(\d+)w(\d+)")
_END = re.compile(r"cat(\d+)")
_EXAMPLE = REFERENCES["tdnn_small"]


@register("space", "tdnn")
class TDNN(Space):
    """A first layer, two to four SE-Res2 blocks of growing dilation, each reading the sum of all before it, and a layer
    over the outputs of all side by side; 12 choices.

    Choices: how many blocks; kernel (1, 3, 5) and width (25 to 100 %) of the first layer and of each block; width of
    the last layer. The text has them in their order: `k5w50_k3w50_k3w75_cat100` is a first layer of kernel 5 and half
    the channels, two blocks of kernel 3, and a last layer of full width.

    Args:
        width: channels of the first layer and of blocks at 100 %; a multiple of 32. The last layer has three times as
            many. 128 unless given; published: 512.

    The bands of a spectrogram are its channels. Published, the width of a block is that of its output too, and the last
    layer has its inputs picked by the depth; here what is summed has the width of the first layer, a block's own width
    is inside, and the last layer is the sum of one over each output.
    """

    def __init__(self, width: int = 128) -> None:
        check_sizes("tdnn", width=width)
        if width % 32:
            raise UsageError(f"the width of space 'tdnn' must be a multiple of 32 above zero, not {width}.")
        self.name = "tdnn"
        self.width = width

    @cached_property
    def choices(self) -> Sequence[Choice]:
        choices = [Choice("depth", DEPTHS, ordinal=True)]
        for layer in range(DEPTHS[-1] + 1):
            runs = Condition("depth", tuple(d for d in DEPTHS if d >= layer)) if layer > DEPTHS[0] else None
            choices += [
                Choice(f"layer{layer}.kernel", KERNELS, ordinal=True, condition=runs),
                Choice(f"layer{layer}.width", RATIOS, ordinal=True, condition=runs),
            ]
        return (*choices, Choice("last.width", RATIOS, ordinal=True))

    # -- text -----------------------------------------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        layers = range(int(values["depth"]) + 1)
        parts = [f"k{values[f'layer{n}.kernel']}w{values[f'layer{n}.width']}" for n in layers]
        return "_".join([*parts, f"cat{values['last.width']}"])

    def read(self, text: str) -> dict[str, Option]:
        *layers, last = text.strip().split("_")
        if len(layers) - 1 not in DEPTHS:
            raise UsageError(
                f"architecture '{text[:80]}' has {len(layers) - 1} blocks where space 'tdnn' has {DEPTHS[0]} to "
                f"{DEPTHS[-1]}: write {_EXAMPLE}."
            )
        patterns = [*[_LAYER] * len(layers), _END]
        names = [*((f"layer{n}.kernel", f"layer{n}.width") for n in range(len(layers))), ("last.width",)]
        depth: dict[str, Option] = {"depth": len(layers) - 1}
        return depth | read_parts(self, text, [*layers, last], patterns, names, _EXAMPLE)

    # -- forms ----------------------------------------------------------------------------------------------------

    def graph(self, architecture: Architecture) -> Graph:
        """Each block reads all outputs before it, the last layer those of all blocks."""
        first, *blocks, last = architecture.text.split("_")
        nodes = [
            Node("input"),
            Node(first),
            *(Node(block, group="block") for block in blocks),
            Node(last),
            Node("output"),
        ]
        end = len(nodes) - 2
        edges = [(0, 1), *((i, j) for j in range(2, end) for i in range(1, j)), *((i, end) for i in range(2, end))]
        return Graph(tuple(nodes), (*edges, (end, end + 1)))

    def references(self) -> Mapping[str, Architecture]:
        return {name: self.parse(text) for name, text in REFERENCES.items()}

    # -- network --------------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        shape = task.input_shape
        if len(shape) != 3 or shape[0] != 1 or shape[2] < LEAST_FRAMES:
            raise UsageError(
                f"space '{self.name}' needs spectrograms (1 x bands x {LEAST_FRAMES} frames or more); task "
                f"'{task.name}' has inputs of shape {shape}."
            )

    def network(self, task: Task, pick: Pick) -> nn.Module:
        first = compute(partial(_percent, self.width), pick.number("layer0.width"))
        last = compute(partial(_percent, 3 * self.width), pick.number("last.width"))
        layer = ConvBN(task.input_shape[1], first, pick.number("layer0.kernel"), activation=True)
        blocks = [partial(self._block, pick, n, first, last) for n in range(1, DEPTHS[-1] + 1)]
        return nn.Sequential(Begin(layer, last), pick.depth("depth", blocks), End(first, last), task.head(last))

    def _block(self, pick: Pick, number: int, channels: Number, last: Number) -> nn.Module:
        inner = compute(partial(_percent, self.width), pick.number(f"layer{number}.width"))
        kernel = pick.number(f"layer{number}.kernel")
        return Step(Res2(channels, inner, kernel, DILATIONS[number - 1]), channels, last)


class Begin(nn.Module):
    """From a spectrogram (N x 1 x bands x frames) to what goes from block to block: the sum of all outputs, and beside
    it what the last layer has of them so far."""

    def __init__(self, layer: nn.Module, last: Number) -> None:
        super().__init__()
        self.layer, self.last = layer, last

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x.squeeze(1))
        return torch.cat([x, x.new_zeros(len(x), now(self.last), x.shape[2])], 1)


class Step(nn.Module):
    """A block reads the sum of all outputs; its own is added to it, and goes through its part of the last layer."""

    def __init__(self, block: nn.Module, channels: Number, last: Number) -> None:
        super().__init__()
        self.block = block
        self.part = conv1d(channels, last, 1)
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        channels = now(self.channels)
        total, so_far = x[:, :channels], x[:, channels:]
        y = self.block(total)
        return torch.cat([total + y, so_far + self.part(y)], 1)


class End(nn.Module):
    """The last layer: what it has of all blocks, normalised, as a map of one row."""

    def __init__(self, channels: Number, last: Number) -> None:
        super().__init__()
        self.norm = batch_norm1d(last)
        self.activation = nn.ReLU()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.norm(x[:, now(self.channels) :]))
        return y.unsqueeze(2)


class Res2(nn.Module):
    """Convolution 1, eight groups convolved one after the other, convolution 1, squeeze-excitation; and a shortcut.

    Gao et al. 2021, arXiv 1904.01169; the first group is left as it is.
    """

    def __init__(self, channels: Number, inner: Number, kernel: Number, dilation: int) -> None:
        super().__init__()
        self.part = compute(_part, inner)
        self.enter = ConvBN(channels, inner, 1, activation=True)
        self.convolutions = nn.ModuleList(
            ConvBN(self.part, self.part, kernel, dilation=dilation, activation=True) for _ in range(PARTS - 1)
        )
        self.leave = ConvBN(inner, channels, 1, activation=True)
        self.squeeze = conv1d(channels, SQUEEZED, 1)
        self.excite = conv1d(SQUEEZED, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.enter(x).split(now(self.part), 1)
        parts = [first]
        for convolution, group in zip(self.convolutions, others, strict=True):
            parts.append(convolution(group + parts[-1] if len(parts) > 1 else group))
        y: Tensor = self.leave(torch.cat(parts, 1))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(y.mean(2, keepdim=True)))))
        return x + gate * y


def _percent(channels: int, percent: int) -> int:
    """Rounded to whole groups."""
    return max(PARTS, PARTS * round(channels * percent / 100 / PARTS))


def _part(channels: int) -> int:
    return channels // PARTS
