"""What to expect of a network on a data set before anything is trained there: learnt from trainings on other data.

A Gaussian process (Rasmussen, Williams 2006) over a table of real trainings (`data/prior.json`, made by
`benchmarks/predictors/prior_table.py`). Its mean is a rule of thumb (`rule`), which holds where the table has nothing
alike. Its covariance has three parts: what is true of a data set as a whole (how hard it is), which says nothing of
which network to prefer and so is left out of predictions; what is true of networks and lengths of training everywhere;
and what is true of them on data sets alike in size, resolution, channels and classes. It knows networks by counts
alone, so that it can be asked about any space of image classifiers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from torch import nn

from archscout.core.architecture import Architecture
from archscout.core.errors import DataError
from archscout.core.estimator import TRAINING
from archscout.core.graph import Graph
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.core.trial import Trial
from archscout.networks.tracing import blueprint, trace
from archscout.training.recipe import MOST, PASSES

TABLE = "data/prior.json"

SHALLOW = 5
"""Layers up to which a network learns as quickly as any."""

FEWEST = 40
"""Epochs of a full training of many examples, for this rule: of 20,000 images a large network that got 9 of them was
3.5 points behind one of a third of its multiply-adds that got 34."""

OF_A_DATA_SET = 10.0
"""By how much data sets differ as a whole, in logits of accuracy."""


@dataclass(frozen=True)
class Network:
    """What the prior knows of a network: multiply-adds of an example, parameters, layers with weights, and the share of
    its convolutions that are grouped (depthwise)."""

    macs: float
    params: float
    layers: int
    grouped: float

    @classmethod
    def of(cls, space: Space, architecture: Architecture, task: Task, graph: Graph | None = None) -> Network:
        """Counted without weights; its operators are `graph` where they are known.

        Raises `ArchscoutError` where the network does not run.
        """
        network = blueprint(space, architecture, task)
        nodes = (graph or trace(network, task.input_shape)).nodes
        convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
        grouped = sum(convolution.groups > 1 for convolution in convolutions) / max(1, len(convolutions))
        params = sum(parameter.numel() for parameter in network.parameters())
        return cls(float(sum(n.macs for n in nodes)), float(params), sum(n.macs > 0 for n in nodes), grouped)


@dataclass(frozen=True)
class Data:
    """What the prior knows of a data set: training examples, pixels a side, channels and classes."""

    examples: int
    side: float
    channels: int
    classes: int

    @classmethod
    def of(cls, task: Task) -> Data:
        channels, *sides = task.input_shape
        return cls(len(task.train), math.prod(sides) ** (1 / max(1, len(sides))), channels, task.outputs)


@dataclass(frozen=True)
class Record:
    """A training: of a network on a data set (of a name) for some epochs, and the validation accuracy it came to."""

    source: str
    data: Data
    network: Network
    epochs: float
    accuracy: float


@dataclass(frozen=True)
class Scales:
    """Over what distances trainings resemble each other (natural logarithms, but for `grouped` and `channels`), by how
    much they differ (in logits of accuracy), and how much the rule of thumb counts."""

    macs: float = 2.0
    params: float = 3.0
    layers: float = 1.5
    grouped: float = 1.0
    steps: float = 1.5
    data: float = 1.0
    everywhere: float = 0.2
    alike: float = 1.0
    noise: float = 0.15
    rule: float = 0.15


class Prior:
    """Expected accuracies of networks, relative to each other, from records of trainings.

    Args:
        records: of the more data sets the better; without any, the rule of thumb is all there is.
        scales: of the covariance.
    """

    def __init__(self, records: Sequence[Record], scales: Scales | None = None) -> None:
        self.records = tuple(records)
        self.scales = scales or Scales()
        self.longest = max((record.epochs for record in records), default=float(MOST))
        if not records:
            return
        self._data = np.array([_of_data(record.data) for record in records])
        self._training = np.array([_of_training(r.data, r.network, r.epochs) for r in records])
        sources = np.array([record.source for record in records])
        target = np.array([_logit(r) - self.scales.rule * rule(r.data, r.network, r.epochs) for r in records])
        covariance = self._shared(self._data, self._training)
        covariance += OF_A_DATA_SET**2 * (sources[:, None] == sources[None, :])
        covariance[np.diag_indices(len(records))] += self.scales.noise**2
        self._weights = np.linalg.solve(covariance, target - target.mean())

    @classmethod
    def shipped(cls) -> Prior:
        """The one of the table that comes with the package."""
        return _shipped()

    def learned(self, records: Sequence[Record]) -> Prior:
        """This one, having seen further trainings: those of the user's own searches (`records_of`)."""
        return Prior([*self.records, *records], self.scales)

    def expected(self, data: Data, networks: Sequence[Network], epochs: Sequence[float]) -> np.ndarray:
        """The expected logit of accuracy of each network after so many epochs, up to a constant of the data set (n,).

        Beyond the longest training that it has seen, more epochs are expected to change nothing.
        """
        lengths = [min(max(e, 1e-3), self.longest) for e in epochs]
        pairs = list(zip(networks, lengths, strict=True))
        mean = self.scales.rule * np.array([rule(data, network, length) for network, length in pairs])
        if not self.records:
            return mean
        training = np.array([_of_training(data, network, length) for network, length in pairs])
        here = np.repeat(np.array([_of_data(data)]), len(pairs), axis=0)
        return np.asarray(mean + self._shared(here, training) @ self._weights)

    def rank(self, data: Data, networks: Sequence[Network], seconds: Sequence[float], left: float) -> list[int]:
        """The networks from the one to try first to the one to try last, as places in the list.

        Args:
            data: what they would be trained on.
            networks: of which one is to be trained.
            seconds: what an epoch of each takes here.
            left: seconds for the training.
        """
        epochs = [left / max(s, 1e-9) for s in seconds]
        expected = self.expected(data, networks, epochs)
        # Less than an epoch is no training: those come last, the quickest first.
        return sorted(
            range(len(networks)), key=lambda i: (epochs[i] < 1, -expected[i] if epochs[i] >= 1 else -epochs[i])
        )

    def _shared(self, data: np.ndarray, training: np.ndarray) -> np.ndarray:
        s = self.scales
        lengths = np.array([s.macs, s.params, s.layers, s.grouped, s.steps, s.steps])
        trainings = _gaussian(training / lengths, self._training / lengths)
        return trainings * (s.everywhere**2 + s.alike**2 * _gaussian(data / s.data, self._data / s.data))


