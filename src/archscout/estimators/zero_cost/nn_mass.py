"""How much of a network's width and depth its short cuts join."""

from __future__ import annotations

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject
from archscout.estimators.zero_cost.layer_graph import Layer, layers


@register("estimator", "nn_mass")
class NnMass(Score):
    """NN-mass: density of short cuts x width x depth, summed over stages (no pass).

    For each stage (feature maps of one size) with d layers of weights of mean width w: mass = w d sum_i t_i / sum_i
    a_i, t_i the channels that reach layer i over short cuts (past at least one layer of weights of the stage), a_i
    those of all earlier layers of the stage but the one before it. score = sum over stages.

    Source: Bhardwaj, Li, Marculescu 2021, "How Does Topology of Neural Architectures Impact Gradient Propagation and
        Model Performance?", arXiv 1910.00780; used for scaling by Bhardwaj et al. 2022, arXiv 2208.08562. They define
        it for cells in which short cuts are concatenated, at most t channels a layer; that sums count as well, and a
        stage as a cell, is the reading made here.
    """

    def __init__(self) -> None:
        self.name = "nn_mass"

    def score(self, subject: Subject) -> float:
        setting = subject.setting
        wired = layers(setting.space, subject.architecture, setting.task)
        stages: dict[tuple[int, ...], list[int]] = {}
        for number, layer in enumerate(wired):
            if layer.kind in ("convolution", "linear") and len(layer.shape) == len(wired[0].shape):
                stages.setdefault(layer.shape[1:], []).append(number)
        if not stages:
            raise UndefinedScore("the network has no layers of weights")
        return sum(_mass(wired, stage) for stage in stages.values())


def _mass(layers: list[Layer], stage: list[int]) -> float:
    reached = available = 0
    for place, number in enumerate(stage):
        earlier = stage[: max(0, place - 1)]
        available += sum(layers[other].shape[0] for other in earlier)
        sources = _weighted_sources(layers, number)
        reached += sum(layers[other].shape[0] for other in earlier if other in sources)
    return reached / available * sum(layers[number].shape[0] for number in stage) if available else 0.0


def _weighted_sources(layers: list[Layer], number: int) -> set[int]:
    """The layers of weights that feed a layer through pools and identities alone."""
    sources: set[int] = set()
    waiting = list(layers[number].parents)
    while waiting:
        parent = waiting.pop()
        if layers[parent].kind in ("convolution", "linear"):
            sources.add(parent)
        else:
            waiting += layers[parent].parents
    return sources
