"""A space of the convolutional networks that people write by hand: plain ones (Simonyan, Zisserman 2015, arXiv
1409.1556), ResNets of basic and bottleneck blocks (He et al. 2016, arXiv 1512.03385), and MobileNetV2 (Sandler et al.
2018, arXiv 1801.04381), in one form, so that stages of different kinds can follow each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
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
from archscout.networks.elastic import Number, compute, maximum, now
from archscout.networks.operations import ConvBNActivation
from archscout.networks.padding import in_row, read
from archscout.networks.pick import ElasticDepth
from archscout.spaces.images import check_images
from archscout.spaces.notation import no_wider, option_of
from archscout.spaces.sizes import check_sizes

KINDS = ("plain", "residual", "bottleneck", "inverted")
KERNELS = (3, 5)
EXPANSIONS = (2, 4, 6)
DOWNS = ("pool", "stride", "none")
"""How a stage halves height and width: by max pooling before its first block, by the stride of that block, not."""

STAGES = (2, 3, 4, 5)
DEPTHS = (1, 2, 3)
STEM_WIDTHS = (8, 16, 24, 32, 48, 64)
STEM_STRIDES = (1, 2)
WIDTHS = (
    (16, 24, 32, 48, 64, 96, 128),
    (16, 24, 32, 48, 64, 96, 128, 192, 256),
    (32, 48, 64, 96, 128, 192, 256),
    (32, 64, 96, 128, 192, 256, 384, 512),
    (64, 96, 128, 192, 256, 384, 512),
)
"""The channels that each stage may have."""

LARGE_KERNEL_STAGES = 2
"""How many stages may have large kernels in convolutions that are not depthwise: where channels are few."""

BODY_SIDE = 64
"""The stem halves larger images until they have at most this many pixels a side."""

LEAST_SIDE = 4

REFERENCES: Mapping[str, str] = {
    "plain_tiny": "stem16k3s1_plain32x1k3-pool_plain64x1k3-pool",
    "plain_small": "stem32k3s1_plain64x1k3-pool_plain128x1k3-pool_plain128x1-pool",
    "plain": "stem64k3s1_plain128x1k3-pool_plain256x1k3-pool_plain256x1-pool",
    "plain_fast": "stem32k3s2_plain64x1k3-pool_plain128x2k3-pool",
    "plain_deep": "stem32k3s1_plain64x2k3-pool_plain256x2k3-pool_plain256x2-pool",
    "vgg_small": "stem32k3s1_plain32x1k3_plain64x2k3-pool_plain128x2-pool",
    "vgg": "stem64k3s1_plain64x1k3_plain128x2k3-pool_plain256x3-pool_plain512x3-pool",
    "resnet8": "stem16k3s1_residual16x1k3_residual32x1k3-stride_residual64x1-stride",
    "resnet8_wide": "stem32k3s1_residual32x1k3_residual64x1k3-stride_residual128x1-stride",
    "resnet9_small": "stem32k3s1_plain64x1k3_residual64x1k3-pool_plain128x1_plain256x1-pool_residual256x1-pool",
    "resnet9": "stem64k3s1_plain128x1k3_residual128x1k3-pool_plain256x1_plain512x1-pool_residual512x1-pool",
    "resnet14": "stem16k3s1_residual16x2k3_residual32x2k3-stride_residual64x2-stride",
    "resnet20": "stem16k3s1_residual16x3k3_residual32x3k3-stride_residual64x3-stride",
    "resnet20_wide": "stem32k3s1_residual64x3k3_residual128x3k3-stride_residual256x3-stride",
    "resnet29_bottleneck": "stem16k3s1_bottleneck64x3k3_bottleneck128x3k3-stride_bottleneck256x3-stride",
    "mobilenet_v2_small": "stem16k3s1_inverted16x1k3e2_inverted24x2k3e6-stride_inverted32x3k3e6-stride"
    "_inverted64x3k3e6-stride_inverted96x2k3e6",
    "efficientnet_lite": "stem32k3s1_inverted16x1k3e2_inverted24x2k3e6-stride_inverted48x2k5e6-stride"
    "_inverted96x3k3e6-stride_inverted192x3k5e6-stride",
}
"""Plain networks of three to eleven convolutions; ResNet-8, -14 and -20 as published for small images (16, 32 and 64
channels) and wider; the nine-layer residual network of the DAWNBench competition (64 to 512 channels); MobileNetV2 and
EfficientNet-Lite for small images."""

SMALL_REFERENCES: Mapping[str, str] = {
    "resnet9_pooled": "stem24k3s1_residual32x2k3-pool_residual48x1k3-pool",
    "resnet7_pooled": "stem32k3s1_residual32x1k3-pool_residual64x1k3-pool",
    "resnet7_fast": "stem32k3s2_residual32x1k3_residual64x1k3-stride",
}
"""As large as ResNet-8, whose residual blocks begin on a map that is halved: half its memory, and quicker to train."""

_STEM = re.compile(r"stem(\d+)k(\d+)s(\d+)")
_STAGE = re.compile(r"([a-z]+)(\d+)x(\d+)(?:k(\d+))?(?:e(\d+))?(?:-([a-z]+))?")
_EXAMPLE = "stem32k3s1_plain64x1k3-pool_residual128x2k3-stride"


@register("space", "classic")
class Classic(Space):
    """Plain, residual, bottleneck and inverted-residual stages for images of 8 x 8 to 224 x 224: 10^16 architectures.

    Choices: of the stem, its width, kernel and stride; how many stages there are (2 to 5); of each stage, its kind,
    width, depth (blocks), how it halves the feature map, the kernel (of inverted residuals, and of the first two
    stages), and the expansion of inverted residuals. The text has the stem and the stages between underscores:
    `stem64k3s1_plain128x1k3-pool_residual256x2-stride` is a 3 x 3 convolution to 64 channels, max pooling and one 3 x 3
    convolution to 128, and two residual blocks of 256 channels of which the first has stride 2.

    Args:
        width: the most channels of a stage. Smaller ones make smaller supernets: 512, the default, makes one of some
            hundred million weights.

    Every convolution is followed by batch normalisation, and all activations are ReLU (ReLU6 in inverted residuals).
    Images of more than 64 pixels a side are halved by the stem until they have at most 64, before a stride of the stem
    that is chosen. Maps of one pixel are not halved further. `sample` draws networks as people draw them: stages get
    wider, most of them halve the map, and few are depthwise, which trains slowly on a processor.
    """

    def __init__(self, width: int = 512) -> None:
        check_sizes("classic", max(options[0] for options in WIDTHS), width=width)
        self.name = "classic"
        self.width = width

    @cached_property
    def choices(self) -> Sequence[Choice]:
        choices = [
            Choice("stem.width", STEM_WIDTHS, ordinal=True),
            Choice("stem.kernel", KERNELS, ordinal=True),
            Choice("stem.stride", STEM_STRIDES, ordinal=True),
            Choice("stages", STAGES, ordinal=True),
        ]
        for stage, widths in enumerate(WIDTHS, start=1):
            name = f"stage{stage}"
            runs = Condition("stages", tuple(n for n in STAGES if n >= stage)) if stage > min(STAGES) else None
            inverted = Condition(f"{name}.kind", ("inverted",))
            choices += [
                Choice(f"{name}.kind", KINDS, condition=runs),
                Choice(f"{name}.width", tuple(w for w in widths if w <= self.width), ordinal=True, condition=runs),
                Choice(f"{name}.depth", DEPTHS, ordinal=True, condition=runs),
                Choice(f"{name}.down", DOWNS, condition=runs),
                Choice(
                    f"{name}.kernel",
                    KERNELS,
                    ordinal=True,
                    condition=runs if stage <= LARGE_KERNEL_STAGES else inverted,
                ),
                Choice(f"{name}.expansion", EXPANSIONS, ordinal=True, condition=inverted),
            ]
        return tuple(choices)

    def draws(self, choice: Choice, values: Mapping[str, Option]) -> Sequence[Option]:
        stage, _, what = choice.name.partition(".")
        if what == "kind":
            return ("plain",) * 4 + ("residual",) * 4 + ("bottleneck", "inverted")
        if what == "down":
            often: tuple[Option, ...] = ("pool", "pool", "pool", "stride", "stride", "none")
            return (*often, "none", "none", "none", "none") if stage == "stage1" else often
        if what == "kernel":
            return (3, 3, 3, 5)
        if what == "stride":
            return (1, 1, 1, 2)
        if what == "width" and stage != "stem":
            number = int(stage.removeprefix("stage"))
            before = int(values["stem.width" if number == 1 else f"stage{number - 1}.width"])
            wider = [w for w in choice.options if before <= int(w) <= 2 * before]
            return wider or [min(choice.options, key=lambda w: abs(int(w) - before))]
        return choice.options

    # -- text -----------------------------------------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        parts = ["stem{}k{}s{}".format(*(values[f"stem.{what}"] for what in ("width", "kernel", "stride")))]
        for stage in range(1, int(values["stages"]) + 1):
            name = f"stage{stage}"
            text = "{}{}x{}".format(*(values[f"{name}.{what}"] for what in ("kind", "width", "depth")))
            for letter, what in (("k", "kernel"), ("e", "expansion")):
                if f"{name}.{what}" in values:
                    text += f"{letter}{values[f'{name}.{what}']}"
            down = values[f"{name}.down"]
            parts.append(text if down == "none" else f"{text}-{down}")
        return "_".join(parts)

    def read(self, text: str) -> dict[str, Option]:
        stem, *stages = text.strip().split("_")
        match = _STEM.fullmatch(stem)
        if match is None:
            raise UsageError(
                f"'{stem[:80]}' in '{text[:80]}' is no stem: write stem<width>k<kernel>s<stride>, as in {_EXAMPLE}."
            )
        if len(stages) not in STAGES:
            raise UsageError(
                f"architecture '{text[:80]}' has {len(stages)} stages where space 'classic' has {STAGES[0]} to "
                f"{STAGES[-1]}: write {_EXAMPLE}, with an underscore between stages."
            )
        values: dict[str, Option] = {}
        for what, number in zip(("width", "kernel", "stride"), match.groups(), strict=True):
            values[f"stem.{what}"] = option_of(self, f"stem.{what}", number, text)
        values["stages"] = len(stages)
        for stage, written in enumerate(stages, start=1):
            name = f"stage{stage}"
            match = _STAGE.fullmatch(written)
            if match is None or match[1] not in KINDS or match[6] not in (None, "pool", "stride"):
                raise UsageError(
                    f"'{written[:80]}', stage {stage} of '{text[:80]}', is no stage: write <kind><width>x<depth>, a "
                    f"kernel (k3) and expansion (e6) where the stage has one, and -pool or -stride; kinds are "
                    f"{', '.join(KINDS)}, as in {_EXAMPLE}."
                )
            values[f"{name}.kind"] = match[1]
            values[f"{name}.down"] = match[6] or "none"
            has = {"width": True, "depth": True, "expansion": match[1] == "inverted"}
            has["kernel"] = has["expansion"] or stage <= LARGE_KERNEL_STAGES
            for what, number in zip(("width", "depth", "kernel", "expansion"), match.groups()[1:5], strict=True):
                if (number is not None) != has[what]:
                    need = "its" if has[what] else "no"
                    raise UsageError(
                        f"'{written[:80]}', stage {stage} of '{text[:80]}', must have {need} {what}: write it like "
                        f"{_stage_example(stage, match[1])}."
                    )
                if number is not None:
                    values[f"{name}.{what}"] = option_of(self, f"{name}.{what}", number, text)
        return {choice.name: values[choice.name] for choice in self.choices if choice.name in values}

    # -- forms ----------------------------------------------------------------------------------------------------

    def canonical(self, architecture: Architecture) -> str:
        """The stem and the blocks one by one: where a stage goes on like the one before it, they are one."""
        return "_".join([architecture.text.split("_")[0], *_blocks(architecture)])

    def graph(self, architecture: Architecture) -> Graph:
        """The chain of blocks."""
        nodes = [Node("input"), Node(architecture.text.split("_")[0])]
        nodes += [Node(block, group=block.partition("x")[0]) for block in _blocks(architecture)]
        nodes.append(Node("output"))
        return Graph(tuple(nodes), tuple((i, i + 1) for i in range(len(nodes) - 1)))

    def references(self) -> Mapping[str, Architecture]:
        """Those that are no wider than the space."""
        return no_wider(self, REFERENCES, self.width)

    def small_references(self) -> Mapping[str, Architecture]:
        """Those that are no wider than the space."""
        return no_wider(self, SMALL_REFERENCES, self.width)

    # -- network --------------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        check_images(self, task, LEAST_SIDE)

    def network(self, task: Task, pick: Pick) -> nn.Module:
        side, halvings = min(task.input_shape[1:]), 0
        while side > BODY_SIDE:
            side, halvings = (side + 1) // 2, halvings + 1
        width, kernel = pick.number("stem.width"), pick.number("stem.kernel")
        count = pick.number("stages")
        # The widths of stages that there may be: all of them in a supernet.
        widths = [pick.number(f"stage{stage}.width") for stage in range(1, maximum(count) + 1)]
        halved: dict[int, int] = {}
        """How often each part (the stem is 0) halves the map; in a supernet, which builds every way, at most."""

        def stem(halvings: int) -> nn.Module:
            halved[0] = max(halvings, halved.get(0, 0))
            return _stem(task.input_shape[0], width, kernel, halvings)

        stages = [
            partial(_stage, pick, stage, inputs, outputs, halved)
            for stage, (inputs, outputs) in enumerate(zip([width, *widths], widths, strict=False), start=1)
        ]
        first = pick("stem.stride", {1: partial(stem, halvings), 2: partial(stem, halvings + 1)})
        rest = pick.depth("stages", stages)
        channels = [compute(partial(_width_if_built, stage), count, each) for stage, each in enumerate(widths, start=1)]
        strides = [_stride(min(task.input_shape[1:]), halved, stage) for stage in range(1, len(widths) + 1)]
        head = task.tapped_head(channels, strides)
        if head is None:
            return in_row(first, rest, task.head(compute(_last, count, *widths)))
        return TappedStages(first, rest, head)


class TappedStages(nn.Sequential):
    """The stem, the stages, and a head that reads the map at the end of every stage that there is."""

    def __init__(self, stem: nn.Module, stages: nn.Module, head: nn.Module) -> None:
        super().__init__(stem, stages, head)

    def forward(self, x: Tensor) -> Tensor:
        stem, stages, head = self
        features, maps = stem(x), []
        for stage in stages.active() if isinstance(stages, ElasticDepth) else stages.children():
            features = stage(features)
            maps.append(features)
        return read(head, maps, x)


def _stem(channels: int, width: Number, kernel: Number, halvings: int) -> nn.Module:
    convolution = ConvBNActivation(channels, width, kernel, 2 if halvings else 1, activation=nn.ReLU())
    return nn.Sequential(convolution, *(nn.MaxPool2d(3, 2, 1) for _ in range(halvings - 1)))


def _stage(pick: Pick, number: int, inputs: Number, outputs: Number, halved: dict[int, int]) -> nn.Module:
    name = f"stage{number}"

    def of_kind(kind: str, inputs: Number, stride: int) -> nn.Module:
        kernel = pick.number(f"{name}.kernel") if kind == "inverted" or number <= LARGE_KERNEL_STAGES else 3
        if kind == "inverted":
            return Inverted(inputs, outputs, kernel, stride, pick.number(f"{name}.expansion"))
        return BLOCKS[kind](inputs, outputs, kernel, stride)

    def block(inputs: Number, stride: int = 1) -> nn.Module:
        module: nn.Module = pick(f"{name}.kind", {kind: partial(of_kind, kind, inputs, stride) for kind in KINDS})
        return module

    def pooled() -> nn.Module:
        halved[number] = 1
        # With ceil_mode a map of one pixel stays one, and no pixel of an odd one is left out.
        return nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), block(inputs))

    def strided() -> nn.Module:
        halved[number] = 1
        return nn.Sequential(block(inputs, 2))

    def first() -> nn.Module:
        downs = {"pool": pooled, "stride": strided, "none": lambda: nn.Sequential(block(inputs))}
        module: nn.Module = pick(f"{name}.down", downs)
        return module

    stage: nn.Module = pick.depth(f"{name}.depth", [first, *[partial(block, outputs)] * (DEPTHS[-1] - 1)])
    return stage


def _last(count: int, *widths: int) -> int:
    return widths[count - 1]


def _width_if_built(stage: int, count: int, width: int) -> int:
    return width if stage <= count else 0


def _stride(side: int, halved: Mapping[int, int], stage: int) -> int:
    """Pixels of an image for each of the map at the end of a stage, where each part up to it halves the map so often.

    Maps of one pixel are not halved further.
    """
    pixels = side
    for _ in range(sum(count for part, count in halved.items() if part <= stage)):
        pixels = (pixels + 1) // 2
    return -(-side // pixels)


class Plain(ConvBNActivation):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, inputs: Number, outputs: Number, kernel: Number, stride: int) -> None:
        super().__init__(inputs, outputs, kernel, stride, activation=nn.ReLU())


class Residual(nn.Module):
    """The sum of the input, projected where its shape changes, and of what two convolutions make of it; then ReLU."""

    def __init__(self, inputs: Number, outputs: Number, kernel: Number, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            ConvBNActivation(inputs, outputs, kernel, stride, activation=nn.ReLU()),
            ConvBNActivation(outputs, outputs, kernel),
        )
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.shortcut(x) + self.residual(x))


class Bottleneck(nn.Module):
    """As `Residual`, with a convolution of a quarter of the channels between two of 1 x 1."""

    def __init__(self, inputs: Number, outputs: Number, kernel: Number, stride: int) -> None:
        super().__init__()
        inner = compute(_quarter, outputs)
        self.residual = nn.Sequential(
            ConvBNActivation(inputs, inner, 1, activation=nn.ReLU()),
            ConvBNActivation(inner, inner, kernel, stride, activation=nn.ReLU()),
            ConvBNActivation(inner, outputs, 1),
        )
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.shortcut(x) + self.residual(x))


class Inverted(nn.Module):
    """Expand (1 x 1), filter each channel, project (1 x 1); added to the input where that has the same shape."""

    def __init__(self, inputs: Number, outputs: Number, kernel: Number, stride: int, expansion: Number) -> None:
        super().__init__()
        hidden = compute(_product, inputs, expansion)
        self.stride = stride
        self.layers = nn.Sequential(
            ConvBNActivation(inputs, hidden, 1, activation=nn.ReLU6()),
            ConvBNActivation(hidden, hidden, kernel, stride, depthwise=True, activation=nn.ReLU6()),
            ConvBNActivation(hidden, outputs, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.stride == 1 and x.shape[1] == y.shape[1] else y


BLOCKS: Mapping[str, Callable[[Number, Number, Number, int], nn.Module]] = {
    "plain": Plain,
    "residual": Residual,
    "bottleneck": Bottleneck,
}


def _shortcut(inputs: Number, outputs: Number, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    if stride == 1 and not (isinstance(inputs, int) and isinstance(outputs, int)):
        return ElasticShortcut(inputs, outputs)
    return ConvBNActivation(inputs, outputs, 1, stride)


class ElasticShortcut(nn.Module):
    """In a supernet: a projection where the widths differ, a wire where they are the same."""

    def __init__(self, inputs: Number, outputs: Number) -> None:
        super().__init__()
        self.numbers = (inputs, outputs)
        self.projection = ConvBNActivation(inputs, outputs, 1)

    def _is_wire(self) -> bool:
        return bool(now(self.numbers[0]) == now(self.numbers[1]))

    def active_state(self) -> dict[str, Tensor]:
        """The tensors of the projection that run now, as the stand-alone network names them."""
        if self._is_wire():
            return {}
        convolution, norm = self.projection
        parts = {"0": convolution.active_state(), "1": norm.active_state()}  # type: ignore[operator] # elastic layers
        return {f"{place}.{name}": tensor for place, state in parts.items() for name, tensor in state.items()}

    def forward(self, x: Tensor) -> Tensor:
        return x if self._is_wire() else self.projection(x)


def _blocks(architecture: Architecture) -> list[str]:
    """The text of each block: that of its stage, of which the first block alone halves the map."""
    blocks = []
    for stage in architecture.text.split("_")[1:]:
        block, _, down = stage.partition("-")
        depth = int(re.search(r"x(\d+)", block)[1])  # type: ignore[index] # the text is well formed
        block = re.sub(r"x\d+", "", block)
        blocks += [f"{block}-{down}" if down else block, *[block] * (depth - 1)]
    return blocks


def _stage_example(stage: int, kind: str) -> str:
    kernel = "k3" if kind == "inverted" or stage <= LARGE_KERNEL_STAGES else ""
    return f"{kind}64x1{kernel}{'e6' if kind == 'inverted' else ''}-pool"


def _quarter(channels: int) -> int:
    return max(4, channels // 4)


def _product(inputs: int, expansion: int) -> int:
    return inputs * expansion
