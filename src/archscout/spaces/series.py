"""A space of convolutional networks for series: FCN and ResNet (Wang, Yan, Oates 2017, arXiv 1611.06455), InceptionTime
(Ismail Fawaz et al. 2020, arXiv 1909.04939) and depthwise-separable ones in one form, with dilation and a GRU."""

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
from archscout.networks.elastic import Number, compute, maximum
from archscout.networks.series import ConvBN, Recurrent
from archscout.spaces.notation import no_wider, option_of
from archscout.spaces.sizes import check_sizes

KINDS = ("plain", "residual", "inception", "separable")
POOLS = (1, 2, 4)
"""How many neighbouring values are averaged before anything else."""

STAGES = (1, 2, 3, 4)
WIDTHS = (16, 32, 64, 128, 256)
DEPTHS = (1, 2, 3)
KERNELS = (3, 5, 9, 19, 39)
DILATIONS = (1, 2, 4)
DOWNS = ("none", "pool")
TAILS = ("none", "gru")

HIDDEN = 64
"""Units of the GRU."""

BRANCHES = 4
LEAST_LENGTH = 8

REFERENCES: Mapping[str, str] = {
    "fcn_small": "in1_plain64x1k9d1_plain128x1k5d1_plain64x1k3d1",
    "fcn": "in1_plain128x1k9d1_plain256x1k5d1_plain128x1k3d1",
    "fcn_pooled": "in1_plain64x1k9d1_plain128x1k5d1-pool_plain128x1k3d1-pool",
    "resnet": "in1_residual64x3k9d1_residual128x3k5d1_residual128x3k3d1",
    "resnet_small": "in1_residual32x3k9d1_residual64x3k5d1_residual64x3k3d1",
    "inception_time": "in1_inception128x3k39d1_inception128x3k39d1",
    "inception_time_small": "in1_inception64x3k19d1_inception64x3k19d1",
    "inception_pooled": "in2_inception64x3k19d1_inception128x3k19d1-pool",
    "separable_dilated": "in1_separable64x2k9d1_separable64x2k9d2_separable128x2k9d4",
    "fcn_gru": "in1_plain64x1k9d1_plain128x1k5d1-pool_plain64x1k3d1-pool_gru",
}
"""FCN, ResNet and InceptionTime as published, with odd kernels (9 for 8, 39 for 40), one shortcut around the layers of
a stage, and ReLU after each; and smaller, pooled, dilated and recurrent ones."""

_INPUT = re.compile(r"in(\d+)")
_STAGE = re.compile(r"([a-z]+)(\d+)x(\d+)k(\d+)d(\d+)(-pool)?")
_EXAMPLE = "in1_plain64x1k9d1_residual128x2k5d1-pool"


