"""A space of networks that read lines of text: convolutions that lose height faster than width, and what reads the rest
from left to right (CRNN: Shi, Bai, Yao 2015, arXiv 1507.05717; without recurrence: Borisyuk et al. 2018, arXiv
1910.05085)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property, partial

from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Condition, Option
from archscout.core.errors import UsageError
from archscout.core.graph import Graph, Node
from archscout.core.registry import register
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.blocks import LAYERS, Shortcut
from archscout.networks.elastic import Number, compute, maximum
from archscout.networks.lines import ReadBothWays
from archscout.networks.operations import ConvBNActivation
from archscout.networks.series import ConvBN
from archscout.spaces.images import check_images
from archscout.spaces.notation import no_wider, option_of
from archscout.spaces.sizes import check_sizes

KINDS = tuple(LAYERS)
STAGES = (2, 3, 4)
WIDTHS = (16, 32, 64, 128, 256)
DEPTHS = (1, 2, 3)
KERNELS = (3, 5)
DOWNS: Mapping[str, tuple[int, int]] = {"21": (2, 1), "22": (2, 2)}
"""By how much height and width are pooled before a stage."""

TAILS = ("none", "conv", "lstm")
HIDDEN = 64
"""Units of the LSTM in each direction."""

LOOK = 9
"""Places that the convolution at the end sees."""

STEM = 16
LEAST_HEIGHT = 2 ** STAGES[-1]

REFERENCES: Mapping[str, str] = {
    "crnn_small": "plain32x1k3s22_plain64x1k3s22_plain128x2k3s21_lstm",
    "crnn": "plain64x1k3s22_plain128x1k3s22_plain256x2k3s21_plain256x2k3s21_lstm",
    "convolutional_small": "plain32x1k3s22_plain64x2k3s22_plain128x2k3s21_conv",
    "convolutional": "residual32x2k3s22_residual64x2k3s22_residual128x2k3s21_residual256x2k3s21_conv",
    "separable": "separable32x2k3s22_separable64x2k3s22_separable128x2k5s21_conv",
}
"""CRNN as published has seven convolutions of 64 to 512 channels, height and width pooled in turn as here, and two LSTM
layers of 256 units; here are its stages with one of 64, a smaller one, and ones that read without recurrence."""

_STAGE = re.compile(r"([a-z]+)(\d+)x(\d+)k(\d+)s(\d+)")
_EXAMPLE = REFERENCES["crnn_small"]


@register("space", "lines")
class Lines(Space):
    """Stages of plain, residual or separable convolutions over an image of a line, of 32 pixels of height for example.

    Choices: how many stages there are (2 to 4); of each its kind, width, depth, kernel, and whether pooling before it
    halves height and width or the height alone; and whether a convolution over nine places, a bidirectional LSTM of 64
    units, or nothing mixes what stands side by side in the end. The text has the stages between underscores:
    `plain32x1k3s22_residual64x2k5s21_lstm` pools both ways, then has one plain layer of 32 channels and kernel 3; pools
    the height, then has two residual layers of 64 channels and kernel 5.

    Args:
        width: the most channels of a stage.

    Every convolution keeps the size, and is followed by batch normalisation and ReLU.
    """

    def __init__(self, width: int = WIDTHS[-1]) -> None:
        check_sizes("lines", WIDTHS[0], width=width)
        self.name = "lines"
        self.width = width

    @cached_property
    def choices(self) -> Sequence[Choice]:
        widths = tuple(width for width in WIDTHS if width <= self.width)
        choices = [Choice("stages", STAGES, ordinal=True)]
        for stage in range(1, STAGES[-1] + 1):
            name = f"stage{stage}"
            runs = Condition("stages", tuple(n for n in STAGES if n >= stage)) if stage > STAGES[0] else None
            choices += [
                Choice(f"{name}.kind", KINDS, condition=runs),
                Choice(f"{name}.width", widths, ordinal=True, condition=runs),
                Choice(f"{name}.depth", DEPTHS, ordinal=True, condition=runs),
                Choice(f"{name}.kernel", KERNELS, ordinal=True, condition=runs),
                Choice(f"{name}.down", tuple(DOWNS), condition=runs),
            ]
        return (*choices, Choice("tail", TAILS))

    def draws(self, choice: Choice, values: Mapping[str, Option]) -> Sequence[Option]:
        """As people draw them: stages do not become narrower, and later ones rarely lose width."""
        stage, _, what = choice.name.partition(".")
        if what == "width" and stage != "stage1":
            before = int(values[f"stage{int(stage.removeprefix('stage')) - 1}.width"])
            return [width for width in choice.options if before <= int(width) <= 4 * before]
        if what == "down" and int(stage.removeprefix("stage")) > 2:
            return ("21", "21", "21", "22")
        return choice.options

    # -- text -----------------------------------------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        parts = []
        for stage in range(1, int(values["stages"]) + 1):
            name = f"stage{stage}"
            numbers = (values[f"{name}.{what}"] for what in ("kind", "width", "depth", "kernel", "down"))
            parts.append("{}{}x{}k{}s{}".format(*numbers))
        return "_".join([*parts, str(values["tail"])])

    def read(self, text: str) -> dict[str, Option]:
        *stages, tail = text.strip().split("_")
        if tail not in TAILS:
            raise UsageError(f"architecture '{text[:80]}' must end in {', '.join(TAILS)}: write {_EXAMPLE}.")
        if len(stages) not in STAGES:
            raise UsageError(
                f"architecture '{text[:80]}' has {len(stages)} stages where space 'lines' has {STAGES[0]} to "
                f"{STAGES[-1]}: write {_EXAMPLE}, with an underscore between stages."
            )
        values: dict[str, Option] = {"stages": len(stages), "tail": tail}
        for stage, written in enumerate(stages, start=1):
            match = _STAGE.fullmatch(written)
            if match is None or match[1] not in KINDS:
                raise UsageError(
                    f"'{written[:80]}', stage {stage} of '{text[:80]}', is no stage: write "
                    f"<kind><width>x<depth>k<kernel>s<pooling>; kinds are {', '.join(KINDS)}, as in {_EXAMPLE}."
                )
            for what, option in zip(("kind", "width", "depth", "kernel", "down"), match.groups(), strict=True):
                values[f"stage{stage}.{what}"] = option_of(self, f"stage{stage}.{what}", option, text)
        return values

    # -- forms ----------------------------------------------------------------------------------------------------

    def graph(self, architecture: Architecture) -> Graph:
        """The chain of stages."""
        *stages, tail = architecture.text.split("_")
        nodes = [Node("input"), Node("stem"), *(Node(part, group=part.partition("k")[0]) for part in stages)]
        nodes += [Node(tail), Node("output")]
        return Graph(tuple(nodes), tuple((i, i + 1) for i in range(len(nodes) - 1)))

    def references(self) -> Mapping[str, Architecture]:
        """Those that are no wider than the space."""
        return no_wider(self, REFERENCES, self.width)

    # -- network --------------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        check_images(self, task, LEAST_HEIGHT)

    def network(self, task: Task, pick: Pick) -> nn.Module:
        count = pick.number("stages")
        widths = [pick.number(f"stage{stage}.width") for stage in range(1, maximum(count) + 1)]
        last = compute(_last, count, *widths)
        stages = [
            partial(_stage, pick, stage, inputs, outputs)
            for stage, (inputs, outputs) in enumerate(zip([STEM, *widths], widths, strict=False), start=1)
        ]
        mix = {"none": nn.Identity, "conv": partial(SideBySide, last), "lstm": partial(ReadBothWays, last, HIDDEN)}
        return nn.Sequential(
            ConvBNActivation(task.input_shape[0], STEM, 3, activation=nn.ReLU()),
            pick.depth("stages", stages),
            pick("tail", mix),
            task.head(last),
        )


def _stage(pick: Pick, number: int, inputs: Number, outputs: Number) -> nn.Module:
    name = f"stage{number}"
    pools = {down: partial(nn.MaxPool2d, sides, ceil_mode=True) for down, sides in DOWNS.items()}
    down = pick(f"{name}.down", pools)
    kernel = pick.number(f"{name}.kernel")

    def layers(kind: str) -> nn.Module:
        first, other = (partial(LAYERS[kind], channels, outputs, kernel) for channels in (inputs, outputs))
        row: nn.Module = pick.depth(f"{name}.depth", [first, *[other] * (DEPTHS[-1] - 1)])
        return row if kind == "plain" else Shortcut(row, inputs, outputs)

    return nn.Sequential(down, pick(f"{name}.kind", {kind: partial(layers, kind) for kind in KINDS}))


class SideBySide(nn.Module):
    """A separable convolution over neighbouring columns, of a map averaged over its height, added to the map."""

    def __init__(self, channels: Number) -> None:
        super().__init__()
        self.alone = ConvBN(channels, channels, LOOK, depthwise=True)
        self.together = ConvBN(channels, channels, 1, activation=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.together(self.alone(x.mean(2)))
        return x + y.unsqueeze(2)


def _last(count: int, *widths: int) -> int:
    return widths[count - 1]
