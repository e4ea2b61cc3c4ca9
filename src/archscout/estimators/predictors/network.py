"""What predictors that are small neural networks have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.space import Space
from archscout.estimators.predictors.base import Predictor, block_widths
from archscout.estimators.predictors.training import Schedule, randomness, train

CHUNK = 2048
"""Architectures that are predicted at once."""

Inputs = tuple[Tensor, ...]


class Network(Predictor):
    """A small network over standardised values, trained by the one loop of `archscout.estimators.predictors.training`.

    A subclass says how long it is trained (`schedule`), what it is (`_build`), what it sees (`_inputs`) and, where that
    is not the squared error, what it is trained for (`_loss`). It runs on the processor, in single precision.

    Args:
        space, encoding, seed: see `Predictor`.
        widths: of the blocks of columns; those of the encoding, or one block, if None.
        epochs: of training; those of the published setting if None.
    """

    schedule: ClassVar[Schedule]

    def __init__(
        self,
        space: Space | None = None,
        encoding: str | None = None,
        widths: tuple[int, ...] | None = None,
        epochs: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(space, encoding, seed)
        self.widths, self.epochs = widths, epochs

    @abstractmethod
    def _build(self, inputs: Inputs) -> nn.Module:
        """The network, with random weights, for inputs of this shape."""

    def _inputs(self, matrix: np.ndarray) -> Inputs:
        """What the network sees of architectures: tensors with one entry an architecture first."""
        return (torch.from_numpy(matrix.astype(np.float32)),)

    def _loss(self, network: nn.Module, inputs: Inputs, target: Tensor) -> Tensor:
        """Of a batch; target is standardised."""
        return nn.functional.mse_loss(network(*inputs), target)

    def _how(self) -> Schedule:
        """The schedule, with the parameters of this predictor."""
        return self.schedule if self.epochs is None else replace(self.schedule, epochs=self.epochs)

    def _fit(self, matrix: np.ndarray, y: np.ndarray) -> None:
        self.blocks_ = block_widths(self, matrix)
        self._prepare(matrix)
        inputs, target = self._inputs(matrix), self._standardised(y)
        with randomness(self.seed, type(self).__name__) as rng:
            self.network_ = self._build(inputs)
            self._train(inputs, target, rng)

    def _prepare(self, matrix: np.ndarray) -> None:
        """Note what `_inputs` needs to know of the training samples."""

    def _standardised(self, y: np.ndarray) -> Tensor:
        self.centre_, self.unit_ = float(y.mean()), float(y.std())
        self.slope_, self.offset_ = 1.0, 0.0
        return torch.from_numpy(((y - self.centre_) / self.unit_).astype(np.float32))

    def _train(self, inputs: Inputs, target: Tensor, rng: np.random.Generator) -> None:
        def loss(rows: Tensor) -> Tensor:
            return self._loss(self.network_, tuple(part[rows] for part in inputs), target[rows])

        train(self.network_, loss, len(target), self._how(), rng)

    def _score(self, outputs: np.ndarray) -> np.ndarray:
        """Of the outputs (N, ...) what orders architectures: (N,)."""
        return outputs

    @torch.no_grad()
    def _level(self, inputs: Inputs) -> None:
        """Bring what was trained to order only to the mean and the deviation of the values learned from."""
        said = self._score(self.network_(*inputs).numpy())
        self.slope_ = 1 / (float(said.std()) or 1.0)
        self.offset_ = -float(said.mean()) * self.slope_

    @torch.no_grad()
    def _outputs(self, matrix: np.ndarray) -> np.ndarray:
        """What the network says of each row: float64, (N, ...); of rows that are alike, once."""
        self.network_.eval()
        rows, places = np.unique(matrix, axis=0, return_inverse=True)
        said = [self.network_(*inputs) for inputs in self._chunks(rows)]
        return torch.cat(said).numpy().astype(np.float64)[places.ravel()]

    def _chunks(self, matrix: np.ndarray) -> Iterator[Inputs]:
        for start in range(0, len(matrix), CHUNK):
            yield self._inputs(matrix[start : start + CHUNK])

    def _predict(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = (self._score(self._outputs(matrix)) * self.slope_ + self.offset_) * self.unit_ + self.centre_
        return mean, np.full(len(mean), np.nan)
