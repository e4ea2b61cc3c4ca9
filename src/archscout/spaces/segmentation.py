"""A space of networks that say something of each pixel: four stages and a light decoder over them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property, partial

from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError
from archscout.core.graph import Graph, Node
from archscout.core.registry import register
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.blocks import LAYERS, Shortcut
from archscout.networks.elastic import Number
from archscout.networks.operations import ConvBNActivation
from archscout.networks.pyramid import DECODERS
from archscout.spaces.notation import no_wider, read_parts
from archscout.spaces.sizes import check_sizes

STRIDES = (1, 2)
STAGES = 4
WIDTHS = (16, 32, 64, 128, 256)
DEPTHS = (1, 2, 3)
KERNELS = (3, 5)
DILATIONS = (1, 2, 4)
DECODER_WIDTHS = (16, 32, 64)

STEM = 16
LEAST_SIDE = 16

REFERENCES: Mapping[str, str] = {
    "unet_small": "s1_plain16x2k3d1_plain32x2k3d1_plain64x2k3d1_plain128x2k3d1_unet32",
    "unet": "s1_plain32x2k3d1_plain64x2k3d1_plain128x2k3d1_plain256x2k3d1_unet64",
    "unet_halved": "s2_plain32x2k3d1_plain64x2k3d1_plain128x2k3d1_plain128x2k3d1_unet32",
    "bisenet_small": "s2_residual32x1k3d1_residual64x2k3d1_residual128x2k3d1_residual128x2k3d1_fuse64",
    "pyramid": "s1_residual32x1k3d1_residual64x2k3d1_residual128x2k3d1_residual256x2k3d1_sum32",
    "separable_dilated": "s1_separable32x2k3d1_separable64x2k3d1_separable128x2k3d2_separable128x2k3d4_sum32",
}
"""U-Net has two convolutions a stage, of 64 to 1,024 channels over five, and an expanding path as wide; here are its
form over four stages, at full and at half size, BiSeNet's (details of an early stage, surroundings of the last one), a
feature pyramid, and one with dilation."""

_STAGE = re.compile(r"([a-z]+)(\d+)x(\d+)k(\d+)d(\d+)")
_STEM = re.compile(r"s(\d+)")
_DECODER = re.compile(r"([a-z]+)(\d+)")
_EXAMPLE = REFERENCES["unet_small"]


@register("space", "segmentation")
class Segmentation(Space):
    """Four stages of plain, residual or separable convolutions, each half as large as the one before it, and a decoder.

    Choices: whether the first convolution halves the image; of each stage its kind, width, depth, kernel and dilation;
    the decoder (`unet`: step by step up to the finest map; `sum`: all maps projected and summed; `fuse`: an early map
    and the last one) and its width. The text has them between underscores:
    `s2_plain32x2k3d1_plain64x2k3d1_residual128x2k3d1_residual128x1k3d2_unet32` begins at half the size; its last stage
    is one residual layer of 128 channels, kernel 3 and dilation 2.

    Args:
        width: the most channels of a stage.
    """

    def __init__(self, width: int = WIDTHS[-1]) -> None:
        check_sizes("segmentation", WIDTHS[0], width=width)
        self.name = "segmentation"
        self.width = width

    @cached_property
    def choices(self) -> Sequence[Choice]:
        widths = tuple(width for width in WIDTHS if width <= self.width)
        choices = [Choice("stem.stride", STRIDES, ordinal=True)]
        for stage in range(1, STAGES + 1):
            name = f"stage{stage}"
            choices += [
                Choice(f"{name}.kind", tuple(LAYERS)),
                Choice(f"{name}.width", widths, ordinal=True),
                Choice(f"{name}.depth", DEPTHS, ordinal=True),
                Choice(f"{name}.kernel", KERNELS, ordinal=True),
                Choice(f"{name}.dilation", DILATIONS, ordinal=True),
            ]
        return (*choices, Choice("decoder", tuple(DECODERS)), Choice("decoder.width", DECODER_WIDTHS, ordinal=True))

    def draws(self, choice: Choice, values: Mapping[str, Option]) -> Sequence[Option]:
        """As people draw them: few stages are dilated, and none becomes narrower."""
        stage, _, what = choice.name.partition(".")
        if what == "dilation":
            return (1, 1, 1, 1, 2, 4)
        if what == "width" and stage.startswith("stage") and stage != "stage1":
            before = int(values[f"stage{int(stage.removeprefix('stage')) - 1}.width"])
            return [width for width in choice.options if before <= int(width) <= 2 * before]
        return choice.options

    # -- text -----------------------------------------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        parts = [f"s{values['stem.stride']}"]
        for stage in range(1, STAGES + 1):
            numbers = (values[f"stage{stage}.{what}"] for what in ("kind", "width", "depth", "kernel", "dilation"))
            parts.append("{}{}x{}k{}d{}".format(*numbers))
        return "_".join([*parts, f"{values['decoder']}{values['decoder.width']}"])

    def read(self, text: str) -> dict[str, Option]:
        parts = text.strip().split("_")
        patterns = [_STEM, *[_STAGE] * STAGES, _DECODER]
        if len(parts) != len(patterns):
            raise UsageError(
                f"architecture '{text[:80]}' has {len(parts)} parts where space 'segmentation' has {len(patterns)} "
                f"(the stem, {STAGES} stages and the decoder): write {_EXAMPLE}."
            )
        names: list[tuple[str, ...]] = [("stem.stride",)]
        names += [
            tuple(f"stage{stage}.{what}" for what in ("kind", "width", "depth", "kernel", "dilation"))
            for stage in range(1, STAGES + 1)
        ]
        return read_parts(self, text, parts, patterns, [*names, ("decoder", "decoder.width")], _EXAMPLE)

    # -- forms ----------------------------------------------------------------------------------------------------

    def graph(self, architecture: Architecture) -> Graph:
        """The chain of stages, and the decoder, which reads the ends of all (of `fuse`: of the second and the last)."""
        stem, *stages, decoder = architecture.text.split("_")
        nodes = [Node("input"), Node(stem), *(Node(part, group=part.partition("k")[0]) for part in stages)]
        nodes += [Node(decoder), Node("output")]
        last = len(nodes) - 2
        taps = (3, last - 1) if decoder.startswith("fuse") else range(2, last)
        return Graph(
            tuple(nodes), (*((i, i + 1) for i in range(last - 1)), *((tap, last) for tap in taps), (last, last + 1))
        )

    def references(self) -> Mapping[str, Architecture]:
        """Those that are no wider than the space."""
        return no_wider(self, REFERENCES, self.width)

    # -- network --------------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        if len(task.input_shape) != 3 or min(task.input_shape[1:]) < LEAST_SIDE:
            raise UsageError(
                f"space '{self.name}' needs images of at least {LEAST_SIDE} x {LEAST_SIDE} pixels; task '{task.name}' "
                f"has inputs of shape {task.input_shape}."
            )

    def network(self, task: Task, pick: Pick) -> nn.Module:
        stem = partial(ConvBNActivation, task.input_shape[0], STEM, 3, activation=nn.ReLU())
        widths = [pick.number(f"stage{stage}.width") for stage in range(1, STAGES + 1)]
        stages = [
            _stage(pick, stage, inputs, outputs)
            for stage, (inputs, outputs) in enumerate(zip([STEM, *widths[:-1]], widths, strict=True), start=1)
        ]
        width = pick.number("decoder.width")
        decoder = pick("decoder", {name: partial(make, widths, width) for name, make in DECODERS.items()})
        first = pick("stem.stride", {stride: partial(stem, stride) for stride in STRIDES})
        return Decoded(first, stages, decoder, task.head(width))


class Decoded(nn.Module):
    """A stem, stages in a row, a decoder over the ends of all stages, and a head."""

    def __init__(self, stem: nn.Module, stages: Sequence[nn.Module], decoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.stem, self.decoder, self.head = stem, decoder, head
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> Tensor:
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        y: Tensor = self.head(self.decoder(maps))
        return y


def _stage(pick: Pick, number: int, inputs: Number, outputs: Number) -> nn.Module:
    name = f"stage{number}"
    kernel = pick.number(f"{name}.kernel")

    def layers(kind: str) -> nn.Module:
        def layer(channels: Number) -> nn.Module:
            dilated = {d: partial(LAYERS[kind], channels, outputs, kernel, d) for d in DILATIONS}
            module: nn.Module = pick(f"{name}.dilation", dilated)
            return module

        row: nn.Module = pick.depth(
            f"{name}.depth", [partial(layer, inputs), *[partial(layer, outputs)] * (DEPTHS[-1] - 1)]
        )
        return row if kind == "plain" else Shortcut(row, inputs, outputs)

    down: nn.Module = nn.MaxPool2d(2, ceil_mode=True) if number > 1 else nn.Identity()
    return nn.Sequential(down, pick(f"{name}.kind", {kind: partial(layers, kind) for kind in LAYERS}))
