"""What is built at each choice: one module (a stand-alone network), or all of them (a supernet).

A space writes its network once, with a `pick`. `ArchitecturePick` builds the chosen options and nothing else, from
plain torch layers. `SupernetPick` builds every option into `MixedOp`, `ElasticDepth` and the layers of
`archscout.networks.elastic`, all of which look up in one `Selection` what runs now. The two give modules the same
names, so that the weights of an architecture can be cut out of the supernet (`archscout.supernets.supernet`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Option
from archscout.core.errors import UsageError
from archscout.core.memory import physical_memory
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.networks.elastic import Elastic, Selection
from archscout.networks.held import changed, held
from archscout.networks.undrawn import Undrawn

Builder = Callable[[], nn.Module]

SHARE = 0.25
"""Of the memory, what weights may take: training holds them, their gradients, momentum and the best so far."""


class ArchitecturePick:
    """Builds the network of one architecture."""

    def __init__(self, architecture: Mapping[str, Option]) -> None:
        self.architecture = architecture

    def __call__(self, choice: str, builders: Mapping[Option, Builder]) -> nn.Module:
        option = self.architecture[choice]
        module = builders[option]()
        module.picked = f"{choice}={option}"  # type: ignore[assignment]
        return module

    def number(self, choice: str) -> Option:
        return self.architecture[choice]

    def depth(self, choice: str, blocks: Sequence[Builder]) -> nn.Module:
        return nn.Sequential(*(build() for build in blocks[: int(self.architecture[choice])]))


class SupernetPick:
    """Builds one module that holds the weights of every architecture; `selection` says which of them runs."""

    def __init__(self, choices: Sequence[Choice]) -> None:
        self.choices = {choice.name: choice for choice in choices}
        self.selection = Selection()

    def __call__(self, choice: str, builders: Mapping[Option, Builder]) -> nn.Module:
        options = self.choices[choice].options
        return MixedOp(choice, {option: builders[option]() for option in options}, self.selection)

    def number(self, choice: str) -> Elastic:
        return Elastic.of_choice(self.choices[choice], self.selection)

    def depth(self, choice: str, blocks: Sequence[Builder]) -> nn.Module:
        depths = [int(option) for option in self.choices[choice].options]
        return ElasticDepth(choice, [build() for build in blocks[: max(depths)]], depths, self.selection)


class MixedOp(nn.Module):
    """Every option of one choice; the selected one runs, or those that a gate lets through."""

    def __init__(self, choice: str, options: Mapping[Option, nn.Module], selection: Selection) -> None:
        super().__init__()
        self.choice = choice
        self.keys = {option: f"option{position}" for position, option in enumerate(options)}
        self.options = nn.ModuleDict({self.keys[option]: module for option, module in options.items()})
        self.selection = selection

    def chosen(self) -> nn.Module:
        """The module of the selected option."""
        return self.options[self.keys[self.selection[self.choice]]]

    def forward(self, *inputs: Any, **named: Any) -> Any:
        gate = self.selection.gates.get(self.choice)
        if gate is None:
            return self.chosen()(*inputs, **named)
        return gate.mix(list(self.options.values()), *inputs, **named)


class Following:
    """A plain value of a supernet that follows the selection; see `follow`."""

    def __init__(self, choice: str, options: Sequence[Option], selection: Selection) -> None:
        self.choice, self.options, self.selection = choice, tuple(options), selection

    @property
    def now(self) -> Option:
        if self.choice in self.selection.gates:
            raise UsageError(f"value '{self.choice}' cannot be mixed: search with a method that runs single paths.")
        return self.selection.values.get(self.choice, self.options[0])


def follow(module: nn.Module) -> None:
    """Have the values and numbers in attributes of a module set to what is selected, each time before it runs.

    Layers of this package follow by themselves; torch's and a user's own read plain values.
    """
    if type(module).__module__.startswith("archscout."):
        return
    values = {
        name: value
        for name, value in vars(module).items()
        if name not in _NO_SETTINGS and next(held(value, _FOLLOWING), None) is not None
    }
    if values:
        first = {name: changed(value, _FOLLOWING, _first) for name, value in values.items()}
        vars(module).update(first)
        module.register_forward_pre_hook(_SetValues(values))


_FOLLOWING = (Following, Elastic)
_NO_SETTINGS = frozenset({"_parameters", "_buffers", "_modules"})


def _first(value: Following | Elastic) -> Any:
    return value.options[0] if isinstance(value, Following) else value.maximum


class _SetValues:
    """A hook; a class, so that it can be copied and sent."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)

    def __call__(self, module: nn.Module, _: Any) -> None:
        now = {name: changed(value, _FOLLOWING, lambda each: each.now) for name, value in self.values.items()}
        vars(module).update(now)


class ElasticDepth(nn.ModuleList):
    """The first so many of a list of blocks, one after the other; under a gate, a sum of what several depths give."""

    def __init__(self, choice: str, blocks: Sequence[nn.Module], depths: Sequence[int], selection: Selection) -> None:
        super().__init__(blocks)
        self.choice = choice
        self.depths = tuple(depths)
        self.selection = selection

    def active(self) -> list[nn.Module]:
        return list(self)[: int(self.selection[self.choice])]

    def forward(self, x: Tensor) -> Tensor:
        gate = self.selection.gates.get(self.choice)
        if gate is None:
            for block in self.active():
                x = block(x)
            return x
        after = [x]
        for block in list(self)[: max(self.depths[position] for position in gate.run)]:
            after.append(block(after[-1]))
        terms = []
        for position in gate.run:
            weight, y = gate.weight(position), after[self.depths[position]]
            terms.append(y if weight is None else weight * y)
        return torch.stack(terms).sum(0) if len(terms) > 1 else terms[0]


@contextmanager
def within_memory(space: Space) -> Iterator[None]:
    """While networks of a space are built, refuse weights that this machine cannot train, before they are drawn.

    Raises:
        UsageError: they take more than `SHARE` of the memory, or could not be allocated at all.
    """
    most, thread, held = SHARE * physical_memory(), threading.get_ident(), 0

    def refusal(size: str) -> UsageError:
        return UsageError(
            f"a network of space '{space.name}' has {size} of weights, which cannot be trained in the "
            f"{physical_memory() / 2**30:,.0f} GB of memory here: take fewer channels or layers."
        )

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal held
        if parameter is None or parameter.is_meta or threading.get_ident() != thread:
            return
        held += parameter.nbytes
        if held > most:
            raise refusal(f"more than {most / 2**30:,.1f} GB")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        raise refusal("too many bytes") from error
    finally:
        handle.remove()


def build(space: Space, architecture: Architecture, task: Task, *, seed: int = 0, device: str = "cpu") -> nn.Module:
    """The stand-alone network of an architecture, freshly initialised from `seed` (the global generator is left alone).

    With `device="meta"` nothing is allocated: for counting. Raises `UsageError` where memory here is too small.
    """
    devices = [] if device in ("cpu", "meta") else [torch.device(device)]
    where = Undrawn() if device == "meta" else torch.device("cpu")
    with torch.random.fork_rng(devices=devices), where, within_memory(space):
        torch.default_generator.manual_seed(seed)
        network: nn.Module = space.network(task, ArchitecturePick(space.simplify(architecture)))
    return network if device in ("cpu", "meta") else network.to(device)
