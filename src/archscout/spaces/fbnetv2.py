"""Spaces after FBNetV2 (Wan et al. 2020, arXiv 2004.05565) as FP-NAS searches them (Yan et al. 2021, arXiv 2011.10949):
five choices a block, whose 23 options are 720 combinations, and split attention."""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError, nearest
from archscout.core.graph import Graph, Node
from archscout.core.registry import register
from archscout.core.space import Pick, Space
from archscout.core.task import Task
from archscout.networks.body import Body
from archscout.networks.elastic import Number, compute, conv2d
from archscout.networks.operations import ConvBNActivation
from archscout.spaces.images import check_images
from archscout.spaces.mobile import ACTIVATIONS, LETTERS, SqueezeExcitation
from archscout.spaces.sizes import check_sizes

KERNELS = (3, 5, 0)
"""0 leaves the block out: the input goes on, through a 1 x 1 convolution where a block may change its shape."""

EXPANSIONS = (75, 150, 300, 400, 500, 600)
"""In percent."""

SPLITS = (1, 2, 4)
STEM = 2
"""Channels of the stem, in units."""

_BLOCK = re.compile(r"k(\d+)e(\d+)c(\d+)([a-z])(s?)(?:a(\d+))?")
_EXAMPLE = "k3e300c2r_k5e600c4hs_..."


@dataclass(frozen=True)
class Variant:
    """A member of the family.

    Args:
        blocks: of each stage.
        widest: how many options of channels a block has.
        shared: whether the blocks of a stage are alike.
        splits: whether the number of splits of split attention is a choice.
    """

    blocks: tuple[int, ...]
    widest: int = 10
    shared: bool = True
    splits: bool = False


VARIANTS: Mapping[str, Variant] = {
    "f": Variant((1, 2, 2, 3, 2)),
    "fine": Variant((1, 2, 2, 3, 2), shared=False),
    "wide": Variant((1, 2, 2, 3, 2), widest=14, splits=True),
    "deep": Variant((2, 3, 4, 5, 4), splits=True),
}
FIRST = (1, 1, 2, 4, 6)
"""The least channels of each stage, in units; options go up from there by one unit."""


