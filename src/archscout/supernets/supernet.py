"""One network that holds the weights of every architecture of a space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from archscout.core import seeds
from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError, reason_of
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.networks.decoder import Laterals
from archscout.networks.gate import Gate
from archscout.networks.outputs import named
from archscout.networks.pick import ElasticDepth, MixedOp, SupernetPick, build, within_memory
from archscout.supernets.pooling import speed_up


class Supernet(nn.Module):
    """The weights of all options in one module; `select` says which architecture runs, `gate` which mixture of them.

    >>> supernet = Supernet(space, task)                  # doctest: +SKIP
    >>> supernet.select(architecture)(images)             # doctest: +SKIP
    """

    def __init__(self, space: Space, task: Task, *, seed: int = 0) -> None:
        super().__init__()
        self.space, self.task = space, task
        pick = SupernetPick(space.choices)
        self.selection = pick.selection
        with torch.random.fork_rng(devices=[]), within_memory(space):
            torch.default_generator.manual_seed(seed)
            self.network: nn.Module = space.network(task, pick)
        speed_up(self.network)
        if space.own_module:
            self._compare()

    def _compare(self) -> None:
        """Whether the parts of a user's module that run are those of its stand-alone networks.

        Code of the user's own may read the weights or the sizes of a layer, which are those of the largest one here.

        Raises:
            UsageError: they answer differently.
        """
        training, rng = self.training, torch.Generator().manual_seed(0)
        x = torch.rand(2, *self.task.input_shape, generator=rng)
        self.eval()
        for architecture in map(self.space.sample, (seeds.stream(0, "compare", place) for place in range(_COMPARED))):
            try:
                network = self.extract(architecture).eval()
            except UsageError:
                continue  # no network of this architecture: it fails where it is asked for
            alone = _answers(network, x)
            if isinstance(alone, Exception) or not _equal(alone, _answers(network, x)):
                continue  # it answers differently each time
            shared = _answers(self.select(architecture), x)
            if isinstance(shared, Exception) or not _equal(alone, shared):
                reason = f" ({reason_of(shared)})" if isinstance(shared, Exception) else ""
                raise UsageError(
                    f"with shared weights, architecture '{architecture}' of space '{self.space.name}' does not answer "
                    f"as it does alone{reason}: its code reads weights or sizes of layers with choices itself; keep "
                    "numbers in attributes (self.width), or take a method that trains each network, as evolution."
                )
        self.selection.values = {}
        self.train(training)

    def select(self, architecture: Architecture) -> Supernet:
        """Run this architecture from now on."""
        self.selection.values, self.selection.gates = self.space.simplify(architecture), {}
        return self

    def gate(self, gates: Mapping[str, Gate]) -> Supernet:
        """Run what these gates let through from now on; there must be one for each choice."""
        self.selection.values, self.selection.gates = {}, gates
        return self

    def mixed(self) -> dict[str, list[MixedOp]]:
        """By choice, the places where one of several modules is chosen."""
        operations: dict[str, list[MixedOp]] = {}
        for module in self.network.modules():
            if isinstance(module, MixedOp):
                operations.setdefault(module.choice, []).append(module)
        return operations

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)  # type: ignore[no-any-return]

    def extract(self, architecture: Architecture) -> nn.Module:
        """The stand-alone network of an architecture with copies of its weights; the supernet is left as it was."""
        before = self.selection.values, self.selection.gates
        self.select(architecture)
        state = {name: tensor.detach().clone() for name, tensor in active_state(self.network, "")}
        self.selection.values, self.selection.gates = before
        network = build(self.space, architecture, self.task)
        network.load_state_dict(state)
        return network.to(next(iter(state.values())).device) if state else network


_COMPARED = 3
"""Architectures of a user's module that are run with shared weights and alone."""


def _answers(network: nn.Module, x: Tensor) -> Mapping[str, Tensor] | Exception:
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.default_generator.manual_seed(0)
            return named(network(x))
    except Exception as error:  # whatever a user's code raises
        return error


def _equal(one: Mapping[str, Tensor], other: Any) -> bool:
    return not isinstance(other, Exception) and all(
        y.shape == other[name].shape and torch.allclose(y, other[name], rtol=1e-3, atol=1e-3, equal_nan=True)
        for name, y in one.items()
    )


def active_state(module: nn.Module, prefix: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors that run now, under the names that they have in the stand-alone network."""
    if isinstance(module, MixedOp):
        yield from active_state(module.chosen(), prefix)
        return
    own = getattr(module, "active_state", None)
    if own is not None:
        yield from ((prefix + name, tensor) for name, tensor in own().items())
        return
    if isinstance(module, torch.jit.ScriptModule):
        yield from ((prefix + name, tensor) for name, tensor in module.state_dict().items())
        return
    # `named_parameters` and `named_children` name once what is tied; the state of a stand-alone network names it twice.
    saved = {n: t for n, t in module._buffers.items() if n not in module._non_persistent_buffers_set}
    for name, tensor in (module._parameters | saved).items():
        if tensor is not None:
            yield prefix + name, tensor
    children: dict[str, nn.Module | None] = module._modules
    if isinstance(module, ElasticDepth | Laterals):
        children = {str(position): block for position, block in enumerate(module.active())}
    for name, child in children.items():
        if child is not None:
            yield from active_state(child, f"{prefix}{name}.")