def rule(data: Data, network: Network, epochs: float) -> float:
    """How much is to be expected of a training by rule of thumb; higher is better.

    Larger networks learn more in an epoch, as long as there are most of the epochs that a full training takes; one that
    gets fewer loses more than its size gains. Deep ones need more of them.
    """
    full = min(MOST, max(FEWEST, PASSES / max(1, data.examples)))
    enough = 0.3 * full * math.sqrt(max(1.0, network.layers / SHALLOW))
    return math.log(network.macs / data.side**2 + 1) - 2.0 * max(0.0, math.log(enough / epochs))


def records_of(space: Space, task: Task, trials: Iterable[Trial]) -> list[Record]:
    """The trainings among the trials of a search, as records; none where the metric of the task is no accuracy."""
    if task.metric.name != "accuracy":
        return []
    data = Data.of(task)
    records = []
    for trial in trials:
        if trial.estimator == TRAINING and trial.defined and trial.fidelity:
            network = Network.of(space, trial.architecture, task)
            records.append(Record(task.digest, data, network, float(trial.fidelity), float(trial.value)))
    return records


def read(text: str, where: str = "the table") -> list[Record]:
    """The records of a table. Raises `DataError` for one that is damaged."""
    try:
        return [_record(row) for row in json.loads(text)["rows"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where} of earlier trainings is damaged ({error!r}): install the package again.") from error


@cache
def _shipped() -> Prior:
    return Prior(read((resources.files("archscout.estimators") / TABLE).read_text(encoding="utf-8")))


def _record(row: Mapping[str, Any]) -> Record:
    side = math.sqrt(row["height"] * row["width"])
    return Record(
        source=f"{row['data']}:{row['examples']}",
        data=Data(int(row["examples"]), side, int(row["channels"]), int(row["classes"])),
        network=Network(float(row["macs"]), float(row["params"]), int(row["layers"]), float(row["grouped"])),
        epochs=float(row["epochs"]),
        accuracy=float(row["accuracy"]),
    )


def _logit(record: Record) -> float:
    """Of the accuracy above chance, as a share of what is possible; away from 0 and 1, where single examples count."""
    chance = 1 / record.data.classes
    share = min(max((record.accuracy - chance) / (1 - chance), 0.05), 0.995)
    return math.log(share / (1 - share))


def _of_data(data: Data) -> list[float]:
    return [math.log(data.examples), math.log(data.side), float(data.channels > 1), math.log(data.classes)]


def _of_training(data: Data, network: Network, epochs: float) -> list[float]:
    # Multiply-adds for a pixel: what the size of the image does not change.
    macs = math.log((network.macs + 1) / data.side**2)
    return [
        macs, math.log(network.params + 1), math.log(max(1, network.layers)), network.grouped,
        math.log(epochs), math.log(epochs * data.examples),
    ]  # fmt: skip


def _gaussian(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    distance = ((first[:, None, :] - second[None, :, :]) ** 2).sum(2)
    return np.asarray(np.exp(-0.5 * distance))
