"""Which operators a network runs, for fast forms that hold only for networks of some."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from archscout.core.cache import Cache
from archscout.estimators.zero_cost.harness import Subject

VIEWS = frozenset(
    [
        "t",
        "view",
        "unsafe_view",
        "reshape",
        "reshape_alias",
        "permute",
        "transpose",
        "squeeze",
        "unsqueeze",
        "expand",
        "detach",
        "alias",
        "empty",
    ]
)
"""Operators that make no number."""

_known = Cache[frozenset[str]](size=1024)


def operators(subject: Subject) -> frozenset[str]:
    """The names of the operators of the network, views left out.

    They are seen in one run of the first network of a space with the same set of options, for what a module's code runs
    does not depend on where it stands.
    """
    space, shape = subject.setting.space, subject.setting.task.input_shape
    key = (space.digest, shape, frozenset(map(str, subject.architecture.values())))
    return _known.get(key, lambda: _run(subject.network, shape))


def _run(network: nn.Module, input_shape: tuple[int, ...]) -> frozenset[str]:
    some = next(network.parameters(), None)
    x = torch.zeros((2, *input_shape), device=None if some is None else some.device)
    with torch.no_grad(), _Names() as names:
        network(x)
    return frozenset(names.seen) - VIEWS


class _Names(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Collects names."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[str] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.add(func._overloadpacket.__name__.strip("_"))
        return func(*args, **(kwargs or {}))
