"""A space of mobile networks: stages of inverted-residual blocks (Sandler et al. 2018, arXiv 1801.04381) whose depth,
width, kernels, expansions, squeeze-excitation and activations are choices, as in MobileNetV3 (Howard et al. 2019, arXiv
1905.02244) and its elastic form (Cai et al. 2020, arXiv 1908.09791)."""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial

from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Condition, Option
from archscout.core.errors import UsageError
from archscout.core.graph import Graph, Node
from archscout.core.registry import register
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.body import Body
from archscout.networks.elastic import Number, compute, conv2d
from archscout.networks.operations import ConvBNActivation
from archscout.spaces.images import check_images
from archscout.spaces.sizes import check_sizes

WIDTHS = (50, 75, 100)
KERNELS = (3, 5, 7)
EXPANSIONS = (2, 3, 4, 6)
ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "hswish": nn.Hardswish}
LETTERS = {"relu": "r", "hswish": "h"}

REFERENCES: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "mobilenet_v2_small": (50, ("k3e6r", "k3e6r-k3e6r", "k3e6r-k3e6r", "k3e6r")),
    "mobilenet_v3_small": (75, ("k3e4rs", "k3e4r-k3e4r", "k5e4hs-k5e6hs-k5e6hs", "k5e6hs-k5e6hs")),
    "efficientnet_lite_small": (75, ("k3e6r-k3e6r", "k5e6r-k5e6r", "k3e6r-k3e6r-k3e6r", "k5e6r-k5e6r-k5e6r")),
    "mobilenet_v2": (100, ("k3e6r-k3e6r", "k3e6r-k3e6r-k3e6r", "k3e6r-k3e6r-k3e6r", "k3e6r-k3e6r-k3e6r")),
    "efficientnet_lite": (100, ("k3e6r-k3e6r", "k5e6r-k5e6r", "k3e6r-k3e6r-k3e6r", "k5e6r-k5e6r-k5e6r")),
}
"""Width and blocks of the stages: the last blocks go on where a space has more stages. MobileNetV2 as published has no
squeeze-excitation and one kernel and expansion; MobileNetV3-Small changes all three; EfficientNet-Lite (Tan, Le 2019,
arXiv 1905.11946, as its authors stripped it for mobile devices) changes the kernel."""

GROWTH = 1.6
"""How many times wider each stage is than the one before it."""

LEAST_SIDE = 4
"""No feature map is made smaller than this many pixels a side."""

STEM_SIDE = 24
"""The stem has stride 2 for images of this many pixels a side and more."""

_BLOCK = re.compile(r"k(\d+)e(\d+)([a-z])(s?)")
_EXAMPLE = "w75-k3e4r-k5e6hs_w100-k3e2r_..."


