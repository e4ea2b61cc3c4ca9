"""Choice layers: what turns a module of your own into a search space (`archscout.space(module)`).

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            width = Width(8, 16, 32)
            self.stem = Conv2d(3, width, Kernel(3, 5))
            self.norm = BatchNorm2d(width)
            self.act = OneOf({"relu": nn.ReLU(), "gelu": nn.GELU()})
            self.head = Linear(width, 10)

The module is an ordinary one: it runs, trains and copies as it stands, with the first option of each `OneOf`, all
blocks of each `Depth` and the largest of all numbers. A deep copy with a `Resolver` in its memo is how the other forms
are made: each choice layer then copies into what `pick` builds for it, so that every reference to it, ties between
layers included, ends at the same new module, and options that are not taken are never copied.
"""

from __future__ import annotations

import copy
import operator
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from archscout.core.choice import Option
from archscout.core.errors import UsageError
from archscout.core.space import Pick
from archscout.networks.elastic import batch_norm, compute, conv2d, linear

_RESOLVER = "archscout resolver"
T = TypeVar("T", bound="Undecided | ChoiceLayer")


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
        return number.resolve(self.number_of) if isinstance(number, Undecided) else number

    def number_of(self, choice: NumberChoice) -> Any:
        return self.pick.number(_named(choice))


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
    memo: dict[Any, Any] = {_RESOLVER: resolver}
    if torch.empty(0).device.type == "meta":
        # One new tensor for each old one keeps tied weights tied, which `Module.to` would not.
        for parameter in module.parameters():
            bare = torch.empty_like(parameter, device="meta")
            memo[id(parameter)] = nn.Parameter(bare, requires_grad=parameter.requires_grad)
        memo |= {id(buffer): torch.empty_like(buffer, device="meta") for buffer in module.buffers()}
    network = copy.deepcopy(module, memo)
    originals = [t for t in (*module.parameters(), *module.buffers()) if id(t) in resolver.given]
    copied = [(memo[id(t)], t) for t in originals if isinstance(memo.get(id(t)), Tensor)]
    return network, [*copied, *resolver.replaced]


# -- numbers ------------------------------------------------------------------------------------------------------


class Undecided:
    """A number that is a choice, or computed from choices by `+`, `-`, `*` and `//`."""

    @abstractmethod
    def resolve(self, decide: Callable[[NumberChoice], Any]) -> Any:
        """The number, given the number of each choice in it."""

    @abstractmethod
    def choices(self) -> Iterator[NumberChoice]:
        """The choices in it."""

    def largest(self) -> int:
        """Its value where every choice in it is at its largest."""
        return int(self.resolve(lambda choice: max(choice.options)))

    def __index__(self) -> int:
        return self.largest()

    def __add__(self, other: int | Undecided) -> Undecided:
        return Computed(operator.add, (self, other))

    def __radd__(self, other: int) -> Undecided:
        return Computed(operator.add, (other, self))

    def __sub__(self, other: int | Undecided) -> Undecided:
        return Computed(operator.sub, (self, other))

    def __mul__(self, other: int | Undecided) -> Undecided:
        return Computed(operator.mul, (self, other))

    def __rmul__(self, other: int) -> Undecided:
        return Computed(operator.mul, (other, self))

    def __floordiv__(self, other: int | Undecided) -> Undecided:
        return Computed(operator.floordiv, (self, other))

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        resolver = memo.get(_RESOLVER)
        return _plain_copy(self, memo) if resolver is None else resolver.number(self)


class Computed(Undecided):
    """A function of numbers of which some are undecided."""

    def __init__(self, function: Callable[..., int], numbers: tuple[Any, ...]) -> None:
        self.function, self.numbers = function, numbers

    def resolve(self, decide: Callable[[NumberChoice], Any]) -> Any:
        parts = (part.resolve(decide) if isinstance(part, Undecided) else part for part in self.numbers)
        return compute(self.function, *parts)

    def choices(self) -> Iterator[NumberChoice]:
        for part in self.numbers:
            if isinstance(part, Undecided):
                yield from part.choices()

    def __repr__(self) -> str:
        return f"{self.function.__name__}{self.numbers}"


class NumberChoice(Undecided):
    """One of several numbers. The same object in several layers is one choice, and so is the same name."""

    def __init__(self, *options: int, name: str | None = None) -> None:
        wrong = [o for o in options if not isinstance(o, int) or isinstance(o, bool) or o < 1]
        if not options or wrong or len(set(options)) != len(options):
            raise UsageError(f"{type(self).__name__}{options} must be given different whole numbers above zero.")
        self.options, self.name = options, name

    def resolve(self, decide: Callable[[NumberChoice], Any]) -> Any:
        return decide(self)

    def choices(self) -> Iterator[NumberChoice]:
        yield self

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.options}"


