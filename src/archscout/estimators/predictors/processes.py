"""Gaussian processes with a squared exponential kernel: exact, and resting on a few inducing points.

One objective for all: the logarithm of the (approximate) evidence plus that of log-normal priors on length scale,
variance and noise, maximised by 200 or fewer steps, as in the study of White et al. (2021, arXiv 2104.01177).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from archscout.core.seeds import stream
from archscout.estimators.predictors.base import Predictor

START = (10.0, 5.0, 1.0)
"""Length scale, variance and noise variance at the beginning."""

JITTER = 1e-6

Evidence = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class KernelProcess(Predictor):
    """A process over standardised features and values; a subclass says how many inducing points it rests on, and how.

    Features are divided by the root of their number too, so that distances and the priors fit whatever the encoding.

    Parameters: see `Predictor`.
    """

    usual: ClassVar[str] = "adjacency"
    steps: ClassVar[int]
    inducing: ClassVar[int | None] = None
    """Training samples, at random, that serve as inducing points; None for all, which is exact."""
    diagonal: ClassVar[bool] = False
    """Whether the prior variance of each sample is kept exactly (FITC); else its loss is a penalty (variational)."""

    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        self.middle_, spread = matrix.mean(axis=0), matrix.std(axis=0)
        used = spread > 1e-9
        self.stretch_ = np.where(used, 1 / np.maximum(spread, 1e-9), 0.0) / np.sqrt(max(1, used.sum()))
        self.centre_, self.unit_ = float(y.mean()), float(y.std())
        x = torch.from_numpy((matrix - self.middle_) * self.stretch_)
        z = torch.from_numpy((y - self.centre_) / self.unit_)
        rng = stream(self.seed, "kernel process")
        points = x if self.inducing is None else x[np.sort(rng.permutation(len(x))[: self.inducing])]
        theta = torch.log(torch.tensor(START, dtype=torch.float64)).requires_grad_()
        optimizer = torch.optim.Adam([theta], 0.05)
        for _ in range(self.steps):
            optimizer.zero_grad()
            torch.autograd.backward(-self._evidence(x, z, points, theta) + 0.5 * (theta**2).sum() + theta.sum())
            optimizer.step()
        self.theta_ = theta.detach()
        with torch.no_grad():
            self._condition(x, z, points)

    def _evidence(self, x: Tensor, z: Tensor, points: Tensor, theta: Tensor) -> Tensor:
        if self.inducing is None:
            kernel = squared_exponential(x, x, theta) + (theta[2].exp() + JITTER) * torch.eye(len(x), dtype=x.dtype)
            return normal_log_density(z, torch.linalg.cholesky(kernel))
        return self._sparse(x, z, points, theta)[0]

    def _sparse(self, x: Tensor, z: Tensor, points: Tensor, theta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The evidence, and what predictions need, at the cost of the inducing points only.

        With A = L^-1 K(points, x), where L L' = K(points, points): the covariance of z is A'A + D. FITC (Snelson,
        Ghahramani 2006) has D = diag(K - A'A) + noise; the variational bound (Titsias 2009) has D = noise, and takes
        off the trace of K - A'A divided by twice the noise.
        """
        count = len(points)
        noise, variance = theta[2].exp() + JITTER, theta[1].exp()
        inner = squared_exponential(points, points, theta) + JITTER * torch.eye(count, dtype=x.dtype)
        root = torch.linalg.cholesky(inner)
        wide = torch.linalg.solve_triangular(root, squared_exponential(points, x, theta), upper=False)
        lost = (variance - (wide**2).sum(dim=0)).clamp(min=0)
        diagonal = lost + noise if self.diagonal else noise.expand(len(x))
        scaled = wide / diagonal
        whole = torch.linalg.cholesky(torch.eye(count, dtype=x.dtype) + scaled @ wide.T)
        inside = torch.linalg.solve_triangular(whole, (scaled @ z)[:, None], upper=False)
        value = -0.5 * ((z**2 / diagonal).sum() - (inside**2).sum())
        value = value - whole.diagonal().log().sum() - 0.5 * diagonal.log().sum() - 0.5 * len(x) * np.log(2 * np.pi)
        return value if self.diagonal else value - 0.5 * lost.sum() / noise, root, whole, inside

    def _condition(self, x: Tensor, z: Tensor, points: Tensor) -> None:
        """Keep what predictions need."""
        self.points_ = points
        if self.inducing is None:
            noise = (self.theta_[2].exp() + JITTER) * torch.eye(len(x), dtype=x.dtype)
            self.root_ = torch.linalg.cholesky(squared_exponential(x, x, self.theta_) + noise)
            self.inside_ = torch.linalg.solve_triangular(self.root_, z[:, None], upper=False)
        else:
            _, self.root_, self.whole_, self.inside_ = self._sparse(x, z, points, self.theta_)

    @torch.no_grad()
    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = torch.from_numpy((matrix - self.middle_) * self.stretch_)
        kernel = squared_exponential(self.points_, x, self.theta_)
        wide = torch.linalg.solve_triangular(self.root_, kernel, upper=False)
        variance = self.theta_[1].exp() + self.theta_[2].exp() - (wide**2).sum(dim=0)
        if self.inducing is None:
            mean = (wide * self.inside_).sum(dim=0)
        else:
            seen = torch.linalg.solve_triangular(self.whole_, wide, upper=False)
            mean = (seen * self.inside_).sum(dim=0)
            variance = variance + (seen**2).sum(dim=0)
        std = variance.clamp(min=1e-12).sqrt().numpy()
        return mean.numpy() * self.unit_ + self.centre_, std * self.unit_


def squared_exponential(a: Tensor, b: Tensor, theta: Tensor) -> Tensor:
    """The kernel of all pairs of rows; theta are the logarithms of length scale, variance and noise variance."""
    distances = (a**2).sum(dim=1)[:, None] + (b**2).sum(dim=1)[None] - 2 * a @ b.T
    covariance: Tensor = theta[1].exp() * torch.exp(-0.5 * distances.clamp(min=0) / theta[0].exp() ** 2)
    return covariance


def normal_log_density(z: Tensor, root: Tensor) -> Tensor:
    """Of a normal distribution around 0 with the covariance root root'."""
    inside = torch.linalg.solve_triangular(root, z[:, None], upper=False)
    value: Tensor = -0.5 * (inside**2).sum() - root.diagonal().log().sum() - 0.5 * len(z) * np.log(2 * np.pi)
    return value