@register("space", "series")
class Series(Space):
    """Stages of plain, residual, inception or separable convolutions over time: 10^14 architectures.

    Choices: how many neighbouring values are averaged first; how many stages there are (1 to 4); of each stage its
    kind, width, depth (layers), kernel, dilation, and whether the length is halved before it; and whether a GRU of 64
    units ends it all. All stages but plain ones have a shortcut around them. An inception layer has three convolutions,
    of the kernel, its half and its quarter, and one after max pooling, behind a bottleneck. The text has the stages
    between underscores: `in1_plain128x1k9d1_inception64x3k39d2-pool_gru` averages nothing, and its second stage halves
    the length, then has three inception layers of 64 channels, kernels up to 39 and dilation 2.

    Args:
        width: the most channels of a stage.

    Every convolution keeps the length, and is followed by batch normalisation and ReLU.
    """

    def __init__(self, width: int = WIDTHS[-1]) -> None:
        check_sizes("series", WIDTHS[0], width=width)
        self.name = "series"
        self.width = width

    @cached_property
    def choices(self) -> Sequence[Choice]:
        widths = tuple(width for width in WIDTHS if width <= self.width)
        choices = [Choice("input.pool", POOLS, ordinal=True), Choice("stages", STAGES, ordinal=True)]
        for stage in STAGES:
            name = f"stage{stage}"
            runs = Condition("stages", tuple(n for n in STAGES if n >= stage)) if stage > 1 else None
            choices += [
                Choice(f"{name}.kind", KINDS, condition=runs),
                Choice(f"{name}.width", widths, ordinal=True, condition=runs),
                Choice(f"{name}.depth", DEPTHS, ordinal=True, condition=runs),
                Choice(f"{name}.kernel", KERNELS, ordinal=True, condition=runs),
                Choice(f"{name}.dilation", DILATIONS, ordinal=True, condition=runs),
                Choice(f"{name}.down", DOWNS, condition=runs),
            ]
        return (*choices, Choice("tail", TAILS))

    def draws(self, choice: Choice, values: Mapping[str, Option]) -> Sequence[Option]:
        """As people draw them: few are dilated, recurrent or averaged, and stages do not become narrower."""
        stage, _, what = choice.name.partition(".")
        if what == "dilation":
            return (1, 1, 1, 1, 2, 4)
        if choice.name == "tail":
            return ("none",) * 5 + ("gru",)
        if what == "pool":
            return (1, 1, 1, 2, 4)
        if what == "width" and stage != "stage1":
            before = int(values[f"stage{int(stage.removeprefix('stage')) - 1}.width"])
            return [width for width in choice.options if before <= int(width) <= 2 * before]
        return choice.options

    # -- text -----------------------------------------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        parts = [f"in{values['input.pool']}"]
        for stage in range(1, int(values["stages"]) + 1):
            name = f"stage{stage}"
            shape = (values[f"{name}.{what}"] for what in ("kind", "width", "depth", "kernel", "dilation"))
            parts.append("{}{}x{}k{}d{}".format(*shape) + ("-pool" if values[f"{name}.down"] == "pool" else ""))
        return "_".join([*parts, *(["gru"] if values["tail"] == "gru" else [])])

    def read(self, text: str) -> dict[str, Option]:
        first, *stages = text.strip().split("_")
        match = _INPUT.fullmatch(first)
        if match is None:
            raise UsageError(f"'{first[:80]}' in '{text[:80]}' is no beginning: write in1, in2 or in4, as {_EXAMPLE}.")
        tail = "gru" if stages[-1:] == ["gru"] else "none"
        stages = stages[:-1] if tail == "gru" else stages
        if len(stages) not in STAGES:
            raise UsageError(
                f"architecture '{text[:80]}' has {len(stages)} stages where space 'series' has {STAGES[0]} to "
                f"{STAGES[-1]}: write {_EXAMPLE}, with an underscore between stages."
            )
        values: dict[str, Option] = {"input.pool": option_of(self, "input.pool", match[1], text), "stages": len(stages)}
        for stage, written in enumerate(stages, start=1):
            name = f"stage{stage}"
            match = _STAGE.fullmatch(written)
            if match is None or match[1] not in KINDS:
                raise UsageError(
                    f"'{written[:80]}', stage {stage} of '{text[:80]}', is no stage: write "
                    f"<kind><width>x<depth>k<kernel>d<dilation>, and -pool to halve; kinds are {', '.join(KINDS)}, as "
                    f"in {_EXAMPLE}."
                )
            values[f"{name}.kind"] = match[1]
            for what, number in zip(("width", "depth", "kernel", "dilation"), match.groups()[1:5], strict=True):
                values[f"{name}.{what}"] = option_of(self, f"{name}.{what}", number, text)
            values[f"{name}.down"] = "pool" if match[6] else "none"
        return values | {"tail": tail}

    # -- forms ----------------------------------------------------------------------------------------------------

    def canonical(self, architecture: Architecture) -> str:
        """The stages, plain ones layer by layer: where one goes on like the one before it, they are one."""
        return "_".join(_layers(architecture))

    def graph(self, architecture: Architecture) -> Graph:
        """The chain of stages, plain ones layer by layer."""
        nodes = [Node("input"), *(Node(part, group=part.partition("k")[0]) for part in _layers(architecture))]
        nodes.append(Node("output"))
        return Graph(tuple(nodes), tuple((i, i + 1) for i in range(len(nodes) - 1)))

    def references(self) -> Mapping[str, Architecture]:
        """Those that are no wider than the space."""
        return no_wider(self, REFERENCES, self.width)

    # -- network --------------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        if len(task.input_shape) != 2 or task.input_shape[1] < LEAST_LENGTH:
            raise UsageError(
                f"space '{self.name}' needs series (channels x length) of at least {LEAST_LENGTH} values; task "
                f"'{task.name}' has inputs of shape {task.input_shape}."
            )

    def network(self, task: Task, pick: Pick) -> nn.Module:
        count = pick.number("stages")
        widths = [pick.number(f"stage{stage}.width") for stage in range(1, maximum(count) + 1)]
        last = compute(_last, count, *widths)
        stages = [
            partial(_stage, pick, stage, inputs, outputs)
            for stage, (inputs, outputs) in enumerate(
                zip([task.input_shape[0], *widths], widths, strict=False), start=1
            )
        ]
        averages = {1: nn.Identity, 2: partial(_average, 2), 4: partial(_average, 4)}
        return nn.Sequential(
            pick("input.pool", averages),
            pick.depth("stages", stages),
            pick("tail", {"none": nn.Identity, "gru": partial(Recurrent, last, HIDDEN)}),
            task.head(last),
        )