class Width(NumberChoice):
    """A number of channels or features: `Width(8, 16, 32)`; a narrower layer uses the first of a wider one's."""


class Kernel(NumberChoice):
    """A size of kernel: `Kernel(3, 5, 7)`; a smaller one is the centre of a larger one."""

    def __init__(self, *options: int, name: str | None = None) -> None:
        super().__init__(*options, name=name)
        if any(option % 2 == 0 for option in options):
            raise UsageError(f"Kernel{options} must be given odd numbers, which alone keep an image's size.")


# -- layers -------------------------------------------------------------------------------------------------------


class ChoiceLayer(nn.Module):
    """A layer that `pick` decides."""

    @abstractmethod
    def build(self, resolver: Resolver, memo: dict[Any, Any]) -> nn.Module:
        """What stands in its place."""

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        resolver = memo.get(_RESOLVER)
        return _plain_copy(self, memo) if resolver is None else self.build(resolver, memo)


class OneOf(ChoiceLayer):
    """One of several modules: `OneOf({"relu": nn.ReLU(), "gelu": nn.GELU()})`.

    Args:
        options: a module for each option; an option is a text, number or truth value.
        name: of the choice; where None, the path of this layer in the whole module.
    """

    def __init__(self, options: Mapping[Any, nn.Module], name: str | None = None) -> None:
        super().__init__()
        if not options:
            raise UsageError("OneOf was given no option: give it a dictionary of modules.")
        for option, module in options.items():
            if not isinstance(option, str | int | float) or not isinstance(module, nn.Module):
                raise UsageError(
                    f"OneOf was given {module!r} as option {option!r}: give it texts or numbers, each with its module."
                )
        self.name = name
        self.options: tuple[Option, ...] = tuple(options)
        self.candidates = nn.ModuleList(options.values())

    def build(self, resolver: Resolver, memo: dict[Any, Any]) -> nn.Module:
        builders = {o: partial(copy.deepcopy, m, memo) for o, m in zip(self.options, self.candidates, strict=True)}
        picked: nn.Module = resolver.pick(_named(self), builders)
        return picked

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.candidates[0](*inputs, **named)


class Depth(ChoiceLayer):
    """The first so many of several blocks, one after the other: `Depth([block() for _ in range(4)])`.

    Args:
        blocks: modules that each take what the one before returns.
        minimum: how many run at least; 0 where all may be left out.
        name: of the choice; where None, the path of this layer in the whole module.
    """

    def __init__(self, blocks: Sequence[nn.Module], minimum: int = 1, name: str | None = None) -> None:
        super().__init__()
        if not 0 <= minimum <= len(blocks) or not blocks:
            raise UsageError(f"Depth of {len(blocks)} blocks cannot run at least {minimum}: give a number of them.")
        self.name = name
        self.options: tuple[Option, ...] = tuple(range(minimum, len(blocks) + 1))
        self.blocks = nn.ModuleList(blocks)

    def build(self, resolver: Resolver, memo: dict[Any, Any]) -> nn.Module:
        builders = [partial(copy.deepcopy, block, memo) for block in self.blocks]
        built: nn.Module = resolver.pick.depth(_named(self), builders)
        return built

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class NumberLayer(ChoiceLayer):
    """A torch layer of which some numbers may be undecided; `largest` is the layer with all at their largest."""

    def __init__(self, make: Callable[..., nn.Module], numbers: Mapping[str, Any]) -> None:
        super().__init__()
        for role, number in numbers.items():
            if not isinstance(number, int | Undecided):
                raise UsageError(
                    f"{type(self).__name__} needs a whole number, Width or Kernel as {role}, not {number!r}."
                )
        self.make = make
        self.numbers = dict(numbers)
        self.largest = make(*(n.largest() if isinstance(n, Undecided) else n for n in numbers.values()))

    def build(self, resolver: Resolver, memo: dict[Any, Any]) -> nn.Module:
        layer = self.make(*(resolver.number(number) for number in self.numbers.values()))
        tensors = dict(layer.named_parameters()) | dict(layer.named_buffers())
        for name, original in (*self.largest.named_parameters(), *self.largest.named_buffers()):
            # A narrower layer is another one: it begins anew, and learns even where the widest was frozen.
            if id(original) in resolver.given and name in tensors and tensors[name].shape == original.shape:
                tensors[name].requires_grad_(original.requires_grad)
                resolver.replaced.append((tensors[name], original))
        return layer

    def forward(self, x: Tensor) -> Tensor:
        return self.largest(x)  # type: ignore[no-any-return]


