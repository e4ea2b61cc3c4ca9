"""Classification of the nodes of one graph: features and edges of all nodes are known, labels of some are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archscout.core import registry
from archscout.core.errors import DataError, UsageError
from archscout.core.panel import Panel
from archscout.core.registry import register
from archscout.core.task import Answers, Split, Task
from archscout.networks.elastic import Number, linear
from archscout.tasks import reviews
from archscout.tasks.meters import Hits


@register("kind", "node classification")
@dataclass(frozen=True)
class NodeClassification(Task):
    """One class for each node; the metric is the fraction of nodes whose class has the largest output.

    An example is the number of a node, so that `input_shape` is (1,); a network holds the whole graph and answers for
    the nodes that it is asked about. Of the test nodes it sees features and edges, never labels (as is usual: the
    transductive setting of Kipf, Welling 2017, arXiv 1609.02907).

    Args:
        features: N x F float32, of all nodes.
        edges: E x 2, both directions of each edge, no node to itself.
    """

    kind: ClassVar[str] = "node classification"

    features: np.ndarray = field(default_factory=lambda: np.zeros((1, 1), np.float32))
    edges: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))

    def tensors(self, split: Split, device: Any = "cpu") -> tuple[Tensor, Tensor]:
        return torch.from_numpy(split.x.astype(np.float32)).to(device), torch.from_numpy(split.y).to(device)

    def head(self, channels: Number) -> nn.Module:
        """From features (N x channels) to outputs."""
        return linear(channels, self.outputs)

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
        return F.cross_entropy(outputs, targets, label_smoothing=smoothing)

    def meter(self) -> Hits:
        return Hits()

    def review(self, answers: Iterable[Answers]) -> Sequence[Panel]:
        """The confusion matrix, and the most confident mistakes."""
        return reviews.classification(answers, self.class_names)

    def deploy(self, network: nn.Module) -> nn.Module:
        return network

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name, "outputs": self.outputs, "class_names": list(self.class_names)}

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> Self:
        """The task that `describe` described: it is made again, for a network is of no use without its graph.

        Raises `DataError` where there is no task of this name any more.
        """
        try:
            task = registry.create("task", str(description["name"]))
        except (KeyError, UsageError) as error:
            raise DataError(f"the graph that the network was trained on cannot be made again: {error}") from error
        if not isinstance(task, cls):
            raise DataError(
                f"task '{task.name}' is no graph any more: install what made it when the network was trained."
            )
        return task