def _average(values: int) -> nn.Module:
    return nn.AvgPool1d(values, ceil_mode=True)


def _stage(pick: Pick, number: int, inputs: Number, outputs: Number) -> nn.Module:
    name = f"stage{number}"
    down = pick(f"{name}.down", {"none": nn.Identity, "pool": partial(nn.MaxPool1d, 2, ceil_mode=True)})
    kernel = pick.number(f"{name}.kernel")

    def layers(kind: str) -> nn.Module:
        first, other = (partial(LAYERS[kind], pick, name, channels, outputs, kernel) for channels in (inputs, outputs))
        row: nn.Module = pick.depth(f"{name}.depth", [first, *[other] * (DEPTHS[-1] - 1)])
        return row if kind == "plain" else Shortcut(row, inputs, outputs)

    return nn.Sequential(down, pick(f"{name}.kind", {kind: partial(layers, kind) for kind in KINDS}))


def _plain(pick: Pick, stage: str, inputs: Number, outputs: Number, kernel: Number) -> nn.Module:
    """Convolution, batch normalisation, ReLU."""
    built = {d: partial(ConvBN, inputs, outputs, kernel, dilation=d, activation=True) for d in DILATIONS}
    module: nn.Module = pick(f"{stage}.dilation", built)
    return module


def _separable(pick: Pick, stage: str, inputs: Number, outputs: Number, kernel: Number) -> nn.Module:
    """A convolution of each channel by itself, then one of all channels at each time."""
    built = {d: partial(ConvBN, inputs, inputs, kernel, dilation=d, depthwise=True) for d in DILATIONS}
    return nn.Sequential(pick(f"{stage}.dilation", built), ConvBN(inputs, outputs, 1, activation=True))


class Inception(nn.Module):
    """Three convolutions of different kernels behind a bottleneck, and one after max pooling, side by side; ReLU.

    The bottleneck is left out where there is one channel.
    """

    def __init__(self, pick: Pick, stage: str, inputs: Number, outputs: Number, kernel: Number) -> None:
        super().__init__()
        part = compute(_quarter, outputs)
        single = isinstance(inputs, int) and inputs == 1
        self.bottleneck = nn.Identity() if single else ConvBN(inputs, part, 1)
        inner = inputs if single else part
        kernels = [compute(partial(_share, divisor), kernel) for divisor in (1, 2, 4)]
        self.branches = nn.ModuleList(
            pick(f"{stage}.dilation", {d: partial(ConvBN, inner, part, size, dilation=d) for d in DILATIONS})
            for size in kernels
        )
        self.pooled = nn.Sequential(nn.MaxPool1d(3, 1, 1), ConvBN(inputs, part, 1))

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.bottleneck(x)
        return torch.relu(torch.cat([*(branch(narrow) for branch in self.branches), self.pooled(x)], 1))


LAYERS = {"plain": _plain, "residual": _plain, "inception": Inception, "separable": _separable}


class Shortcut(nn.Module):
    """The sum of the input, projected, and of what layers make of it; then ReLU."""

    def __init__(self, layers: nn.Module, inputs: Number, outputs: Number) -> None:
        super().__init__()
        self.layers = layers
        self.shortcut = ConvBN(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.shortcut(x) + self.layers(x))


def _layers(architecture: Architecture) -> list[str]:
    """The text of each part: of a plain stage each layer, of which the first alone halves the length."""
    parts = []
    for part in architecture.text.split("_"):
        match = _STAGE.fullmatch(part)
        if match is None or match[1] != "plain":
            parts.append(part)
            continue
        layer = f"plain{match[2]}k{match[4]}d{match[5]}"
        parts += [layer + (match[6] or ""), *[layer] * (int(match[3]) - 1)]
    return parts


def _last(count: int, *widths: int) -> int:
    return widths[count - 1]


def _quarter(channels: int) -> int:
    return channels // BRANCHES


def _share(divisor: int, kernel: int) -> int:
    """A kernel divided, odd: 39 gives 39, 19 and 9."""
    return max(1, kernel // divisor - (kernel // divisor + 1) % 2)
