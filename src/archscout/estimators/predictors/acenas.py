"""AceNAS: a graph network that learns the top of the order, after a schooling on weak labels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.registry import register
from archscout.core.space import Space
from archscout.estimators.predictors.dense import GraphNetwork, normalised, present
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.ndcg import lambda_loss, relevance
from archscout.estimators.predictors.network import Inputs
from archscout.estimators.predictors.training import Schedule, train

SCHOOLING = Schedule(epochs=60, batch=50, rate=1e-3, decay=1e-5)
KEPT = 10
"""Nodes that are read out, those with the highest last feature; two neighbours in this order are pooled."""


@register("estimator", "acenas")
def acenas(
    encoding: str = "default", scores: str = "", loss: str = "lambda", schooled: bool = True, seed: int = 0
) -> Learned:
    """LambdaRank on NDCG, pre-trained on weak labels (AceNAS, Zhang et al. 2021, arXiv 2108.03001)."""
    return Learned("acenas", AceNAS(seed=seed, loss=loss, schooled=schooled), encoding, scores)


class AceNAS(GraphNetwork):
    """Four graph convolutions of width 64, sort pooling, convolutions over the sorted nodes, a hidden layer of 128.

    Columns after the graph are weak labels (multiply-adds, parameters, scores, a supernet's accuracy): where there are
    any, and unlabelled architectures, the network first learns those of the latter, by squared error, then the order of
    the values by the gradient of NDCG. Adam at 5e-3 with weight decay 5e-4, 300 epochs in batches of 20. Weights
    begin as those of He et al. (2015, arXiv 1502.01852): with PyTorch's usual ones the signal fades over nine layers,
    and in one run of three rectifiers die until a handful of answers is left. Published pre-training is 300 epochs in
    batches of 20; here 60 in batches of 50, on at most 500 architectures.

    What it says is brought to the mean and the deviation of the values learned from.

    Args:
        space, encoding, widths, epochs, seed: see `Network`.
        loss: `lambda`, or `squared` for the squared error of the values.
        schooled: whether weak labels are learned first.
    """

    schedule: ClassVar[Schedule] = Schedule(epochs=300, batch=20, rate=5e-3, decay=5e-4)
    unlabelled: ClassVar[int] = 500

    def __init__(
        self,
        space: Space | None = None,
        encoding: str | None = None,
        widths: tuple[int, ...] | None = None,
        epochs: int | None = None,
        seed: int = 0,
        *,
        loss: str = "lambda",
        schooled: bool = True,
    ) -> None:
        super().__init__(space, encoding, widths, epochs, seed)
        self.loss, self.schooled = loss, schooled

    def _inputs(self, matrix: np.ndarray) -> Inputs:
        """From whom each node receives in place of the adjacency: once, not in every step."""
        adjacency, operations, side = super()._inputs(matrix)
        return normalised(adjacency.transpose(1, 2), present(operations)), operations, side

    def _build(self, inputs: Inputs) -> nn.Module:
        return Ranker(inputs[1].shape[2], max(1, inputs[2].shape[1]))

    def _loss(self, network: nn.Module, inputs: Inputs, target: Tensor) -> Tensor:
        said: Tensor = network(*inputs)
        return lambda_loss(said, target) if self.loss == "lambda" else nn.functional.mse_loss(said, target)

    def _train(self, inputs: Inputs, target: Tensor, rng: np.random.Generator) -> None:
        assert isinstance(self.network_, Ranker)
        if self.schooled and len(self.pool_) and inputs[2].shape[1]:
            self._school(self.network_, rng)
        if self.loss == "lambda":
            target = torch.from_numpy(relevance(target.numpy().astype(np.float64)).astype(np.float32))
        super()._train(inputs, target, rng)
        if self.loss == "lambda":
            self._level(inputs)

    def _school(self, network: Ranker, rng: np.random.Generator) -> None:
        pool = self._inputs(self.pool_)

        def loss(rows: Tensor) -> Tensor:
            receives, operations, weak = (part[rows] for part in pool)
            error: Tensor = ((network.weak(network.code(receives, operations)) - weak) ** 2).mean(dim=0).sum()
            return error

        train(network, loss, len(self.pool_), SCHOOLING, rng)


class Ranker(nn.Module):
    """From receivers and operations to one number a graph, and to one a weak label."""

    def __init__(self, labels: int, weak: int, hidden: int = 64, layers: int = 4) -> None:
        super().__init__()
        sizes = [labels, *[hidden] * layers]
        self.layers = nn.ModuleList(map(nn.Linear, sizes[:-1], sizes[1:]))
        self.rows, self.across = nn.Linear(hidden, 32), nn.Conv1d(32, 64, KEPT // 2)
        self.fuse = nn.Linear(64, 128)
        self.head = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 1))
        self.weak = nn.Linear(128, weak)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv1d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def code(self, receives: Tensor, operations: Tensor) -> Tensor:
        """What is known of each graph: (N, 128). Padding receives nothing, and stays zero."""
        state = operations
        for layer in self.layers:
            state = torch.relu(torch.bmm(receives, layer(state)))
        state = nn.functional.pad(state, (0, 0, 0, max(0, KEPT - state.shape[1])))
        order = torch.argsort(state[:, :, -1], dim=1, descending=True, stable=True)[:, :KEPT]
        kept = torch.gather(state, 1, order[:, :, None].expand(-1, -1, state.shape[2]))
        pooled = nn.functional.max_pool1d(torch.relu(self.rows(kept)).transpose(1, 2), 2)
        # The convolution is as long as what it reads: a product, which is quicker.
        across = nn.functional.linear(pooled.flatten(1), self.across.weight.flatten(1), self.across.bias)
        return torch.relu(self.fuse(torch.relu(across)))

    def forward(self, receives: Tensor, operations: Tensor, side: Tensor) -> Tensor:
        out: Tensor = self.head(self.code(receives, operations))[:, 0]
        return out
