"""Scores of networks at initialisation: one build, one initialisation, and passes that all scores share.

A score is one file with one class, a `Score`. It asks a `Subject` (one architecture) for what it needs, and whatever
several scores ask for is made once: the network, the batch, the forward pass. What a score wants to see of the forward
pass it declares as `watches`, so that one pass serves them all. Three rules make scores comparable and repeatable:

- weights come from PyTorch's own initialisation, with a seed derived from (the setting's seed, the canonical form);
- the batch is a fixed draw from the training split, the same for every architecture of a setting;
- networks run in evaluation mode (no dropout), except that batch normalisation uses the statistics of the batch, as
  nearly all published code does, and does not change those that it keeps.
"""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from archscout.core.architecture import Architecture
from archscout.core.errors import ArchscoutError, UndefinedScore, UsageError
from archscout.core.estimator import Estimator, Setting
from archscout.core.graph import Graph
from archscout.core.registry import create
from archscout.core.seeds import derive, stream
from archscout.core.task import Split
from archscout.core.trial import Estimate
from archscout.networks.pick import build
from archscout.networks.tracing import blueprint, trace

Batch = tuple[Tensor, Tensor]
W = TypeVar("W", bound="Watcher")
V = TypeVar("V")


def score(
    architectures: Sequence[Architecture], names: Sequence[str], setting: Setting, *, batch: int | None = None
) -> dict[str, list[Estimate]]:
    """Estimates by several estimators, zero-cost ones in passes that they share.

    Args:
        architectures: of the setting's space.
        names: registered names, perhaps with parameters (`naswot:batch=64`).
        setting: its seed decides the weights and the batch.
        batch: examples a score looks at, where its name does not say; by its own choice where None.

    Returns:
        For each name one estimate an architecture, in order. `seconds` is what the score would have taken alone: a pass
        that several share counts for each of them.

    Raises:
        UsageError: an unknown name or parameter.
    """
    defaults = {} if batch is None else {"batch": batch}
    made: dict[str, Estimator] = {name: create("estimator", name, **defaults) for name in names}
    scores = {name: estimator for name, estimator in made.items() if isinstance(estimator, Score)}
    columns = dict(zip(scores, together(list(scores.values()), architectures, setting), strict=True))
    return {
        name: columns[name] if name in columns else estimator.estimate(architectures, setting)
        for name, estimator in made.items()
    }


class Watcher:
    """Looks at a forward pass while it runs, and keeps of it what a score needs."""

    def gate(self, x: Tensor) -> None:
        """The input of a rectifier (N x ...), in the order of execution: ReLU, or what is zero or small below zero."""


class Score(Estimator):
    """A zero-cost score: a number that a network has before any training."""

    watches: ClassVar[tuple[type[Watcher], ...]] = ()
    """What it wants to see of the forward pass of a batch of `batch` examples."""

    batch: int = 0
    """How many training examples it looks at; 0 where it needs none."""

    @abstractmethod
    def score(self, subject: Subject) -> float:
        """The value for one architecture. Raises `UndefinedScore`, saying why, where there is none."""

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        return together([self], architectures, setting)[0]


def together(scores: Sequence[Score], architectures: Sequence[Architecture], setting: Setting) -> list[list[Estimate]]:
    """One list a score, one estimate an architecture; NaN with a reason where a score is undefined or not finite."""
    watchers: dict[int, list[type[Watcher]]] = {}
    for each in scores:
        kinds = watchers.setdefault(each.batch, [])
        kinds += [kind for kind in each.watches if kind not in kinds]
    batches: dict[int, Batch] = {}
    rows = []
    for architecture in architectures:
        subject = Subject(architecture, setting, watchers, batches)
        rows.append([subject.ask(each) for each in scores])
    return [[row[column] for row in rows] for column in range(len(scores))]


