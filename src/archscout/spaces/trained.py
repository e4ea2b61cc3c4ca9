"""The space of a trained network: every way of making it smaller that leaves its weights in use."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from archscout.backbones.adapted import Adapted, last_linear, with_head
from archscout.backbones.base import Backbone
from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.digest import digest
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.registry import create, names, register
from archscout.core.space import Pick
from archscout.core.task import Task
from archscout.deploy.form import form
from archscout.networks.channels import Channels, Group, channels
from archscout.networks.cutting import Cut, croppable, cut, usable
from archscout.networks.elastic import Kind
from archscout.networks.memory import tensors_in
from archscout.networks.pick import ArchitecturePick, SupernetPick
from archscout.networks.plain import copied, plain_weights, uncompiled
from archscout.networks.sliced import SlicedNetwork
from archscout.networks.structure import structure
from archscout.spaces.reducing import ReducingSpace, allowed, check_layers

OPTIONS = 8
"""Widths that a group of channels may have, at most."""

SIZE = 96
"""Height and width that a backbone gets its images at, unless told otherwise."""

_SIDES = (32, 28, 64, 96, 128, 224)
KEEP, DROP = "keep", "drop"
_KINDS: Mapping[str, Kind] = {"width": "width", "block": "depth", "kernel": "kernel"}


class TrainedSpace(ReducingSpace):
    """What can be cut of a trained network; the widest architecture answers as the network itself.

    A group of channels that must be cut together has a width (the channels that stay), a block that adds to its input
    may be left out, a kernel of 5 and more may be cropped. What the network's code does not allow stays whole
    (`channels.whole` says what, and why).

    Args:
        module: a trained network; it is copied.
        name: of the space.
        input_shape: of one example, for the trace; found by trying where None.
        only: names of layers (or their beginnings) that may be cut; all where empty.
        keep: names of layers (or their beginnings) that may not be cut.

    Raises:
        UsageError: the module does not run, or nothing of it can be cut.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str | None = None,
        *,
        input_shape: Sequence[int] | None = None,
        only: Sequence[str] = (),
        keep: Sequence[str] = (),
    ) -> None:
        if not isinstance(module, nn.Module):
            raise UsageError(f"a trained network is a torch.nn.Module, not a {type(module).__name__}.")
        module = uncompiled(module)
        self.name = name or f"trained:{type(module).__name__}"
        _check_weights(module)
        self.module = copied(module).eval()
        self.made_plain = plain_weights(self.module)
        """Layers whose weights were computed by a parametrization, whose numbers they are now."""
        self.input_shape = tuple(input_shape) if input_shape is not None else _guess_shape(self.module)
        example = torch.zeros(2, *self.input_shape)
        example[1] = torch.rand(self.input_shape, generator=torch.Generator().manual_seed(0))
        _check_batches(self.module, example)
        self.channels = usable(self.module, channels(self.module, example[:1]), example)
        self.groups: dict[str, Group] = {}
        self.blocks: list[str] = []
        self.kernels: dict[str, list[int]] = {}
        self._find(only, keep)
        if not self.choices:
            why = "; ".join(f"{layer}: {reason}" for layer, reason in list(self.channels.whole.items())[:5])
            raise UsageError(f"nothing of network '{self.name}' can be cut ({why or 'it has no layers with weights'}).")
        self.order = {group.name: by_norm(self.module, group) for group in self.groups.values()}
        """Units of each group, the most important first."""

    def _find(self, only: Sequence[str], keep: Sequence[str]) -> None:
        check_layers(self.name, self.module, (*only, *keep))
        whole = dict(self.channels.whole)
        for group in self.channels.groups:
            layers = {name.rpartition(".")[0] for name, _ in group.makers}
            if all(allowed(layer, only, keep) for layer in layers):
                self.groups[group.name] = group
            else:
                whole[group.name] = "it is to be kept"
        self.channels = Channels(self.channels.groups, self.channels.blocks, whole)
        self.blocks = [block for block in self.channels.blocks if allowed(block, only, keep)]
        for layer, module in self.module.named_modules():
            if croppable(module) and allowed(layer, only, keep):
                size = module.kernel_size[0]
                self.kernels[layer] = list(range(size, 2, -2))

    # -- choices --------------------------------------------------------------------------------------------------

    @property
    def choices(self) -> Sequence[Choice]:
        own = [Choice(f"{name}.width", tuple(widths(group)), ordinal=True) for name, group in self.groups.items()]
        own += [Choice(f"{name}.block", (KEEP, DROP)) for name in self.blocks]
        own += [Choice(f"{name}.kernel", tuple(sizes), ordinal=True) for name, sizes in self.kernels.items()]
        return [choice for choice in own if len(choice.options) > 1]

    def identity(self) -> dict[str, Any]:
        about = {"class": type(self), "parameters": (self.name, self.input_shape), "choices": list(self.choices)}
        tensors = {name: digest(tensor) for name, tensor in self.module.state_dict().items()}
        return about | {"structure": structure(self.module), "tensors": tensors}

    @property
    def untouched(self) -> Mapping[str, str]:
        return self.channels.whole

    def cut_of(self, architecture: Mapping[str, Option]) -> Cut:
        """What an architecture takes from the network."""
        units = {}
        for name, group in self.groups.items():
            wide = architecture.get(f"{name}.width")
            if wide is not None and int(wide) < len(group) * group.size:
                units[name] = self.order[name][int(wide) // group.size :]
        blocks = [name for name in self.blocks if architecture.get(f"{name}.block") == DROP]
        kernels = {name: int(architecture[f"{name}.kernel"]) for name, sizes in self.kernels.items()
                   if int(architecture.get(f"{name}.kernel", sizes[0])) < sizes[0]}  # fmt: skip
        return Cut(units, blocks, kernels)

    def simplify(self, architecture: Architecture) -> Architecture:
        """What lies in a block that is left out counts as it was."""
        gone = [name for name in self.blocks if architecture[f"{name}.block"] == DROP]
        values = dict(architecture)
        for choice in self.choices:
            layer = choice.name.rpartition(".")[0]
            group = self.groups.get(layer)
            places = [layer] if group is None else [name for name, _ in group.units[0]]
            if choice.name.endswith(".block"):
                continue
            if gone and all(any(place.startswith(f"{block}.") for block in gone) for place in places):
                values[choice.name] = choice.options[0]
        return self.architecture(values)

    def canonical(self, architecture: Architecture) -> str:
        return self.simplify(architecture).text

    # -- network --------------------------------------------------------------------------------------------------

    def adapted(self, task: Task) -> nn.Module:
        """The whole network for a task, its trained weights in place: a head of another size is new."""
        network = copy.deepcopy(self.module)
        head = last_linear(network)
        if head and _outputs(network, self.input_shape) != task.outputs:
            with_head(network, head, task.outputs)
        return network

    def network(self, task: Task, pick: Pick) -> nn.Module:
        if isinstance(pick, SupernetPick):
            return self.sliced(self.adapted(task), pick)
        assert isinstance(pick, ArchitecturePick)
        device = torch.get_default_device()
        with torch.device("cpu"):  # where its weights are
            network = cut(self.adapted(task), list(self.groups.values()), self.cut_of(pick.architecture))
        return network.to(device).train()

    def sliced(self, whole: nn.Module, pick: SupernetPick) -> SlicedNetwork:
        """The supernet of a network whose channels and blocks are those of this space: every cut on slices of it."""
        kinds = {choice.name: _KINDS[choice.name.rpartition(".")[2]] for choice in self.choices}
        order = {choice.name: choice.options[::-1] for choice in self.choices}
        part = "network" if isinstance(whole, Adapted) else ""
        return SlicedNetwork(whole.train(), part, list(self.groups.values()), self.cut_of, pick.selection, order, kinds)

    def extremes(self) -> Iterator[Architecture]:
        """The smallest network, and the network itself."""
        yield self.architecture({choice.name: choice.options[-1] for choice in self.choices})
        yield self.widest


class BackboneSpace(TrainedSpace):
    """A backbone on the images of a task, batch normalisation folded: what can be cut of it, at one size of images.

    Args:
        backbone: by its object.
        size: height and width that images are resized to.
        weights: whether it begins with its trained weights (and these must be installed).
    """

    def __init__(
        self, backbone: Backbone, size: int = SIZE, *, weights: bool = True, only: Sequence[str] = (),
        keep: Sequence[str] = (),
    ) -> None:  # fmt: skip
        if not isinstance(size, int) or size < 32:
            raise UsageError(f"the size of a backbone's images must be a whole number of 32 and more, not {size}.")
        self.backbone, self.side = backbone, size
        network = backbone.network() if weights else backbone.structure().eval()
        network = folded(network, size)
        name = f"trained:{backbone.name}" + ("" if size == SIZE else f",size={size}")
        super().__init__(network, name, input_shape=(3, size, size), only=only, keep=keep)

    def adapted(self, task: Task) -> nn.Module:
        return adapted(self.backbone, copy.deepcopy(self.module), self.side, task)

    def network(self, task: Task, pick: Pick) -> nn.Module:
        if isinstance(pick, SupernetPick):
            return super().network(task, pick)
        assert isinstance(pick, ArchitecturePick)
        device = torch.get_default_device()
        with torch.device("cpu"):
            whole = self.adapted(task)
            assert isinstance(whole, Adapted)
            whole.network = cut(whole.network, list(self.groups.values()), self.cut_of(pick.architecture))
        return whole.to(device).train()


def folded(network: nn.Module, size: int) -> nn.Module:
    """A copy of a backbone's network without its batch normalisation, which would be frozen in any further training.

    Folded into the layers before it, it takes no time and no memory.
    """
    return form(network, (3, size, size), checked=False).requires_grad_(True)


def adapted(backbone: Backbone, network: nn.Module, size: int, task: Task) -> Adapted:
    """A backbone's network for a task's images, which are resized: its head is new where the number of outputs differs.

    Raises:
        UsageError: the inputs are no images.
    """
    if len(task.input_shape) != 3 or task.input_shape[0] not in (1, 3) or not hasattr(task, "mean"):
        raise UsageError(
            f"backbone '{backbone.name}' takes grey or colour images, not inputs of shape {task.input_shape} "
            f"(task '{task.name}')."
        )
    with_head(network, backbone.head, task.outputs)
    span = _span(task)
    colours: Any = task
    mean, std = [float(each) * span for each in colours.mean], [float(each) * span for each in colours.std]
    return Adapted(network, size, backbone.mean, backbone.std, mean, std)


@register("space", "trained")
def trained(source: str, size: int | None = None, input: str | None = None) -> TrainedSpace:
    """What can be cut of a trained network: a backbone by name, or package.module:factory.

    Args:
        source: a backbone (`archscout list backbones`), or a function of an importable module that returns a network.
        size: height and width of the images that a backbone gets.
        input: the shape of one example for a network of your own (`3x32x32`); found by trying where it is not given.
    """
    if source in names("backbone"):
        backbone: Backbone = create("backbone", source)
        return BackboneSpace(backbone, size or SIZE)
    module, colon, factory = source.partition(":")
    if not colon:
        known = ", ".join(names("backbone"))
        raise UsageError(f"there is no backbone '{source}': use one of {known}, or write package.module:factory.")
    shape = None
    if input is not None:
        try:
            shape = tuple(int(part) for part in str(input).split("x"))
        except ValueError as error:
            raise UsageError(f"the input '{input}' of space 'trained' is no shape: write, say, 3x32x32.") from error
    return TrainedSpace(from_factory(module, factory), f"trained:{source}", input_shape=shape)


def from_factory(module: str, factory: str) -> nn.Module:
    """The network that a function of the user's own returns. Raises `UsageError` where it cannot be had."""
    try:
        make = getattr(importlib.import_module(module), factory)
        network = make()
    except Exception as error:  # whatever the user's code raises
        raise UsageError(f"'{module}:{factory}' gives no network ({type(error).__name__}: {error}).") from error
    if not isinstance(network, nn.Module):
        raise UsageError(f"'{module}:{factory}' returns a {type(network).__name__}, not a torch.nn.Module.")
    return network


def widths(group: Group) -> list[int]:
    """The widths that a group may have, the full one first: at most 8, in multiples of 8 channels where it has many."""
    full = len(group) * group.size
    multiple = 8 if full >= 64 else 4 if full >= 24 else 2 if full >= 8 else 1
    step = max(1, -(-multiple // group.size)) if group.size < multiple else 1
    counts = list(range(len(group) // step * step, 0, -step)) or [len(group)]
    counts = [len(group), *(count for count in counts if count < len(group))]
    if len(counts) > OPTIONS:
        counts = [counts[round(place * (len(counts) - 1) / (OPTIONS - 1))] for place in range(OPTIONS)]
    return [count * group.size for count in dict.fromkeys(counts)]


def by_norm(network: nn.Module, group: Group) -> list[int]:
    """Units by the norm of the weights that make and read them, each layer's as a share of its mean; largest first."""
    tensors = {**dict(network.named_parameters())}
    importance = torch.zeros(len(group))
    for name, axis in group.units[0]:
        tensor = tensors.get(name)
        if tensor is None or tensor.ndim < 2:
            continue
        norms = tensor.detach().transpose(0, axis).reshape(tensor.shape[axis], -1).float().norm(dim=1)
        own = torch.stack([norms[list(unit[name, axis])].square().sum().sqrt() for unit in group.units])
        importance += own / own.mean().clamp(min=1e-12)
    return [int(unit) for unit in importance.argsort(descending=True, stable=True)]


def _span(task: Task) -> float:
    """What a stored number is in units of 0 to 255: floats from 0 to 1 are pixels divided by 255."""
    x = task.train.x
    return 1.0 if x.dtype == "uint8" or not len(x) or float(x.max()) > 2 else 255.0


def _outputs(network: nn.Module, shape: Sequence[int]) -> int:
    with torch.no_grad():
        outputs = next(iter(tensors_in((network(torch.zeros(1, *shape)),))), None)
    return int(outputs.shape[1]) if outputs is not None and outputs.ndim > 1 else 0


def _check_weights(network: nn.Module) -> None:
    """Raise `UsageError` for weights and statistics that nothing can be cut by."""
    if isinstance(network, torch.jit.ScriptModule):
        raise UsageError("a scripted network cannot be cut: give the module that it was made from.")
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if is_lazy(tensor) or tensor.is_meta:
            raise UsageError(f"'{name}' of the network has no values yet: run it once, or load its weights, before.")
    for name, tensor in network.state_dict().items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            continue
        if tensor.dtype != torch.float32:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise UsageError(f"'{name}' of the network is in {kind}: call its float() before it is cut.")
        if not bool(tensor.isfinite().all()):
            raise UsageError(f"'{name}' of the network has values that are not finite (nan or inf): train it anew.")
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise UsageError(
                f"layer '{name}' of the network has batch normalisation without running statistics, whose answers "
                "depend on the batch: train it with track_running_stats=True."
            )


def _check_batches(network: nn.Module, example: Tensor) -> None:
    """Raise `UsageError` for a network that runs on one example alone, as one that was exported with one does."""
    with torch.no_grad():
        try:
            network(example[:1])
        except Exception:  # whoever looks for channels says why
            return
        try:
            network(example)
        except Exception as error:  # whatever the user's code raises
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise UsageError(
                f"the network runs on one example, but not on {len(example)} at once ({reason}): if it was "
                "exported, export it with a batch of any size (dynamic_shapes of torch.export.export)."
            ) from error


def _guess_shape(network: nn.Module) -> tuple[int, ...]:
    """The shape of an example that the network runs on, by trying."""
    layers = [module for module in network.modules() if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear))]
    if not layers:
        raise UsageError("the network has no convolution and no linear layer, so that nothing of it can be cut.")
    first = layers[0]
    shapes: list[tuple[int, ...]] = []
    if isinstance(first, nn.modules.conv._ConvNd):
        dims = len(first.kernel_size)
        shapes = [(first.in_channels, *(side,) * dims) for side in _SIDES]
    else:
        shapes = [(first.in_features,), (8, first.in_features)]
    reason = ""
    for shape in shapes:
        try:
            with torch.no_grad():
                network(torch.zeros(1, *shape))
            return shape
        except Exception as error:  # the next may fit
            reason = str(error).strip().partition("\n")[0].rstrip(".")
    raise ArchscoutError(f"the network runs on none of the shapes {shapes} ({reason}): say which with input_shape.")
