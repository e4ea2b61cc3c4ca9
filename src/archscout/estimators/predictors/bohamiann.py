"""BOHAMIANN: a Bayesian neural network whose weights are drawn by Hamiltonian Monte Carlo with noisy gradients."""

from __future__ import annotations

import copy
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.registry import register
from archscout.core.space import Space
from archscout.estimators.predictors.dngo import Basis
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.network import Inputs, Network
from archscout.estimators.predictors.training import Schedule


@register("estimator", "bohamiann")
def bohamiann(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """A Bayesian neural network by adaptive Hamiltonian Monte Carlo (BOHAMIANN, Springenberg et al. 2016)."""
    return Learned("bohamiann", Bohamiann(seed=seed), encoding, scores)


class Bohamiann(Network):
    """A perceptron (3 x 50, tanh) and the precision of the noise, drawn from their posterior.

    Scale-adapted stochastic gradient Hamiltonian Monte Carlo (Springenberg, Klein, Falkner, Hutter 2016): steps are
    divided by a running estimate of the gradients' size, which is learned during the burn-in and then kept. The study
    of White et al. (2021, arXiv 2104.01177) runs 100 steps of rate 0.01, drops the first 10 and keeps every fifth; a
    chain of that length has hardly left its first weights, so that here it is 1,500, of which 500 are dropped.

    Args:
        space, encoding, widths, seed: see `Network`.
        epochs: steps of the chain.
        burn_in: the first steps, which are dropped.
        keep: every so many steps a network is kept.
        rate: of a step.
    """

    usual: ClassVar[str] = "adjacency"
    schedule: ClassVar[Schedule] = Schedule(epochs=1500, batch=20, rate=0.01)

    def __init__(
        self,
        space: Space | None = None,
        encoding: str | None = None,
        widths: tuple[int, ...] | None = None,
        epochs: int | None = None,
        seed: int = 0,
        *,
        burn_in: int = 500,
        keep: int = 20,
        rate: float = 0.01,
    ) -> None:
        super().__init__(space, encoding, widths, epochs, seed)
        self.burn_in, self.keep, self.rate = burn_in, keep, rate

    def _build(self, inputs: Inputs) -> nn.Module:
        return Noisy(inputs[0].shape[1])

    def _train(self, inputs: Inputs, target: Tensor, rng: np.random.Generator) -> None:
        assert isinstance(self.network_, Noisy)
        network, samples = self.network_, len(target)
        schedule = self._how()
        chain = Chain(list(network.parameters()), self.rate, samples)
        self.drawn_: list[Noisy] = []
        for step in range(schedule.epochs):
            rows = torch.from_numpy(rng.permutation(samples)[: schedule.batch])
            torch.autograd.backward(negative_log_posterior(network, inputs[0][rows], target[rows], samples))
            chain.step(adapt=step < self.burn_in)
            if step >= self.burn_in and (step - self.burn_in) % self.keep == 0:
                self.drawn_.append(copy.deepcopy(network))
        self.drawn_ = self.drawn_ or [network]

    @torch.no_grad()
    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (x,) = self._inputs(matrix)
        said = np.stack([network(x).numpy().astype(np.float64) for network in self.drawn_])
        noise = np.mean([float(network.log_noise.exp()) for network in self.drawn_])
        mean, std = said.mean(axis=0), np.sqrt(said.var(axis=0) + noise)
        return mean * self.unit_ + self.centre_, std * self.unit_


class Noisy(Basis):
    """A perceptron, and the logarithm of the variance of the noise."""

    def __init__(self, columns: int) -> None:
        super().__init__(columns)
        self.log_noise = nn.Parameter(torch.tensor(-3.0))


def negative_log_posterior(network: Noisy, x: Tensor, y: Tensor, samples: int) -> Tensor:
    """Of a batch, divided by the number of samples: normal likelihood, normal priors of weights and log variance."""
    squares: Tensor = (network(x) - y) ** 2
    likelihood = (0.5 * squares * torch.exp(-network.log_noise) + 0.5 * network.log_noise).mean()
    weights = sum(((p**2).sum() for p in network.parameters()), torch.zeros(())) - network.log_noise**2
    prior = 0.5 * weights + 0.5 * ((network.log_noise + 4.6) / 1.0) ** 2
    return likelihood + prior / samples


class Chain:
    """Scale-adapted Hamiltonian Monte Carlo on parameters whose gradients are of the mean over the samples."""

    def __init__(self, parameters: list[nn.Parameter], rate: float, samples: int, friction: float = 0.05) -> None:
        self.parameters, self.friction = parameters, friction
        self.rate = rate / np.sqrt(samples)
        self.samples = samples
        self.square = [torch.ones_like(p) for p in parameters]
        self.mean = [torch.ones_like(p) for p in parameters]
        self.window = [torch.ones_like(p) for p in parameters]
        self.momentum = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def step(self, adapt: bool) -> None:
        """One step; with `adapt` the sizes of the gradients are learned."""
        state = zip(self.parameters, self.square, self.mean, self.window, self.momentum, strict=True)
        for parameter, square, mean, window, momentum in state:
            assert parameter.grad is not None
            gradient = parameter.grad * self.samples
            if adapt:
                share = 1 / (window + 1)
                window += 1 - window * mean**2 / (square + 1e-16)
                mean += share * (gradient - mean)
                square += share * (gradient**2 - square)
            scale = 1 / (square.sqrt() + 1e-16)
            noise = 2 * self.rate**2 * scale * self.friction - self.rate**4
            drawn = torch.randn(parameter.shape) * noise.clamp(min=1e-16).sqrt()
            momentum -= self.rate**2 * scale * gradient + self.friction * momentum - drawn
            parameter.add_(momentum)
            parameter.grad = None