@register("space", "mobile")
class Mobile(Space):
    """Stages of inverted-residual blocks for images of 8 x 8 to 224 x 224: 10^22 architectures.

    Choices of each stage: its width (in percent of the stage's channels) and its depth; of each block that runs:
    kernel, expansion, squeeze-excitation, activation. The text has stages between underscores and blocks between
    dashes: `w75-k3e4r-k5e6hs_w100-k3e2r_...` is a first stage at 75 % width with two blocks, the second of kernel 5 and
    expansion 6 with h-swish and squeeze-excitation.

    Args:
        width: channels of the stem and, at 100 %, of the first stage; a multiple of 8. Each later stage is 1.6 times
            wider. Default: 8 for inputs below 32 x 32, 16 below 128 x 128, 24 for larger ones.
        stages: how many stages; 4 unless given.
        depth: the most blocks of a stage; 3 unless given.

    The first block of some stages has stride 2, and so has the stem for inputs of 24 x 24 and more: as many as leave 4
    pixels a side (8 x 8: one halving; 32 x 32: three; 224 x 224: five, to 7 x 7). All blocks but the first of a stage
    are residual.
    """

    def __init__(self, width: int | None = None, stages: int = 4, depth: int = 3) -> None:
        check_sizes("mobile", width=width, stages=stages, depth=depth)
        if width is not None and width % 8:
            raise UsageError(f"the width of space 'mobile' must be a multiple of 8 (halves and quarters), not {width}.")
        self.name = "mobile"
        self.width, self.stages, self.depth = width, stages, depth

    @cached_property
    def choices(self) -> Sequence[Choice]:
        choices = []
        for stage in range(1, self.stages + 1):
            deep = f"stage{stage}.depth"
            choices.append(Choice(f"stage{stage}.width", WIDTHS, ordinal=True))
            choices.append(Choice(deep, tuple(range(1, self.depth + 1)), ordinal=True))
            for block in range(1, self.depth + 1):
                name = _block_name(stage, block)
                runs = Condition(deep, tuple(range(block, self.depth + 1))) if block > 1 else None
                choices += [
                    Choice(f"{name}.kernel", KERNELS, ordinal=True, condition=runs),
                    Choice(f"{name}.expansion", EXPANSIONS, ordinal=True, condition=runs),
                    Choice(f"{name}.squeeze", (False, True), condition=runs),
                    Choice(f"{name}.activation", tuple(ACTIVATIONS), condition=runs),
                ]
        return tuple(choices)

    # -- text -----------------------------------------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        stages = []
        for stage in range(1, self.stages + 1):
            blocks = [f"w{values[f'stage{stage}.width']}"]
            for block in range(1, int(values[f"stage{stage}.depth"]) + 1):
                name = _block_name(stage, block)
                letter = LETTERS[str(values[f"{name}.activation"])]
                squeeze = "s" if values[f"{name}.squeeze"] else ""
                blocks.append(f"k{values[f'{name}.kernel']}e{values[f'{name}.expansion']}{letter}{squeeze}")
            stages.append("-".join(blocks))
        return "_".join(stages)

    def read(self, text: str) -> dict[str, Option]:
        stages = text.strip().split("_")
        if len(stages) != self.stages:
            raise UsageError(
                f"architecture '{text}' has {len(stages)} stages where space '{self.name}' has {self.stages}: "
                f"write {_EXAMPLE}, with an underscore between stages."
            )
        values: dict[str, Option] = {}
        for stage, written in enumerate(stages, start=1):
            width, *blocks = written.split("-")
            values[f"stage{stage}.width"] = _option(width, "w", WIDTHS, f"the width of stage {stage} of '{text}'")
            if not 1 <= len(blocks) <= self.depth:
                raise UsageError(
                    f"stage {stage} ('{written}') of '{text}' has {len(blocks)} blocks: write 1 to {self.depth}, "
                    "each after a dash."
                )
            values[f"stage{stage}.depth"] = len(blocks)
            for block, part in enumerate(blocks, start=1):
                name, place = _block_name(stage, block), f"block {block} of stage {stage} of '{text}'"
                match = _BLOCK.fullmatch(part)
                if match is None:
                    raise UsageError(
                        f"'{part}', {place}, is no block: write k<kernel>e<expansion>, r (ReLU) or h (h-swish), "
                        "and s for squeeze-excitation, as in k3e4rs."
                    )
                kernel, expansion, letter, squeeze = match.groups()
                values[f"{name}.kernel"] = _option(kernel, "", KERNELS, f"the kernel of {place}")
                values[f"{name}.expansion"] = _option(expansion, "", EXPANSIONS, f"the expansion of {place}")
                values[f"{name}.squeeze"] = bool(squeeze)
                activations = {letter: activation for activation, letter in LETTERS.items()}
                if letter not in activations:
                    raise UsageError(f"'{letter}', the activation of {place}, must be r (ReLU) or h (h-swish).")
                values[f"{name}.activation"] = activations[letter]
        return values

    # -- forms ----------------------------------------------------------------------------------------------------

    def graph(self, architecture: Architecture) -> Graph:
        """The chain of blocks; a label names all choices of a block and the width of its stage."""
        nodes = [Node("input"), Node("stem")]
        for stage, written in enumerate(architecture.text.split("_"), start=1):
            width, *blocks = written.split("-")
            nodes += [Node(f"{block}-{width}", group=f"stage {stage}") for block in blocks]
        nodes += [Node("tail"), Node("output")]
        return Graph(tuple(nodes), tuple((i, i + 1) for i in range(len(nodes) - 1)))

    def references(self) -> Mapping[str, Architecture]:
        """The published designs as far as the space holds them: stages and depths are those of the space."""
        designs: dict[str, Architecture] = {}
        for name, (width, stages) in REFERENCES.items():
            blocks = [stages[min(stage, len(stages) - 1)].split("-")[: self.depth] for stage in range(self.stages)]
            architecture = self.parse("_".join(f"w{width}-{'-'.join(stage)}" for stage in blocks))
            if architecture not in designs.values():  # in a space of few blocks, some are alike
                designs[name] = architecture
        return designs

    # -- network --------------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        check_images(self, task, LEAST_SIDE)

    def network(self, task: Task, pick: Pick) -> nn.Module:
        side = min(task.input_shape[1:])
        width = self.width or (8 if side < 32 else 16 if side < 128 else 24)
        stem_stride, strides = _strides(side, self.stages)
        stem = ConvBNActivation(task.input_shape[0], width, 3, stem_stride, activation=nn.Hardswish())
        layers: list[nn.Module] = [stem]
        channels: list[Number] = []
        inputs: Number = width
        for stage, stride in enumerate(strides, start=1):
            full = 8 * round(width * GROWTH ** (stage - 1) / 8)
            outputs = compute(partial(_percent, full), pick.number(f"stage{stage}.width"))
            blocks = [
                partial(
                    InvertedResidual,
                    pick,
                    _block_name(stage, block),
                    inputs if block == 1 else outputs,
                    outputs,
                    stride=stride if block == 1 else 1,
                    residual=block > 1,
                )
                for block in range(1, self.depth + 1)
            ]
            layers.append(pick.depth(f"stage{stage}.depth", blocks))
            channels.append(outputs)
            inputs = outputs
        layers.append(ConvBNActivation(inputs, 2 * full, 1, activation=nn.Hardswish()))
        ends = [*range(1, self.stages), len(layers) - 1]  # the last stage is read after the tail
        each = itertools.accumulate(strides, operator.mul, initial=stem_stride)
        return Body(layers, ends, [*channels[:-1], 2 * full], list(each)[1:]).with_head(task)


