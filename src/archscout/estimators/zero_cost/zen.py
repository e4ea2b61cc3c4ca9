"""How far apart a network keeps nearby inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.errors import UndefinedScore, UsageError
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch
from archscout.estimators.zero_cost.initialisation import normal
from archscout.estimators.zero_cost.layers import is_familiar
from archscout.estimators.zero_cost.own_code import Call, own_calls
from archscout.estimators.zero_cost.watching import Watcher, showing

_STEP = 0.01

_MOVES = 0.1
"""How far a running variance moves towards that of a batch, by PyTorch's default."""


class _LastMap(Watcher):
    """The last feature map before the outputs."""

    def __init__(self) -> None:
        self.map: Tensor | None = None

    def module(self, module: nn.Module, y: Tensor) -> None:
        if y.ndim > 2 and math.prod(y.shape[2:]) > 1:
            self.map = y


@contextmanager
def _variances(network: nn.Module) -> Iterator[list[float]]:
    """Of the inputs of batch normalisations within the block: means over channels, in the order of execution."""
    seen: list[float] = []

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        seen.append(float(x.var([d for d in range(x.ndim) if d != 1]).mean()))

    def show(call: Call) -> None:
        if isinstance(call.kind, _BatchNorm) and call.input is not None:
            look(call.kind, (call.input,))

    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and is_familiar(m)]
    handles = [norm.register_forward_pre_hook(look) for norm in norms]
    try:
        with own_calls(network, show):
            yield seen
    finally:
        for handle in handles:
            handle.remove()


@register("estimator", "zen")
class Zen(Score):
    """Zen-score: expected change of the last feature map under small noise (2 forward passes a repeat, no data).

    score = log mean_i sum |f(x_i) - f(x_i + 0.01 x'_i)| + sum over batch normalisations of log sqrt(mean_c var_c), with
    x and x' ~ N(0, 1), weights N(0, 1), f the last feature map before pooling, var_c the variance that the layer sees
    in channel c; a mean over `repeats`. The second term puts back the scale that normalisation took away.

    Source: Lin et al. 2021, "Zen-NAS: A Zero-Shot NAS for High-Performance Deep Image Recognition", arXiv 2102.01063.
    Their code reads the *running* variance after the two passes, which begins with 1 and moves a tenth of the way in
    each; here var_c is the variance of the batch, as in the paper's formula.

    Args:
        batch: random inputs; the original's 16 by default.
        repeats: random weights and inputs; the original takes 32 for a table and 1 in a search.
        running: read running variances, as their code does.
    """

    def __init__(self, batch: int = 16, repeats: int = 1, running: bool = False) -> None:
        self.name = "zen"
        self.size = check_batch(batch, self.name)
        if not isinstance(repeats, int) or repeats < 1:
            raise UsageError(f"the repeats of estimator 'zen' must be a whole number above zero, not {repeats}.")
        self.repeats, self.running = repeats, running

    def score(self, subject: Subject) -> float:
        return sum(self._once(subject, repeat) for repeat in range(self.repeats)) / self.repeats

    def _once(self, subject: Subject, repeat: int) -> float:
        shape = (self.size, *subject.setting.task.input_shape)
        x = subject.normal(*shape, keys=("zen", "x", repeat))
        moved = x + _STEP * subject.normal(*shape, keys=("zen", "noise", repeat))
        network = subject.initialised(normal, "zen", repeat)
        maps: list[Tensor] = []
        scales: list[float] = []
        for inputs in (x, moved):
            last = _LastMap()
            looking: AbstractContextManager[list[float]] = nullcontext([])
            if self.running or not scales:
                looking = _variances(network)
            with torch.no_grad(), showing(network, [last]), looking as seen:
                network(inputs)
            if last.unknown:
                raise UndefinedScore(last.unknown)
            if last.map is None:
                raise UndefinedScore("the network has no feature map")
            maps.append(last.map)
            if self.running:
                before = scales or [1.0] * len(seen)
                scales = [old + _MOVES * (new - old) for old, new in zip(before, seen, strict=True)]
            else:
                scales = scales or seen
        change = float((maps[0] - maps[1]).abs().flatten(1).sum(1, dtype=torch.float64).mean())
        if change <= 0 or not all(value > 0 for value in scales):
            raise UndefinedScore("the last feature map does not depend on the input")
        return math.log(change) + sum(math.log(value) for value in scales) / 2
