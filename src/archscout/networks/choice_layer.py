"""What a choice layer is, and how a module with such layers becomes one in which every choice is decided.

A deep copy with a `Resolver` in its memo makes it: each choice layer then copies into what `pick` builds for it, so
that every reference to it, ties between layers included, ends at the same new module, and options that are not taken
are never copied.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from archscout.core.errors import UsageError, reason_of
from archscout.core.space import Pick
from archscout.networks.initialisation import as_leaves, lazy_copies
from archscout.networks.numbers import RESOLVER, NumberChoice, Plain, Undecided, passing_for
from archscout.networks.pick import Following, SupernetPick, follow

T = TypeVar("T", bound="ChoiceLayer")

TIED = "archscout tied"
"""With the `id` of a weight, the key in the memo of a deep copy under which lies what stands for it."""


@dataclass(frozen=True)
class Resolver:
    """Goes along in the memo of a deep copy and says what each choice becomes."""

    pick: Pick
    given: Mapping[int, str] = field(default_factory=dict)
    """Why each tensor, by its `id`, that was given to the module is kept (`archscout.networks.initialisation`)."""
    replaced: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Tensors of layers that were built anew, and those given ones whose values they take over."""

    def number(self, number: Any) -> Any:
        """What a number becomes: an integer in a stand-alone network, an `Elastic` in a supernet."""
        return number.resolve(self.number_of) if isinstance(number, Undecided | Plain) else number

    def number_of(self, choice: NumberChoice | Plain) -> Any:
        name = name_of(choice)
        try:
            return self.pick.number(name)
        except KeyError:
            raise UsageError(
                f"{choice!r} lies where it is not seen: keep it in an attribute of the module, in a list, a dictionary "
                "or an object of settings."
            ) from None

    def value(self, value: Plain) -> Any:
        """What a plain value becomes: an option, or in a supernet something that follows the selection."""
        if isinstance(self.pick, SupernetPick):
            return Following(name_of(value), value.options, self.pick.selection)
        return self.number_of(value)


def resolve(
    module: nn.Module, pick: Pick, given: Mapping[int, str] | None = None
) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """A copy of a module in which `pick` has decided every choice; tensors have their old values.

    Under `torch.device("meta")` nothing is allocated.

    Args:
        module: with choice layers.
        pick: decides.
        given: the tensors of the module, by `id`, whose values are to be kept.

    Returns:
        The copy, and the tensors in it that stand for a given one of the same shape, each with that one.
    """
    resolver = Resolver(pick, given or {})
    memo: dict[Any, Any] = {RESOLVER: resolver, **lazy_copies(module)}
    if torch.empty(0).device.type == "meta":
        # One new tensor for each old one keeps tied weights tied, which `Module.to` would not.
        for tensor in (*module.parameters(), *module.buffers()):
            if id(tensor) not in memo:
                bare = torch.empty_like(tensor, device="meta")
                parameter = isinstance(tensor, nn.Parameter)
                memo[id(tensor)] = nn.Parameter(bare, tensor.requires_grad) if parameter else bare
    network = as_leaves(copy.deepcopy(module, memo))
    for part in network.modules():
        follow(part)
    originals = [t for t in (*module.parameters(), *module.buffers()) if id(t) in resolver.given]
    copied = [(memo[id(t)], t) for t in originals if isinstance(memo.get(id(t)), Tensor)]
    return network, [*copied, *resolver.replaced]


def decided(value: Any, pick: Pick) -> Any:
    """A copy of what an attribute of a module holds, its choices decided by `pick`."""
    memo: dict[Any, Any] = {RESOLVER: Resolver(pick)}
    return copy.deepcopy(value, memo)


class ChoiceLayer(nn.Module):
    """A layer that `pick` decides."""

    @abstractmethod
    def build(self, resolver: Resolver, memo: dict[Any, Any]) -> nn.Module:
        """What stands in its place."""

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        resolver = memo.get(RESOLVER)
        if resolver is None:
            return _plain_copy(self, memo)
        built = self.build(resolver, memo)
        _take_hooks(built, self, memo)
        return built


