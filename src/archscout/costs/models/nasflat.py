"""A learned embedding of each device, as in NASFLAT (Akhauri, Abdelfattah 2024, arXiv 2403.02446)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.seeds import derive, stream
from archscout.core.space import Space
from archscout.costs.models.base import LatencyModel, Measured, checked
from archscout.costs.models.graphs import Encoder


class FlowNetwork(nn.Module):
    """Dense graph flow: what arrives at a node is gated by its operation, which knows the device.

    Each node's operation and the device's embedding make one vector; layer by layer, x becomes
    sigmoid(o W) * (A x F) + x B, read out at the global node.
    """

    def __init__(self, labels: int, devices: int, hidden: int, embedding: int, layers: int = 3) -> None:
        super().__init__()
        self.devices = nn.Embedding(devices, embedding)
        self.operations = nn.Sequential(nn.Linear(labels + embedding, hidden), nn.ReLU(), nn.Linear(hidden, hidden))
        self.gates = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))
        self.flows = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))
        self.stays = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))
        self.head = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, features: Tensor, adjacency: Tensor, device: Tensor) -> Tensor:
        known = self.devices(device)[:, None].expand(-1, features.shape[1], -1)
        operations = x = self.operations(torch.cat([features, known], dim=2))
        adjacency = adjacency / adjacency.sum(2, keepdim=True).clamp(min=1)
        for gate, flow, stay in zip(self.gates, self.flows, self.stays, strict=True):
            x = torch.relu(torch.sigmoid(gate(operations)) * torch.bmm(adjacency, flow(x)) + stay(x))
        out: Tensor = self.head(x[:, -1])[:, 0]
        return out


class DeviceEmbeddingLatency(LatencyModel):
    """A graph network for all known devices, each with an embedding; a new one starts from the device most like it.

    Latencies are logarithms, standardised for each device. The embedding of the new device begins as that of the known
    device whose predictions rank the measured architectures most alike; then the whole network is tuned to them. Scale
    and offset are regressed. What is left of the error on the few that it was tuned to says nothing, so that no
    deviation is given. Of NASFLAT's parts, the ensemble with graph attention and the supplementary encodings are not
    here. Training on the known devices happens at the first `fit` and is kept.

    Args:
        known: other devices.
        hidden: width of the layers.
        embedding: width of a device's embedding.
        steps: steps of training on known devices, of 64 measurements each.
        tuning: steps of tuning, each with all measurements of the new device.
        seed: of everything random.
    """

    def __init__(
        self,
        known: Sequence[Measured],
        *,
        hidden: int = 64,
        embedding: int = 16,
        steps: int = 3000,
        tuning: int = 30,
        seed: int = 0,
    ) -> None:
        if not known:
            raise UsageError("device embeddings need at least one known device.")
        self.known, self.hidden, self.embedding = known, hidden, embedding
        self.steps, self.tuning, self.seed = steps, tuning, seed
        self._trained: FlowNetwork | None = None

    def fit(self, space: Space, architectures: Sequence[Architecture], ms: Sequence[float] | np.ndarray) -> Self:
        times = np.log(checked(space, architectures, ms))
        if self._trained is None:
            self._train(space)
        features, adjacency = self._encode(architectures)
        assert self._trained is not None
        alike = [
            spearmanr(self._run(self._trained, features, adjacency, device), times).statistic
            for device in range(len(self.known))
        ]
        nearest = int(np.nanargmax(np.nan_to_num(alike, nan=-1.0)))
        self.nearest_ = self.known[nearest].device
        network = copy.deepcopy(self._trained)
        target = torch.from_numpy(((times - times.mean()) / times.std()).astype(np.float32))
        with torch.no_grad():
            network.devices.weight[-1] = network.devices.weight[nearest]
        new = torch.full((len(times),), len(self.known))
        optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
        for _ in range(self.tuning):
            optimizer.zero_grad()
            answer = network(features, adjacency, new)
            # Known devices are standardised over many architectures, the new one over few: only the shape is tuned.
            apart = (answer - answer.mean()) / (answer.std() + 1e-6)
            torch.autograd.backward(nn.functional.mse_loss(apart, target))
            optimizer.step()
        self._network = network
        shape = self._run(network, features, adjacency, len(self.known))
        line = np.polyfit(shape, times, 1) if np.ptp(shape) > 0 else (0.0, times.mean())
        self._slope, self._offset = float(line[0]), float(line[1])
        return self

    def predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        shape = self._run(self._network, *self._encode(architectures), len(self.known))
        return np.exp(self._slope * shape + self._offset), np.full(len(shape), np.nan)

    @staticmethod
    @torch.no_grad()
    def _run(network: FlowNetwork, features: Tensor, adjacency: Tensor, device: int) -> np.ndarray:
        parts = zip(torch.split(features, 1024), torch.split(adjacency, 1024), strict=True)
        shapes = [network(f, a, torch.full((len(f),), device)).numpy() for f, a in parts]
        return np.concatenate(shapes).astype(float)

    def _train(self, space: Space) -> None:
        architectures = [a for measured in self.known for a in measured.architectures]
        numbers = {a: n for n, a in enumerate(dict.fromkeys(architectures))}
        self._encode = Encoder(space, list(numbers))
        features, adjacency = self._encode(list(numbers))
        rows, devices, targets = [], [], []
        for device, measured in enumerate(self.known):
            times = np.log(checked(space, measured.architectures, measured.ms))
            rows.append([numbers[a] for a in measured.architectures])
            devices.append(np.full(len(times), device))
            targets.append((times - times.mean()) / times.std())
        row, device_ = torch.from_numpy(np.concatenate(rows)), torch.from_numpy(np.concatenate(devices))
        target = torch.from_numpy(np.concatenate(targets).astype(np.float32))
        rng = stream(self.seed, "nasflat")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(self.seed, "nasflat"))
            network = FlowNetwork(features.shape[-1], len(self.known) + 1, self.hidden, self.embedding)
            optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
            fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
            for _ in range(self.steps):
                part = torch.from_numpy(rng.integers(len(target), size=64))
                optimizer.zero_grad()
                answer = network(features[row[part]], adjacency[row[part]], device_[part])
                torch.autograd.backward(nn.functional.huber_loss(answer, target[part]))
                optimizer.step()
                fall.step()
        self._trained = network.eval()