@register("space", "fbnetv2")
class FBNetV2(Space):
    """Stages of inverted residuals whose kernel, expansion, channels, activation, squeeze and splits are choices.

    The text has the blocks that are chosen between underscores: `k3e300c4hs` is a kernel of 3 (0: no block), expansion
    by 3, four units of channels, h-swish (`r`: ReLU) and squeeze-excitation, and `a2` after it means two splits. The
    published cardinalities (3, 6, 10, 2, 2) are kept; which options, and how many blocks, is this package's choice, as
    the variants beside `f` are known by description only.

    Args:
        variant: `f` (the blocks of a stage alike: 720^5), `fine` (each block has its own choices), `wide` (more
            channels, split attention), `deep` (more blocks, split attention).
        unit: channels of one unit. Default: 8 for inputs of 32 x 32 and more, 4 below.
    """

    def __init__(self, variant: str = "f", unit: int | None = None) -> None:
        if variant not in VARIANTS:
            raise UsageError(f"space 'fbnetv2' has no variant '{variant}': {nearest(variant, VARIANTS)}")
        check_sizes("fbnetv2", unit=unit)
        self.name = "fbnetv2"
        self.variant, self.unit = variant, unit
        self._about = VARIANTS[variant]

    @cached_property
    def _groups(self) -> tuple[tuple[str, int], ...]:
        """The name and the stage of each group of choices."""
        groups = []
        for stage, blocks in enumerate(self._about.blocks):
            names = [f"stage{stage + 1}"]
            if not self._about.shared:
                names = [f"stage{stage + 1}.block{block + 1}" for block in range(blocks)]
            groups += [(name, stage) for name in names]
        return tuple(groups)

    @cached_property
    def choices(self) -> Sequence[Choice]:
        choices = []
        for name, stage in self._groups:
            channels = tuple(range(FIRST[stage], FIRST[stage] + self._about.widest))
            choices += [
                Choice(f"{name}.kernel", KERNELS),
                Choice(f"{name}.expansion", EXPANSIONS, ordinal=True),
                Choice(f"{name}.channels", channels, ordinal=True),
                Choice(f"{name}.activation", tuple(ACTIVATIONS)),
                Choice(f"{name}.squeeze", (False, True)),
            ]
            if self._about.splits:
                choices.append(Choice(f"{name}.splits", SPLITS, ordinal=True))
        return tuple(choices)

    # -- text -----------------------------------------------------------------------------------------------------

    def format(self, values: Mapping[str, Option]) -> str:
        blocks = []
        for name, _ in self._groups:
            kernel, expansion, channels = (values[f"{name}.{part}"] for part in ("kernel", "expansion", "channels"))
            letter = LETTERS[str(values[f"{name}.activation"])]
            squeeze = "s" if values[f"{name}.squeeze"] else ""
            splits = f"a{values[f'{name}.splits']}" if self._about.splits else ""
            blocks.append(f"k{kernel}e{expansion}c{channels}{letter}{squeeze}{splits}")
        return "_".join(blocks)

    def read(self, text: str) -> dict[str, Option]:
        parts = text.strip().split("_")
        if len(parts) != len(self._groups):
            raise UsageError(
                f"architecture '{text}' has {len(parts)} blocks where space 'fbnetv2:variant={self.variant}' has "
                f"{len(self._groups)}: write {_EXAMPLE}."
            )
        values: dict[str, Option] = {}
        for (name, _), part in zip(self._groups, parts, strict=True):
            match = _BLOCK.fullmatch(part)
            activations = {letter: activation for activation, letter in LETTERS.items()}
            if match is None or match[4] not in activations or (match[6] is not None) != self._about.splits:
                raise UsageError(
                    f"'{part}', the part '{name}' of '{text}', is no block of space 'fbnetv2:variant={self.variant}': "
                    f"write {_EXAMPLE}{' with a1, a2 or a4 at the end of each' if self._about.splits else ''}."
                )
            numbers = {"kernel": match[1], "expansion": match[2], "channels": match[3]}
            if self._about.splits:
                numbers["splits"] = match[6]
            for what, number in numbers.items():
                options = self._by_name[f"{name}.{what}"].options
                if int(number) not in options:
                    raise UsageError(f"the {what} of '{name}' in '{text}' is {number}: it must be one of {options}.")
                values[f"{name}.{what}"] = int(number)
            values[f"{name}.activation"] = activations[match[4]]
            values[f"{name}.squeeze"] = bool(match[5])
        return {choice.name: values[choice.name] for choice in self.choices}

    # -- forms ----------------------------------------------------------------------------------------------------

    def simplify(self, architecture: Architecture) -> Architecture:
        """Where there is no block, what it would have been is said by the first options; its channels still count."""
        values = dict(architecture)
        for name, _ in self._groups:
            if values[f"{name}.kernel"] == 0:
                for choice in self.choices:
                    prefix, _, what = choice.name.rpartition(".")
                    if prefix == name and what not in ("kernel", "channels"):
                        values[choice.name] = choice.options[0]
        return self.architecture(values)

    def canonical(self, architecture: Architecture) -> str:
        return self.simplify(architecture).text

    def graph(self, architecture: Architecture) -> Graph:
        """The chain of blocks."""
        nodes = [Node("input"), Node("stem")]
        parts = dict(zip((name for name, _ in self._groups), self.canonical(architecture).split("_"), strict=True))
        for stage, blocks in enumerate(self._about.blocks):
            nodes += [Node(parts[self._group(stage, block)], group=f"stage {stage + 1}") for block in range(blocks)]
        nodes += [Node("tail"), Node("output")]
        return Graph(tuple(nodes), tuple((i, i + 1) for i in range(len(nodes) - 1)))

    def _group(self, stage: int, block: int) -> str:
        return f"stage{stage + 1}" if self._about.shared else f"stage{stage + 1}.block{block + 1}"

    # -- network --------------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        check_images(self, task, 8)

    def network(self, task: Task, pick: Pick) -> nn.Module:
        side = min(task.input_shape[1:])
        unit = self.unit or (8 if side >= 32 else 4)
        # The last stages halve first, until maps are about 4 pixels a side; large images are halved by the stem, too.
        stem_stride = 2 if side >= 64 else 1
        halvings = max(0, (side // stem_stride).bit_length() - 3)
        strides = [2 if stage > 0 and stage >= 5 - halvings else 1 for stage in range(5)]
        inputs: Number = STEM * unit
        layers: list[nn.Module] = [
            ConvBNActivation(task.input_shape[0], STEM * unit, 3, stem_stride, activation=nn.Hardswish())
        ]
        ends: list[int] = []
        channels: list[Number] = []
        for stage, blocks in enumerate(self._about.blocks):
            for block in range(blocks):
                name = self._group(stage, block)
                outputs = compute(partial(_times, unit), pick.number(f"{name}.channels"))
                stride = strides[stage] if block == 0 else 1
                made = partial(Block, pick, name, inputs, outputs, stride=stride, splits=self._about.splits)
                builders: dict[int, Callable[[], nn.Module]] = {k: partial(made, kernel=k) for k in KERNELS if k}
                same = block > 0 and self._about.shared
                builders[0] = nn.Identity if same else partial(ConvBNActivation, inputs, outputs, 1, stride)
                layers.append(pick(f"{name}.kernel", builders))
                inputs = outputs
            ends.append(len(layers) - 1)
            channels.append(inputs)
        tail = 16 * unit
        layers.append(ConvBNActivation(inputs, tail, 1, activation=nn.Hardswish()))
        ends[-1], channels[-1] = len(layers) - 1, tail  # the last stage is read after the tail
        each = itertools.accumulate(strides, operator.mul, initial=stem_stride)
        return Body(layers, ends, channels, list(each)[1:]).with_head(task)


class Block(nn.Module):
    """Expand, filter (in several splits, weighed by attention), squeeze and excite, project; added to its input where
    it fits."""

    def __init__(
        self, pick: Pick, name: str, inputs: Number, outputs: Number, *, kernel: int, stride: int, splits: bool
    ) -> None:
        super().__init__()
        hidden = compute(_hidden, inputs, pick.number(f"{name}.expansion"))
        activations = [pick(f"{name}.activation", ACTIVATIONS) for _ in range(2)]
        self.expand = ConvBNActivation(inputs, hidden, 1, activation=activations[0])
        filters = {count: partial(SplitAttention, hidden, kernel, stride, count) for count in SPLITS if count > 1}
        one = partial(ConvBNActivation, hidden, hidden, kernel, stride, depthwise=True)
        self.filter = pick(f"{name}.splits", {1: one, **filters}) if splits else one()
        self.activation = activations[1]
        self.squeeze = pick(f"{name}.squeeze", {False: nn.Identity, True: partial(SqueezeExcitation, hidden)})
        self.project = ConvBNActivation(hidden, outputs, 1)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.squeeze(self.activation(self.filter(self.expand(x)))))
        return x + y if self.stride == 1 and x.shape[1] == y.shape[1] else y


class SplitAttention(nn.Module):
    """Several depthwise filters, whose sum weighs each channel of each by a softmax over them; the weights come from
    the channels' means (after Zhang et al. 2020, arXiv 2004.08955; FP-NAS shows it in a figure)."""

    def __init__(self, channels: Number, kernel: int, stride: int, splits: int) -> None:
        super().__init__()
        self.filters = nn.ModuleList(
            ConvBNActivation(channels, channels, kernel, stride, depthwise=True) for _ in range(splits)
        )
        reduced = compute(_reduced, channels)
        self.reduce = conv2d(channels, reduced, 1, bias=True)
        self.weigh = nn.ModuleList(conv2d(reduced, channels, 1, bias=True) for _ in range(splits))

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.stack([filtered(x) for filtered in self.filters])
        means = torch.relu(self.reduce(parts.sum(0).mean((2, 3), keepdim=True)))
        weights = torch.softmax(torch.stack([weigh(means) for weigh in self.weigh]), 0)
        return (weights * parts).sum(0)


def _times(unit: int, count: int) -> int:
    return unit * count


def _hidden(inputs: int, percent: int) -> int:
    return max(4, 4 * round(inputs * percent / 400))


def _reduced(channels: int) -> int:
    return max(4, channels // 4)
