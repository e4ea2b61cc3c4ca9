"""The latency network of BRP-NAS: a graph convolutional network on the cell (Dudziak et al. 2020, arXiv 2007.08668)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.seeds import derive, stream
from archscout.core.space import Space
from archscout.costs.models.base import LatencyModel, checked
from archscout.costs.models.graphs import Encoder, GraphConvolution


class LatencyGCN(nn.Module):
    """Four graph convolutions with layer normalisation and ReLU; a linear layer on the embedding of the global node."""

    def __init__(self, labels: int, hidden: int, layers: int = 4, dropout: float = 0.002) -> None:
        super().__init__()
        widths = [labels, *[hidden] * layers]
        self.convolutions = nn.ModuleList(map(GraphConvolution, widths[:-1], widths[1:]))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(hidden, 1)

    def forward(self, features: Tensor, adjacency: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            last = convolution is self.convolutions[-1]  # there, only the global node is read
            received = convolution(features, adjacency[:, -1:] if last else adjacency)
            features = self.dropout(torch.relu(norm(received)))
        out: Tensor = self.head(features[:, 0])[:, 0]
        return out


class GCNLatency(LatencyModel):
    """BRP-NAS's latency predictor: a graph network trained on hundreds of measurements of the device.

    AdamW; the learning rate falls tenfold where the loss on a held-out tenth stalls for ten epochs; training ends after
    `patience` epochs without a better one. Published: hidden 600, batches of 1, learning rate 4e-4, 900 + 100
    architectures; here it is narrower and trained in batches, to be fast.

    Args:
        hidden: width of the layers.
        epochs: most epochs.
        patience: epochs without a better loss before training ends.
        batch: architectures a step.
        rate: learning rate.
        seed: of the initialisation, the held-out tenth and the order.
    """

    def __init__(
        self,
        hidden: int = 128,
        *,
        epochs: int = 250,
        patience: int = 35,
        batch: int = 16,
        rate: float = 1e-3,
        seed: int = 0,
    ) -> None:
        self.hidden, self.epochs, self.patience, self.batch, self.rate = hidden, epochs, patience, batch, rate
        self.seed = seed

    def fit(self, space: Space, architectures: Sequence[Architecture], ms: Sequence[float] | np.ndarray) -> Self:
        times = checked(space, architectures, ms)
        self._mean, self._spread = float(times.mean()), float(times.std())
        self._encode = Encoder(space, architectures)
        features, adjacency = self._encode(architectures)
        target = torch.from_numpy(((times - self._mean) / self._spread).astype(np.float32))
        rng = stream(self.seed, "latency gcn")
        order = rng.permutation(len(times))
        held, used = order[: max(1, len(times) // 10)], order[max(1, len(times) // 10) :]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(self.seed, "latency gcn"))
            self._network = LatencyGCN(features.shape[-1], self.hidden)
            optimizer = torch.optim.AdamW(self._network.parameters(), self.rate, weight_decay=5e-4, fused=True)
            slower = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=10)
            best, kept, since = np.inf, copy.deepcopy(self._network.state_dict()), 0
            for _ in range(self.epochs):
                self._network.train()
                for part in np.array_split(rng.permutation(used), -(-len(used) // self.batch)):
                    optimizer.zero_grad()
                    loss = nn.functional.mse_loss(self._network(features[part], adjacency[part]), target[part])
                    torch.autograd.backward(loss)
                    optimizer.step()
                errors = self._run(features[held], adjacency[held]) - target[held]
                now = float((errors**2).mean())
                slower.step(now)
                since += 1
                if now < best:
                    best, kept, since = now, copy.deepcopy(self._network.state_dict()), 0
                if since >= self.patience:
                    break
        self._network.load_state_dict(kept)
        predicted = self._run(features[held], adjacency[held]).numpy() * self._spread + self._mean
        self._least = times.min() / 4
        self._deviation = float(np.sqrt(np.mean(np.log(np.maximum(predicted, self._least) / times[held]) ** 2)))
        return self

    def predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        shares = self._run(*self._encode(architectures)).numpy().astype(float)
        return np.maximum(shares * self._spread + self._mean, self._least), np.full(len(shares), self._deviation)

    @torch.no_grad()
    def _run(self, features: Tensor, adjacency: Tensor) -> Tensor:
        self._network.eval()
        parts = zip(torch.split(features, 1024), torch.split(adjacency, 1024), strict=True)
        return torch.cat([self._network(*part) for part in parts])
