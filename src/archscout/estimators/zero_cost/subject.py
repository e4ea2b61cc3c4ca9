"""One network at initialisation, as scores see it: built once, initialised once, in passes that all scores share.

Three rules make scores comparable and repeatable:

- weights come from PyTorch's own initialisation, with a seed derived from (the setting's seed, the canonical form);
- the batch is a fixed draw from the training split, the same for every architecture of a setting;
- networks run in evaluation mode (no dropout), except that batch normalisation uses the statistics of the batch, as
  nearly all published code does, and does not change those that it keeps.

Backward passes are shared as well: `Asked.uses` says which of them are wanted of a batch, so that the one forward pass
keeps what they need: `"loss"` (gradients of the loss with respect to the weights), `"channels"` (of the same pass, what
reaches the outputs of layers), `"jacobian"` (the gradient of the sum of all outputs with respect to the inputs).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.errors import ArchscoutError, UndefinedScore
from archscout.core.estimator import Setting
from archscout.core.graph import Graph
from archscout.core.seeds import derive, stream
from archscout.core.task import Split
from archscout.core.trial import Estimate
from archscout.estimators.zero_cost.layers import check_weights_are_parameters, familiar, is_familiar
from archscout.estimators.zero_cost.normalising import by_batch_statistics
from archscout.estimators.zero_cost.own_code import Call, Unknown, channel_dimension, leaves, own_calls, own_weights
from archscout.estimators.zero_cost.recomputing import recomputing
from archscout.estimators.zero_cost.watching import Watcher, Watching, showing
from archscout.networks.pick import build
from archscout.networks.tracing import blueprint, trace
from archscout.training.contexts import frozen

Batch = tuple[Tensor, Tensor]
W = TypeVar("W", bound="Watcher")
V = TypeVar("V")


@dataclass
class Asked:
    """What the scores of one batch size want of its passes."""

    watchers: list[type[Watcher]] = field(default_factory=list)
    uses: set[str] = field(default_factory=set)


@dataclass
class Gradients:
    """The gradients of the mean loss of a batch.

    `weights` are the parameters of two or more dimensions, by name, and `gradients` theirs (zero where a weight has no
    part in the loss). `saliency` has for each layer the mean over examples of (sum over places of output x gradient)^2
    by channel, and the number of weights of a channel, where "channels" was asked for; `unknown` says why not of all.
    """

    weights: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    saliency: list[tuple[Tensor, int]]
    unknown: str = ""


@dataclass(frozen=True)
class _Kept:
    """What was made once, its own seconds, and all that it rests on (itself included)."""

    value: Any
    seconds: float
    rests_on: frozenset[Hashable]


class Subject:
    """One architecture before training; each thing that a score may ask for is made when it is first asked for."""

    def __init__(
        self,
        architecture: Architecture,
        setting: Setting,
        asked: Mapping[int, Asked],
        batches: dict[tuple[int, int], Batch],
    ) -> None:
        self.architecture, self.setting = architecture, setting
        self._asked, self._batches = asked, batches
        self._kept: dict[Hashable, _Kept] = {}
        self._used: set[Hashable] = set()
        self._making = 0.0

    @property
    def blueprint(self) -> nn.Module:
        """The network for counting: without memory for its weights, where its code allows and none is built yet."""
        space, task = self.setting.space, self.setting.task
        if "network" in self._kept:
            return self.network
        return self.once("blueprint", lambda: blueprint(space, self.architecture, task))

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
        return self.once("network", self._build)

    def inputs(self, size: int, part: int = 0) -> Batch:
        """A batch of so many training examples, as many as there are where there are fewer: inputs and targets.

        Different `part`s are different draws, without common examples as far as the training split goes.
        """
        if (size, part) not in self._batches:
            self._batches[size, part] = draw(self.setting, size, part)
        return self._batches[size, part]

    def apart(self, size: int, part: int) -> Batch:
        """A batch that shares no example with part 0. Raises `UndefinedScore` where the training split is too small."""
        count = len(self.setting.task.train)
        if count < 2 * size:
            raise UndefinedScore(f"the training split has {count} examples, too few for two batches of {size}")
        return self.inputs(size, part)

    def watched(self, kind: type[W], size: int) -> W:
        """What a watcher has kept of the forward pass of `inputs(size)`; the score must have declared both."""
        watcher = self._forward(size, 0)[0][kind]
        if watcher.unknown:
            raise UndefinedScore(watcher.unknown)
        return cast(W, watcher)

    def gradients(self, size: int, part: int = 0) -> Gradients:
        """The gradients of the loss of `inputs(size, part)`; of part 0, the score must have declared "loss"."""
        return self.once(("loss", size, part), lambda: self._differentiate(size, part))

    def jacobian(self, size: int) -> Tensor:
        """The gradient of the sum of all outputs with respect to the inputs (N x numbers of an input).

        The score must have declared "jacobian". Raises `UndefinedScore` where no output depends on the input.
        """
        return self.once(("jacobian", size), lambda: self._jacobian(size))

    def initialised(self, how: Callable[[nn.Module, torch.Generator], None], *keys: str | int) -> nn.Module:
        """A network whose modules were initialised anew by `how(module, generator)`, in the mode of `network`.

        It is one and the same module each time: finish with it before asking again.
        """
        network = self.once("scratch", self._initialisable)
        generator = self.generator("initialised", self.setting.space.canonical(self.architecture), *keys)
        with torch.no_grad():
            for module in network.modules():
                how(module, generator)
        return network

    def _initialisable(self) -> nn.Module:
        """A network whose weights are all parameters of layers."""
        network = self._build()
        check_weights_are_parameters(network)
        if not familiar(network) and self.own_weights:
            raise UndefinedScore("its code uses weights outside of layers, which cannot be initialised anew as theirs")
        return network

    @property
    def own_weights(self) -> list[Call]:
        """The calls by which a user's own code multiplies by weights that no layer holds."""
        network = self.network
        if familiar(network):
            return []
        layers = [module for module in network.modules() if isinstance(module, _Layers.kinds)]
        held = {id(parameter) for layer in layers for parameter in layer.parameters()}
        x, _ = self.inputs(2)

        def run() -> None:
            with torch.no_grad():
                network(x)

        calls = self.once("own weights", lambda: own_weights(network, run))
        return [call for call in calls if id(call.weight) not in held]

    def generator(self, *keys: str | int) -> torch.Generator:
        """A stream of random numbers for one purpose, on the processor."""
        return torch.Generator().manual_seed(derive(self.setting.seed, *keys))

    def normal(self, *shape: int, keys: Sequence[str | int]) -> Tensor:
        """A tensor of standard normal numbers, the same for every architecture."""
        x = torch.randn(shape, generator=self.generator(*keys)).to(self.setting.device)
        return _image_layout(x)

    def ask(self, name: str, score: Callable[[Subject], float]) -> Estimate:
        """The estimate of one score; its `seconds` include what it used, whoever had that made."""
        self._used.clear()
        self._making = 0.0
        reason = ""
        began = time.perf_counter()
        try:
            value = score(self)
        except UndefinedScore as undefined:
            value, reason = math.nan, str(undefined)
        own = time.perf_counter() - began - self._making
        if not math.isfinite(value) and not reason:
            value, reason = math.nan, f"{name} is {value}"
        return Estimate(value, own + sum(self._kept[key].seconds for key in self._used), reason=reason)

    def once(self, key: Hashable, make: Callable[[], V]) -> V:
        """What `make` makes, made the first time this key is asked for; scores may share work of their own so."""
        if key not in self._kept:
            making, used = self._making, self._used
            self._making, self._used = 0.0, set()
            began = time.perf_counter()
            try:
                made = make()
                self._kept[key] = _Kept(made, time.perf_counter() - began - self._making, frozenset({key, *self._used}))
            finally:
                self._making, self._used = making + time.perf_counter() - began, used
        self._used |= self._kept[key].rests_on
        return cast(V, self._kept[key].value)

    def _traced(self, network: nn.Module) -> Graph:
        return self.once("graph", lambda: trace(network, self.setting.task.input_shape))

    def _build(self) -> nn.Module:
        space, task, device = self.setting.space, self.setting.task, self.setting.device
        seed = derive(self.setting.seed, "weights", space.canonical(self.architecture))
        return prepared(build(space, self.architecture, task, seed=seed, device=device))

    # -- passes ---------------------------------------------------------------------------------------------------

    def _forward(self, size: int, part: int) -> _Forward:
        network, (x, y) = self.network, self.inputs(size, part)
        return self.once(("forward", size, part), lambda: self._run(network, x, y, size, part))

    def _run(self, network: nn.Module, x: Tensor, y: Tensor, size: int, part: int) -> _Forward:
        asked = self._asked.get(size, Asked()) if part == 0 else Asked(uses={"loss"})
        watchers = {kind: kind() for kind in asked.watchers}
        layers = _Layers() if "channels" in asked.uses else None
        with ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(bool(asked.uses)))
            if any(type(watcher).module is not Watcher.module for watcher in watchers.values()):
                stack.enter_context(showing(network, list(watchers.values())))
            if any(type(watcher).gate is not Watcher.gate for watcher in watchers.values()):
                stack.enter_context(Watching(list(watchers.values())))
            if layers is not None:
                stack.enter_context(layers.following(network))
            if "jacobian" in asked.uses:
                x = x.clone(memory_format=torch.preserve_format).requires_grad_()
                if "loss" not in asked.uses:
                    stack.enter_context(frozen(network))
            again = nullcontext if layers is None else partial(layers.following, network)
            stack.enter_context(recomputing(network, again))
            outputs = network(x)
        return watchers, x, y, outputs, layers

    def _differentiate(self, size: int, part: int) -> Gradients:
        _, _, y, outputs, layers = self._forward(size, part)
        uses = self._asked[size].uses if part == 0 else {"loss"}
        weights = {name: weight for name, weight in self.network.named_parameters() if weight.ndim > 1}
        if not weights:
            raise UndefinedScore("the network has no weights")
        if not outputs.requires_grad:
            raise UndefinedScore("no weight has a part in the outputs")
        with torch.enable_grad():
            loss = self.setting.task.loss(outputs, y)
            if layers is not None:
                layers.listening = True
            gradients = torch.autograd.grad(
                loss, list(weights.values()), retain_graph="jacobian" in uses, allow_unused=True, materialize_grads=True
            )  # fmt: skip
            if layers is not None:
                layers.listening = False
        saliency, unknown = (layers.saliency, layers.unknown) if layers else ([], "")
        return Gradients(weights, dict(zip(weights, gradients, strict=True)), saliency, unknown)

    def _jacobian(self, size: int) -> Tensor:
        _, x, _, outputs, _ = self._forward(size, 0)
        if not outputs.requires_grad:
            raise UndefinedScore("no output depends on the input")
        retain = "loss" in self._asked[size].uses and ("loss", size, 0) not in self._kept
        (gradient,) = torch.autograd.grad(outputs.sum(), x, retain_graph=retain, allow_unused=True)
        if gradient is None:
            raise UndefinedScore("no output depends on the input")
        return gradient.flatten(1)


