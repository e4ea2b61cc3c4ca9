"""The number of rectifiers of a network."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject
from archscout.estimators.zero_cost.watching import Watcher, Watching


class Units(Watcher):
    """Counts rectifiers, each place of a feature map."""

    def __init__(self) -> None:
        self.count = 0

    def gate(self, x: Tensor) -> None:
        self.count += math.prod(x.shape[1:])


@register("estimator", "nonlinear_units")
class NonlinearUnits(Score):
    """Number of rectifiers, each place of a feature map counted (no pass).

    score = sum over ReLUs of channels x height x width of the map that they see.

    Source: Bhardwaj et al. 2022, "Restructurable Activation Networks", arXiv 2208.08562. What counts as a rectifier is
    told at `naswot`. Equal ReLUs of one map, which a cell applies on several edges, count each time.
    """

    def __init__(self) -> None:
        self.name = "nonlinear_units"

    def score(self, subject: Subject) -> float:
        units, network, shape = Units(), subject.blueprint, subject.setting.task.input_shape
        some = next(network.parameters(), None)
        device = torch.device("meta") if some is None else some.device
        with torch.no_grad(), Watching([units]):
            network.eval()(torch.zeros((2, *shape), device=device))
        if not units.count:
            raise UndefinedScore("the network has no rectifier")
        return float(units.count)