class Conv2d(NumberLayer):
    """A convolution whose channels and kernel may be choices; padding keeps the image's size at stride 1.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        kernel: its size, in pixels a side.
        stride: in pixels.
        depthwise: whether each channel is filtered by itself; `outputs` is then the same number as `inputs`.
        bias: whether a bias is added.
    """

    def __init__(
        self,
        inputs: int | Undecided,
        outputs: int | Undecided,
        kernel: int | Undecided,
        stride: int = 1,
        *,
        depthwise: bool = False,
        bias: bool = True,
    ) -> None:
        if depthwise and inputs is not outputs and inputs != outputs:
            raise UsageError(f"a depthwise Conv2d has as many outputs as inputs, not {inputs} and {outputs}.")
        make = partial(conv2d, stride=stride, depthwise=depthwise, bias=bias)
        super().__init__(make, {"inputs": inputs, "outputs": outputs, "kernel": kernel})


class BatchNorm2d(NumberLayer):
    """Batch normalisation of a feature map whose channels may be a choice."""

    def __init__(self, channels: int | Undecided) -> None:
        super().__init__(batch_norm, {"channels": channels})


class Linear(NumberLayer):
    """A fully connected layer whose features may be choices."""

    def __init__(self, inputs: int | Undecided, outputs: int | Undecided, *, bias: bool = True) -> None:
        super().__init__(partial(linear, bias=bias), {"inputs": inputs, "outputs": outputs})


# -- what a module declares ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Use:
    """One place where a choice is used, and what other choices must be for that place to be built."""

    name: str
    kind: str
    options: tuple[Option, ...]
    ordinal: bool
    context: Mapping[str, frozenset[Option]]


def declare(module: nn.Module) -> list[Use]:
    """Every use of a choice in a module, outer ones before those inside; choices without a name get their path."""
    return list(_uses(module, "", {}))


def _uses(module: nn.Module, path: str, context: Mapping[str, frozenset[Option]]) -> Iterator[Use]:
    if isinstance(module, OneOf | Depth):
        ordinal = isinstance(module, Depth)
        yield Use(_name(module, path), type(module).__name__, module.options, ordinal, context)
    if isinstance(module, OneOf):
        for option, candidate in zip(module.options, module.candidates, strict=True):
            yield from _uses(candidate, _join(path, str(option)), _narrow(context, module, frozenset([option])))
    elif isinstance(module, Depth):
        for position, block in enumerate(module.blocks):
            runs = frozenset(option for option in module.options if int(option) > position)
            yield from _uses(block, _join(path, str(position)), _narrow(context, module, runs))
    elif isinstance(module, NumberLayer):
        for role, number in module.numbers.items():
            choices = list(number.choices()) if isinstance(number, Undecided) else []
            for position, choice in enumerate(choices):
                place = role if len(choices) == 1 else f"{role}.{position}"
                yield Use(_name(choice, _join(path, place)), type(choice).__name__, choice.options, True, context)
    else:
        _refuse_numbers(module, path)
        for name, child in module._modules.items():
            if child is not None:
                yield from _uses(child, _join(path, name), context)


def _refuse_numbers(module: nn.Module, path: str) -> None:
    """A torch layer would take the largest value of an undecided number for good."""
    for number in vars(module).values():
        if isinstance(number, Undecided) and type(module).__module__.startswith("torch."):
            kind = type(module).__name__
            raise UsageError(
                f"torch's {kind} ('{path}') was given {number!r}: use archscout's own {kind} if there is one."
            )


def _narrow(
    context: Mapping[str, frozenset[Option]], layer: OneOf | Depth, values: frozenset[Option]
) -> Mapping[str, frozenset[Option]]:
    name, everything = _named(layer), frozenset(layer.options)
    if values == everything:
        return context
    return {**context, name: context.get(name, everything) & values}


def _name(choice: OneOf | Depth | NumberChoice, path: str) -> str:
    if choice.name is None:
        choice.name = path or type(choice).__name__
    return choice.name


def _named(choice: OneOf | Depth | NumberChoice) -> str:
    if choice.name is None:
        raise UsageError(
            f"{choice!r} is in no registered layer of the module: assign layers to attributes, or put them in "
            "nn.ModuleList, and give numbers to archscout's layers."
        )
    return choice.name


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _plain_copy(original: T, memo: dict[Any, Any]) -> T:
    twin = type(original).__new__(type(original))
    memo[id(original)] = twin
    twin.__dict__.update(copy.deepcopy(original.__dict__, memo))
    return twin