class InvertedResidual(nn.Module):
    """Expand (1 x 1), filter each channel (kernel x kernel), perhaps squeeze and excite, project (1 x 1)."""

    def __init__(self, pick: Pick, name: str, inputs: Number, outputs: Number, *, stride: int, residual: bool) -> None:
        super().__init__()
        hidden = compute(_product, inputs, pick.number(f"{name}.expansion"))
        kernel = pick.number(f"{name}.kernel")
        activations = [pick(f"{name}.activation", ACTIVATIONS) for _ in range(2)]
        self.expand = ConvBNActivation(inputs, hidden, 1, activation=activations[0])
        self.filter = ConvBNActivation(hidden, hidden, kernel, stride, depthwise=True, activation=activations[1])
        self.squeeze = pick(f"{name}.squeeze", {False: nn.Identity, True: partial(SqueezeExcitation, hidden)})
        self.project = ConvBNActivation(hidden, outputs, 1)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.squeeze(self.filter(self.expand(x))))
        return x + y if self.residual else y


class SqueezeExcitation(nn.Module):
    """Scales each channel by what a small network makes of all channels' means (Hu et al. 2018, arXiv 1709.01507)."""

    def __init__(self, channels: Number) -> None:
        super().__init__()
        reduced = compute(_quarter, channels)
        self.reduce = conv2d(channels, reduced, 1, bias=True)
        self.activation = nn.ReLU()
        self.excite = conv2d(reduced, channels, 1, bias=True)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3), keepdim=True)
        return x * self.gate(self.excite(self.activation(self.reduce(means))))  # type: ignore[no-any-return]


def _strides(side: int, stages: int) -> tuple[int, list[int]]:
    """The stride of the stem and of each stage: the halvings left by the stem are spread over the later stages."""
    halvings = 0
    while side >> halvings + 1 >= LEAST_SIDE:
        halvings += 1
    stem = int(side >= STEM_SIDE)
    later = min(halvings - stem, stages - 1)
    # How many halvings are done by the end of each stage, rounded to whole ones.
    done = [(2 * k * later + stages - 1) // (2 * (stages - 1)) if stages > 1 else 0 for k in range(stages)]
    first = int(halvings > stem + later)
    return 1 + stem, [1 + first] + [1 + after - before for before, after in itertools.pairwise(done)]


def _block_name(stage: int, block: int) -> str:
    return f"stage{stage}.block{block}"


def _option(text: str, prefix: str, options: tuple[int, ...], what: str) -> int:
    known = {f"{prefix}{option}": option for option in options}
    if text not in known:
        raise UsageError(f"'{text}', {what}, must be one of {', '.join(known)}.")
    return known[text]


def _percent(full: int, percent: int) -> int:
    return full * percent // 100


def _product(inputs: int, expansion: int) -> int:
    return inputs * expansion


def _quarter(channels: int) -> int:
    return max(4, channels // 4)
