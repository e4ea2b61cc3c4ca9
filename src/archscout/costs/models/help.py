"""HELP: a network meta-learned on many devices, adapted to a new one (Lee et al. 2021, arXiv 2106.08630)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from archscout.core.architecture import Architecture
from archscout.core.errors import DataError, UsageError
from archscout.core.seeds import derive, stream
from archscout.core.space import Space
from archscout.costs.models.base import LatencyModel, Measured, checked
from archscout.costs.models.graphs import Encoder, GraphConvolution

INNER_STEPS, INNER_RATE = 2, 1e-3
MODULATION, DIVERGENCE = 0.01, 0.1
DRAWS = 10
MODULATED = ("third", "fourth", "fifth")

Parameters = dict[str, Tensor]


class HelpNetwork(nn.Module):
    """An encoder of architectures and one of the hardware embedding, side by side, then three linear layers.

    Architectures are graphs (four graph convolutions, the embedding of the global node) or flat one-hot choices (two
    linear layers).
    """

    def __init__(self, inputs: int, references: int, hidden: int, *, graph: bool) -> None:
        super().__init__()
        self.graph = graph
        widths = [inputs, *[hidden] * (4 if graph else 2)]
        kind = GraphConvolution if graph else nn.Linear
        self.encoder = nn.ModuleList(map(kind, widths[:-1], widths[1:]))
        self.hardware = nn.Sequential(nn.Linear(references, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.third, self.fourth = nn.Linear(2 * hidden, 2 * hidden), nn.Linear(2 * hidden, 2 * hidden)
        self.fifth = nn.Linear(2 * hidden, 1)

    def forward(self, architectures: tuple[Tensor, ...], hardware: Tensor) -> Tensor:
        x = architectures[0]
        for layer in self.encoder:
            # In the end, only the global node is read.
            adjacency = [a[:, -1:] if layer is self.encoder[-1] else a for a in architectures[1:]]
            x = torch.relu(layer(x, *adjacency))
        x = x[:, 0] if self.graph else x
        x = torch.cat([x, self.hardware(hardware).expand(len(x), -1)], dim=1)
        out: Tensor = self.fifth(torch.relu(self.fourth(torch.relu(self.third(x)))))[:, 0]
        return out


class HELPLatency(LatencyModel):
    """Meta-SGD over known devices with a hardware embedding: two gradient steps adapt it to ten measurements.

    The embedding of a device is its latencies of the `references`, which must be among what `fit` gets; all that it
    gets adapts the network. An inference network turns the embedding into a Gaussian over small changes of the last
    three layers, of which ten draws are averaged. Latencies are scaled to the range of the references. (The published
    code scales them to the range of 720 architectures of the new device, draws the adaptation samples from the middle
    80 % of 900, and measures ten beside the ten references; none of that is known after ten measurements.)

    Meta-training happens at the first `fit` and is kept.

    Args:
        known: other devices, with the same architectures each.
        references: how many architectures embed a device.
        hidden: width of the layers.
        episodes: steps of meta-training; 2000 are published.
        devices: known devices in an episode.
        support: architectures that an episode adapts to.
        query: architectures that an episode is judged by.
        rate: learning rate of meta-training; published 1e-4. A larger one serves fewer episodes.
        seed: of everything random.
        among: how many of the architectures, from the first, the references may be; all where None.
    """

    def __init__(
        self,
        known: Sequence[Measured],
        *,
        references: int = 10,
        hidden: int = 100,
        episodes: int = 500,
        devices: int = 8,
        support: int = 10,
        query: int = 200,
        rate: float = 1e-3,
        seed: int = 0,
        among: int | None = None,
    ) -> None:
        if len({tuple(map(str, measured.architectures)) for measured in known}) != 1:
            raise UsageError("HELP needs known devices that were all measured with the same architectures.")
        self.known, self.hidden, self.episodes = known, hidden, episodes
        self.devices, self.support, self.query, self.rate, self.seed = devices, support, query, rate, seed
        self._network: HelpNetwork | None = None
        # Evenly over the order of mean latency, in which each device counts the same.
        times = np.stack([measured.ms / measured.ms.mean() for measured in known])[:, :among]
        order = np.argsort(times.mean(axis=0), kind="stable")
        self._references = order[((np.arange(references) + 0.5) * len(order) / references).astype(int)]

    @property
    def references(self) -> list[Architecture]:
        """What must be measured on a new device."""
        return [self.known[0].architectures[n] for n in self._references]

    def fit(self, space: Space, architectures: Sequence[Architecture], ms: Sequence[float] | np.ndarray) -> Self:
        times = checked(space, architectures, ms)
        by_architecture = dict(zip(architectures, times, strict=True))
        missing = [str(reference) for reference in self.references if reference not in by_architecture]
        if missing:
            raise DataError(
                f"HELP needs the latencies of its {len(self.references)} reference architectures, of which "
                f"{len(missing)} are missing (the first is '{missing[0]}'): measure them too."
            )
        if self._network is None:
            self._meta_train(space)
        reference = np.array([by_architecture[architecture] for architecture in self.references])
        self._low, self._range = reference.min(), max(np.ptp(reference), 1e-9)
        self._least = times.min() / 4
        hardware = torch.from_numpy(self._scale(reference, reference))
        asked = self._encode(architectures)
        target = torch.from_numpy(self._scale(times, reference))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(self.seed, "help", "adapt"))
            self._adapted = [self._adapt(asked, hardware, target, train=False)[0] for _ in range(DRAWS)]
        self._hardware = hardware
        return self

    @torch.no_grad()
    def predict(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        assert self._network is not None
        asked = self._encode(architectures)
        draws = [functional_call(self._network, p, (asked, self._hardware)) for p in self._adapted]
        share = torch.stack(draws).mean(0).numpy().astype(float)
        ms = np.maximum((share - 0.05) / 0.9 * self._range + self._low, self._least)
        return ms, np.full(len(ms), np.nan)

    # -- inside ---------------------------------------------------------------------------------------------------

    @staticmethod
    def _scale(times: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """Times as shares of the range of the references, which becomes 0.05 to 0.95."""
        span = max(np.ptp(reference), 1e-9)
        return ((times - reference.min()) / span * 0.9 + 0.05).astype(np.float32)  # type: ignore[no-any-return]

    def _encode(self, architectures: Sequence[Architecture]) -> tuple[Tensor, ...]:
        if self._encoder is not None:
            return self._encoder(architectures)
        return (torch.from_numpy(self._space.encode(architectures)),)

    def _adapt(
        self, asked: tuple[Tensor, ...], hardware: Tensor, target: Tensor, *, train: bool
    ) -> tuple[Parameters, Tensor]:
        """Parameters after modulation and the inner steps, and the divergence of the modulation from its prior."""
        assert self._network is not None
        width = 2 * self.hidden
        mean, raw = self._inference(hardware).chunk(2)
        posterior = torch.distributions.Normal(mean, nn.functional.softplus(raw) + 1e-6)
        drawn = posterior.rsample()
        divergence = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum()
        parameters: Parameters = dict(self._network.named_parameters())
        for number, layer in enumerate(MODULATED):
            times_ = 1 + MODULATION * drawn[number * width : (number + 1) * width]
            parameters[f"{layer}.weight"] = parameters[f"{layer}.weight"] * times_
            parameters[f"{layer}.bias"] = (
                parameters[f"{layer}.bias"] + MODULATION * drawn[len(MODULATED) * width + number]
            )
        for _ in range(INNER_STEPS):
            loss = nn.functional.mse_loss(functional_call(self._network, parameters, (asked, hardware)), target)
            gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=train, retain_graph=train)
            parameters = {
                name: value - self._rates[name.replace(".", "_")] * gradient
                for (name, value), gradient in zip(parameters.items(), gradients, strict=True)
            }
        if not train:
            parameters = {name: value.detach() for name, value in parameters.items()}
        return parameters, divergence

    def _meta_train(self, space: Space) -> None:
        architectures = self.known[0].architectures
        self._space = space
        self._encoder = Encoder(space, architectures) if space.wired else None
        encoded = self._encode(architectures)
        known = [checked(space, architectures, measured.ms) for measured in self.known]
        references = [times[self._references] for times in known]
        hardware = [torch.from_numpy(self._scale(each, each)) for each in references]
        targets = [torch.from_numpy(self._scale(t, r)) for t, r in zip(known, references, strict=True)]
        rng = stream(self.seed, "help", "episodes")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(self.seed, "help", "meta-training"))
            self._network = HelpNetwork(
                encoded[0].shape[-1], len(self._references), self.hidden, graph=self._encoder is not None
            )
            self._inference = nn.Sequential(
                nn.Linear(len(self._references), 10), nn.ReLU(), nn.Linear(10, 2 * 3 * (2 * self.hidden + 1))
            )
            self._rates = nn.ParameterDict(
                {
                    name.replace(".", "_"): nn.Parameter(torch.full_like(value, INNER_RATE))
                    for name, value in self._network.named_parameters()
                }
            )
            trained = [*self._network.parameters(), *self._inference.parameters(), *self._rates.parameters()]
            optimizer = torch.optim.Adam(trained, self.rate)
            for _ in range(self.episodes):
                optimizer.zero_grad()
                picked = rng.permutation(len(known))[: self.devices]
                for device in picked:
                    drawn = rng.permutation(len(architectures))[: self.support + self.query]
                    near, far = drawn[: self.support], drawn[self.support :]
                    asked = tuple(part[near] for part in encoded)
                    parameters, divergence = self._adapt(asked, hardware[device], targets[device][near], train=True)
                    answer = functional_call(
                        self._network, parameters, (tuple(part[far] for part in encoded), hardware[device])
                    )
                    loss = nn.functional.mse_loss(answer, targets[device][far]) + DIVERGENCE * divergence
                    torch.autograd.backward(loss / len(picked))
                optimizer.step()