def prepared(network: nn.Module) -> nn.Module:
    """The network in the mode that the module's docstring tells, its images in the layout that is fastest."""
    network.eval()
    by_batch_statistics(network)
    torch.empty(_ARENA, dtype=torch.uint8)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


_ARENA = 31 << 20
"""Bytes that are asked for and given back untouched: glibc's allocator then keeps what is freed below that size, where
it would hand it back and fetch fresh pages for every feature map, a tenth of the seconds of a score."""


def draw(setting: Setting, size: int, part: int = 0) -> Batch:
    """A fixed batch of different examples of the training split, on the setting's device."""
    train = setting.task.train
    whole = np.arange(len(train))
    if part and len(train) >= 2 * size:
        first = stream(setting.seed, "batch", size).choice(len(train), size, replace=False, shuffle=False)
        whole = np.setdiff1d(whole, first)
    keys: tuple[str | int, ...] = ("batch", size, part) if part else ("batch", size)
    chosen = stream(setting.seed, *keys).choice(whole, min(size, len(whole)), replace=False, shuffle=False)
    x, y = setting.task.tensors(Split(train.x[chosen], train.y[chosen]), setting.device)
    return _image_layout(x), y


def _image_layout(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


_Forward = tuple[dict[type[Watcher], Watcher], Tensor, Tensor, Tensor, "_Layers | None"]
"""Of a forward pass: what was watched, inputs, targets, outputs, and the layers that are followed."""


class _Layers:
    """Follows the outputs of convolutions and linear layers; while `listening`, records how the loss hangs on them."""

    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)

    def __init__(self) -> None:
        self.listening = False
        self.saliency: list[tuple[Tensor, int]] = []
        self.unknown = ""

    @contextmanager
    def following(self, network: nn.Module) -> Iterator[None]:
        changing = not familiar(network) or any(getattr(m, "inplace", False) is True for m in network.modules())

        def hook(module: Any, _: Any, y: Tensor) -> None:
            self._follow(module, y, module.weight[0].numel(), changing)

        def show(call: Call) -> None:
            if isinstance(call.kind, Unknown):
                self.unknown = call.kind.reason
            elif isinstance(call.kind, self.kinds):
                weight = call.kind.weight if call.weight is None else call.weight
                self._follow(call.kind, call.output, weight.numel() // call.output.shape[call.channel], changing)

        handles = [
            m.register_forward_hook(hook) for m in leaves(network) if isinstance(m, self.kinds) and is_familiar(m)
        ]
        try:
            with own_calls(network, show):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _follow(self, kind: nn.Module, y: Tensor, size: int, changing: bool) -> None:
        """Where what runs later may change an output in place, it is copied."""
        if y.requires_grad:
            held = [y.detach().clone() if changing else y.detach()]
            channel = channel_dimension(kind, y)
            y.register_hook(lambda gradient: self._hear(held, gradient, channel, size))  # type: ignore[no-untyped-call]

    def _hear(self, held: list[Tensor], gradient: Tensor, channel: int, size: int) -> None:
        if self.listening:
            y = held.pop()  # the graph outlives the pass, and would keep it
            places = [d for d in range(1, y.ndim) if d != channel]
            product = y * gradient
            summed = product.sum(places) if places else product
            self.saliency.append(((summed**2).mean(0), size))
