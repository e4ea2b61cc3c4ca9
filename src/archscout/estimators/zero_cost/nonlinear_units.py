"""The number of rectifiers of a network."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

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
        shape = subject.setting.task.input_shape
        try:
            count = units(subject.blueprint, shape)
        except RuntimeError:  # of code whose rectifiers are told by values, which a network without memory has not
            count = units(subject.network, shape)
        if not count:
            raise UndefinedScore("the network has no rectifier")
        return float(count)


def units(network: nn.Module, input_shape: tuple[int, ...]) -> int:
    """The number of rectifiers of a network, which is left in the mode that it has."""
    watcher, some = Units(), next(network.parameters(), None)
    device = torch.device("meta") if some is None else some.device
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad(), Watching([watcher]):
            network(torch.zeros((2, *input_shape), device=device))
    finally:
        for module, training in modes:
            module.training = training
    return watcher.count