class NumberLayer(ChoiceLayer):
    """A torch layer of which some numbers may be undecided; `largest` is the layer as it stands.

    Args:
        make: the layer, given its numbers and values by role.
        numbers: whole ones, some of them choices.
        values: further choices, of texts or truth values too.
    """

    def __init__(
        self, make: Callable[..., nn.Module], numbers: Mapping[str, Any], values: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        for role, number in numbers.items():
            if isinstance(number, bool) or not isinstance(number, Integral | Undecided):
                raise UsageError(
                    f"{type(self).__name__} needs a whole number, Width, Kernel or Value as {role}, not {number!r}."
                )
        self.make = make
        whole = {role: n if isinstance(n, Undecided) else int(n) for role, n in numbers.items()}
        self.numbers: dict[str, Any] = whole | dict(values or {})
        try:
            self.largest = make(**{role: passing_for(n) for role, n in self.numbers.items()})
        except (TypeError, ValueError, RuntimeError) as error:  # of torch
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"{type(self).__name__} cannot be made of these arguments: {reason_of(error)}.") from error

    def build(self, resolver: Resolver, memo: dict[Any, Any]) -> nn.Module:
        layer = self.make(**{role: resolver.number(number) for role, number in self.numbers.items()})
        _take_hooks(layer, self.largest, memo)
        self._tie(layer, memo)
        tensors = dict(layer.named_parameters()) | dict(layer.named_buffers())
        for name, original in (*self.largest.named_parameters(), *self.largest.named_buffers()):
            # A narrower layer is another one: it begins anew, and learns even where the widest was frozen.
            if id(original) in resolver.given and name in tensors and tensors[name].shape == original.shape:
                tensors[name].requires_grad_(original.requires_grad)
                resolver.replaced.append((tensors[name], original))
        return layer

    def _tie(self, layer: nn.Module, memo: dict[Any, Any]) -> None:
        """Have a weight that several layers share shared by what is built of them."""
        for name, original in self.largest.named_parameters(recurse=False):
            own = getattr(layer, name)
            if own is None:  # without a bias, where that is a choice
                continue
            first = memo.setdefault((TIED, id(original)), own)
            if first.shape != own.shape:
                raise UsageError(
                    f"a weight that two layers share is to have shapes {tuple(first.shape)} and "
                    f"{tuple(own.shape)}: give the layers the same numbers."
                )
            setattr(layer, name, first)

    def __getattr__(self, name: str) -> Any:
        # Its tensors are those of the layer as it stands, to be initialised and shared. Numbers of it are no numbers.
        largest = self.__dict__.get("_modules", {}).get("largest")
        if largest is not None and name in largest._parameters | largest._buffers:
            return getattr(largest, name)
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        largest = self.__dict__.get("_modules", {}).get("largest")
        owner = largest if largest is not None and name in largest._parameters | largest._buffers else super()
        owner.__setattr__(name, value)

    def forward(self, x: Tensor, *more: Any) -> Tensor:
        return self.largest(x, *more)  # type: ignore[no-any-return]


class Named(Protocol):
    """A choice that may have a name."""

    name: str | None


def name_of(choice: Named) -> str:
    """Of a choice whose name is given, or declared. Raises `UsageError` for one that is in no layer."""
    if choice.name is None:
        raise UsageError(
            f"{choice!r} is in no registered layer of the module: assign layers to attributes, or put them in "
            "nn.ModuleList, and give numbers to archscout's layers."
        )
    return choice.name


_HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip


def _take_hooks(built: nn.Module, original: nn.Module, memo: dict[Any, Any]) -> None:
    """Give what stands in the place of a layer the hooks that were registered with that."""
    for name in _HOOKS:
        hooks = getattr(original, name, None)
        if hooks:
            getattr(built, name).update(copy.deepcopy(hooks, memo))
            if name.startswith("_backward"):
                built._is_full_backward_hook = original._is_full_backward_hook


def _plain_copy(original: T, memo: dict[Any, Any]) -> T:
    twin = type(original).__new__(type(original))
    memo[id(original)] = twin
    twin.__dict__.update(copy.deepcopy(original.__dict__, memo))
    return twin
