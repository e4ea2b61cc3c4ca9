"""How far apart a network keeps nearby inputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from archscout.core.errors import UndefinedScore, UsageError
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, Watcher, check_batch, showing
from archscout.estimators.zero_cost.initialisation import normal

_STEP = 0.01


class _LastMap(Watcher):
    """The last feature map before the outputs."""

    def __init__(self) -> None:
        self.map: Tensor | None = None

    def module(self, module: nn.Module, y: Tensor) -> None:
        if y.ndim > 2 and math.prod(y.shape[2:]) > 1:
            self.map = y


@register("estimator", "zen")
class Zen(Score):
    """Zen-score: expected change of the last feature map under small noise (2 forward passes a repeat, no data).

    score = log mean_i sum |f(x_i) - f(x_i + 0.01 x'_i)| + sum over batch normalisations of log sqrt(mean_c var_c), with
    x and x' ~ N(0, 1), weights N(0, 1), f the last feature map before pooling, var_c the variance that the layer sees
    in channel c; a mean over `repeats`. The second term puts back the scale that normalisation took away.

    Source: Lin et al. 2021, "Zen-NAS: A Zero-Shot NAS for High-Performance Deep Image Recognition", arXiv 2102.01063.
    Their code reads the *running* variance after two passes, nine tenths or more of which is the 1 that it begins with;
    here var_c is the variance of the batch, as in the paper's formula.

    Args:
        batch: random inputs; the original's 16 by default.
        repeats: random weights and inputs; the original takes 32 for a table and 1 in a search.
    """

    def __init__(self, batch: int = 16, repeats: int = 1) -> None:
        self.name = "zen"
        self.size = check_batch(batch, self.name)
        if not isinstance(repeats, int) or repeats < 1:
            raise UsageError(f"the repeats of estimator 'zen' must be a whole number above zero, not {repeats}.")
        self.repeats = repeats

    def score(self, subject: Subject) -> float:
        return sum(self._once(subject, repeat) for repeat in range(self.repeats)) / self.repeats

    def _once(self, subject: Subject, repeat: int) -> float:
        shape = (self.size, *subject.setting.task.input_shape)
        x = subject.normal(*shape, keys=("zen", "x", repeat))
        moved = x + _STEP * subject.normal(*shape, keys=("zen", "noise", repeat))
        network = subject.initialised(normal, "zen", repeat)
        scales: list[Tensor] = []

        def scale(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen = inputs[0]
            scales.append(seen.var([d for d in range(seen.ndim) if d != 1]).mean())

        maps = []
        handles = [m.register_forward_pre_hook(scale) for m in network.modules() if isinstance(m, _BatchNorm)]
        for inputs in (x, moved):
            last = _LastMap()
            with torch.no_grad(), showing(network, [last]):
                network(inputs)
            for handle in handles:
                handle.remove()
            if last.map is None:
                raise UndefinedScore("the network has no feature map")
            maps.append(last.map)
        change = float((maps[0] - maps[1]).abs().flatten(1).sum(1, dtype=torch.float64).mean())
        if change <= 0 or not all(float(value) > 0 for value in scales):
            raise UndefinedScore("the last feature map does not depend on the input")
        return math.log(change) + sum(math.log(float(value)) for value in scales) / 2
