"""Gaussian process: smooth in the features, with a length scale for each kind of features."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

from archscout.core.registry import register
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.estimators.predictors.base import Predictor, block_widths
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.targets import Scale

LEARNED_FROM, MOST = 400, 2000
"""Samples that hyper-parameters are chosen by, and that the process rests on; random ones of more."""

PRIOR_MEAN, PRIOR_STD = np.array([-1.4, 0.0, 0.0, -2.5]), np.array([1.0, 3.0, 0.7, 1.5])
"""Of the logarithms of: the weight of a block relative to all, all weights, the variance, the noise variance."""

LARGEST = 50.0
"""Of these logarithms, what no hyper-parameter comes near: the line search asks for hundreds now and then."""


@register("estimator", "gaussian_process")
def gaussian_process(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """Gaussian process with a Matern kernel, a length scale a block of features; values on a rank scale."""
    return Learned("gaussian_process", GaussianProcess(seed=seed), encoding, scores)


class GaussianProcess(Predictor):
    """A Gaussian process with a Matern 3/2 kernel over standardised features.

    The squared distance is a weighted sum over blocks of features; weights, variance and noise maximise the marginal
    likelihood times a log-normal prior (Rasmussen, Williams 2006, chapter 5). The values are first brought to a scale
    of ranks and values (`Scale`).

    Args:
        space, encoding, seed: see `Predictor`.
        widths: of the blocks, in the order of the columns; those of the encoding, or one block, if None.
    """

    def __init__(
        self,
        space: Space | None = None,
        encoding: str | None = None,
        widths: tuple[int, ...] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(space, encoding, seed)
        self.widths = widths

    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        self.scale_ = Scale(y)
        rows = sample(len(y), MOST, self.seed)
        self.process_ = Process(matrix[rows], self.scale_.up(y[rows]), block_widths(self, matrix), self.seed)

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, std = self.process_.predict(matrix)
        return on_the_values(self.scale_, mean, std)


def sample(count: int, most: int, seed: int) -> np.ndarray:
    """So many places of a longer list, at random; all of a shorter one."""
    if count <= most:
        return np.arange(count)
    return np.sort(stream(seed, "gaussian process").permutation(count)[:most])


def on_the_values(scale: Scale, mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation on the scale of the values; the latter is half of what lies one deviation around."""
    return scale.down(mean), (scale.down(mean + std) - scale.down(mean - std)) / 2


class Process:
    """The process itself, on targets z of about unit variance.

    Features are standardised first, or, where not `scaled`, taken as they are: all of one unit, and one that is the
    same for all samples tells those apart that come later.
    """

    def __init__(
        self, matrix: np.ndarray, z: np.ndarray, widths: tuple[int, ...], seed: int = 0, *, scaled: bool = True
    ) -> None:
        self.middle, spread = matrix.mean(axis=0), matrix.std(axis=0)
        self.centre, self.unit = float(z.mean()), float(z.std())
        target = (z - self.centre) / self.unit
        # A feature that is constant here says nothing, and would be blown up elsewhere.
        known = spread > 1e-9
        self.stretch = np.where(known, 1 / np.maximum(spread, 1e-9), 0.0) if scaled else np.ones(len(spread))
        cuts = np.cumsum(widths)[:-1]
        blocks = np.split((matrix - self.middle) * self.stretch, cuts, axis=1)
        used = [place for place, some in enumerate(np.split(known, cuts)) if some.any()] or [0]
        rows = sample(len(z), LEARNED_FROM, seed)
        distances = np.stack([squared(blocks[place][rows], blocks[place][rows]) for place in used])
        typical = np.maximum(distances.mean(axis=(1, 2)), 1e-12) * len(used)
        theta = _most_likely(distances / typical[:, None, None], target[rows])
        weights = np.zeros(len(widths))
        weights[used] = np.exp(theta[:-3] + theta[-3]) / typical
        self.stretch = self.stretch * np.sqrt(np.repeat(weights, widths))
        self.variance, noise = np.exp(theta[-2:])
        self.known = (matrix - self.middle) * self.stretch
        kernel = self.variance * matern(squared(self.known, self.known))[0]
        self.factor = cholesky(kernel + (noise + 1e-6) * np.eye(len(z)), lower=True)
        self.weights = cho_solve((self.factor, True), target)
        self.noise = float(noise)

    def predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (noise included) of each row."""
        mean, variance = np.empty(len(matrix)), np.empty(len(matrix))
        for start in range(0, len(matrix), 4096):
            rows = slice(start, start + 4096)
            distances = squared((matrix[rows] - self.middle) * self.stretch, self.known)
            kernel = self.variance * matern(distances)[0]
            mean[rows] = kernel @ self.weights
            solved = solve_triangular(self.factor, kernel.T, lower=True, check_finite=False)
            variance[rows] = self.variance + self.noise - (solved**2).sum(axis=0)
        return mean * self.unit + self.centre, np.sqrt(np.maximum(variance, 1e-9)) * self.unit

    def left_out(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the process would have said of each training sample without it (Rasmussen, Williams 2006, 5.4.2)."""
        precision = np.diag(cho_solve((self.factor, True), np.eye(len(z))))
        return z - self.weights / precision * self.unit, np.sqrt(1 / precision) * self.unit


def squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of all rows: (n, m)."""
    distances = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * a @ b.T
    return np.asarray(np.maximum(distances, 0, out=distances))


def matern(distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Matern 3/2 kernel of squared distances, and its derivative by them."""
    root = np.sqrt(3 * distances)
    decay = np.exp(-root)
    return np.asarray((1 + root) * decay), np.asarray(-1.5 * decay)


def _most_likely(distances: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Logarithms of: a weight a block, a factor on all weights, the variance, the noise variance."""
    blocks, n = len(distances), len(target)
    mean = np.concatenate([np.full(blocks, PRIOR_MEAN[0]), PRIOR_MEAN[1:]])
    std = np.concatenate([np.full(blocks, PRIOR_STD[0]), PRIOR_STD[1:]])
    # All matrices are symmetric and distances are zero on the diagonal: half of each is enough.
    above, below = np.triu_indices(n, 1)
    half = np.ascontiguousarray(distances[:, above, below])
    covariance = np.zeros((n, n), order="F")

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        if np.abs(theta).max() > LARGEST:
            return 1e12, np.zeros_like(theta)
        weights = np.exp(theta[:blocks] + theta[-3])
        variance, noise = np.exp(theta[-2:])
        kernel, slope = matern(weights @ half)
        covariance[above, below] = variance * kernel
        np.fill_diagonal(covariance, variance + noise + 1e-6)
        factor, failed = dpotrf(covariance, lower=0)
        if failed:
            return 1e12, np.zeros_like(theta)
        solved = cho_solve((factor, False), target, check_finite=False)
        inverse = dpotri(factor, lower=0)[0]
        pull = solved[above] * solved[below] - inverse[above, below]
        trace = float(solved @ solved - np.trace(inverse))
        gradient = np.empty_like(theta)
        gradient[:blocks] = -variance * weights * (half @ (pull * slope))
        gradient[-3] = gradient[:blocks].sum()
        gradient[-2] = -0.5 * variance * (2 * float(pull @ kernel) + trace)
        gradient[-1] = -0.5 * noise * trace
        off = (theta - mean) / std
        value = 0.5 * target @ solved + np.log(np.diag(factor)).sum() + 0.5 * off @ off
        return float(value), gradient + off / std

    return np.asarray(minimize(loss, mean, jac=True, method="L-BFGS-B", options={"maxiter": 60}).x)