class Subject:
    """One architecture before training; each thing that a score may ask for is made when it is first asked for."""

    def __init__(
        self,
        architecture: Architecture,
        setting: Setting,
        watchers: Mapping[int, Sequence[type[Watcher]]],
        batches: dict[int, Batch],
    ) -> None:
        self.architecture, self.setting = architecture, setting
        self._watchers, self._batches = watchers, batches
        self._kept: dict[Hashable, tuple[Any, float]] = {}
        self._used: set[Hashable] = set()
        self._making = 0.0

    @property
    def blueprint(self) -> nn.Module:
        """The network for counting: without memory for its weights, where its code allows and none is built yet."""
        space, task = self.setting.space, self.setting.task
        if "network" in self._kept:
            return self.network
        return self._once("blueprint", lambda: blueprint(space, self.architecture, task))

    @property
    def graph(self) -> Graph:
        """The operators of the network, in the order of execution."""
        try:
            return self._traced(self.blueprint)
        except ArchscoutError:
            return self._traced(self.network)

    @property
    def network(self) -> nn.Module:
        """The freshly initialised network, in the mode that the module's docstring tells. To be left as it is."""
        return self._once("network", self._build)

    def inputs(self, size: int) -> Batch:
        """A batch of so many training examples, as many as there are where there are fewer: inputs and targets."""
        if size not in self._batches:
            self._batches[size] = draw(self.setting, size)
        return self._batches[size]

    def watched(self, kind: type[W], size: int) -> W:
        """What a watcher has kept of the forward pass of `inputs(size)`; the score must have declared both."""
        network, (x, _) = self.network, self.inputs(size)
        return cast(W, self._once(("forward", size), lambda: self._forward(network, x, size))[kind])

    def ask(self, score: Score) -> Estimate:
        """The estimate of one score; its `seconds` include what it used, whoever had that made."""
        self._used.clear()
        self._making = 0.0
        reason = ""
        began = time.perf_counter()
        try:
            value = score.score(self)
        except UndefinedScore as undefined:
            value, reason = math.nan, str(undefined)
        own = time.perf_counter() - began - self._making
        if not math.isfinite(value) and not reason:
            value, reason = math.nan, f"{score.name} is {value}"
        return Estimate(value, own + sum(self._kept[key][1] for key in self._used), reason=reason)

    def _once(self, key: Hashable, make: Callable[[], V]) -> V:
        if key not in self._kept:
            began = time.perf_counter()
            made = make()
            seconds = time.perf_counter() - began
            self._kept[key] = made, seconds
            self._making += seconds
        self._used.add(key)
        return cast(V, self._kept[key][0])

    def _traced(self, network: nn.Module) -> Graph:
        return self._once("graph", lambda: trace(network, self.setting.task.input_shape))

    def _build(self) -> nn.Module:
        space, task, device = self.setting.space, self.setting.task, self.setting.device
        seed = derive(self.setting.seed, "weights", space.canonical(self.architecture))
        network = build(space, self.architecture, task, seed=seed, device=device).eval()
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.train()
                module.momentum = 0.0
        return network

    def _forward(self, network: nn.Module, x: Tensor, size: int) -> dict[type[Watcher], Watcher]:
        watchers = {kind: kind() for kind in self._watchers[size]}
        with torch.no_grad(), _Watching(list(watchers.values())):
            network(x)
        return watchers


def draw(setting: Setting, size: int) -> Batch:
    """A fixed batch of different examples of the training split, on the setting's device."""
    train = setting.task.train
    chosen = stream(setting.seed, "batch", size).choice(len(train), min(size, len(train)), replace=False, shuffle=False)
    x, y = setting.task.tensors(Split(train.x[chosen], train.y[chosen]), setting.device)
    return x, y


def check_batch(size: int, name: str) -> int:
    """A batch size as a user may give it. Raises `UsageError` for one below 2, for scores that compare examples."""
    if not isinstance(size, int) or size < 2:
        raise UsageError(f"the batch of estimator '{name}' must be a whole number of at least 2, not {size}.")
    return size


_GATES = frozenset({"relu", "hardtanh", "leaky_relu", "prelu_kernel", "elu", "gelu", "silu", "hardswish", "mish"})
"""Operators that let through what is above zero and hold back what is below."""


class _Watching(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Shows the inputs of rectifiers to watchers, wherever in the network's code they stand."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.watchers = watchers

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and guarding against it would import the compiler, a second's work

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._overloadpacket.__name__.strip("_")
        # Of the clamps only ReLU6, which begins at zero, is a rectifier.
        if name in _GATES and not (name == "hardtanh" and (len(args) < 2 or args[1] != 0)):
            for watcher in self.watchers:
                watcher.gate(args[0])
        return func(*args, **(kwargs or {}))
