"""How correlated the channels of feature maps are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archscout.core.errors import UndefinedScore, UsageError
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject
from archscout.estimators.zero_cost.watching import Watcher, showing


class _LeastEigenvalues(Watcher):
    """The sum over modules of the least eigenvalue of the correlation matrix of an output's channels."""

    def __init__(self) -> None:
        self.total = 0.0
        self.modules = 0

    def module(self, module: nn.Module, y: Tensor) -> None:
        if y.ndim < 2:
            return
        rows = y[0].reshape(len(y[0]), -1).double()
        rows = rows - rows.mean(1, keepdim=True)
        norms = rows.norm(dim=1, keepdim=True)
        rows = torch.where(norms > 0, rows / norms, 0.0)
        self.total += float(torch.linalg.eigvalsh(rows @ rows.T)[0])
        self.modules += 1


@register("estimator", "meco")
class Meco(Score):
    """MeCo: sum over layers of the least eigenvalue of the channels' correlation matrix (1 forward pass, no data).

    score = sum over modules of lambda_min of the C x C Pearson correlation of the channels of its output, each
    flattened, for one random image; entries of constant channels are 0.

    Source: Jiang, Wang, Li, Sun, Zhao, Huang 2023, "MeCo: Zero-Shot NAS with One Data and Single Forward Pass via
    Minimum Eigenvalue of Correlation", NeurIPS. Their code hooks every module, so that what a container returns counts
    again, and two equal networks whose code is nested otherwise get different scores; here modules without parts
    count, once each. A map with fewer places than channels has lambda_min = 0.

    Args:
        size: height and width of the random image, the original's 64 by default.
    """

    def __init__(self, size: int = 64) -> None:
        self.name = "meco"
        if not isinstance(size, int) or size < 1:
            raise UsageError(f"the size of estimator 'meco' must be a whole number above zero, not {size}.")
        self.size = size

    def score(self, subject: Subject) -> float:
        shape = subject.setting.task.input_shape
        shape = (shape[0], self.size, self.size) if len(shape) == 3 else shape
        # Batch normalisation of one example takes its statistics over places; a second, equal one lets vectors through.
        x = subject.normal(1, *shape, keys=("meco",)).expand(2, *shape)
        watcher = _LeastEigenvalues()
        network = subject.network
        try:
            with torch.no_grad(), showing(network, [watcher]):
                network(x)
        except RuntimeError as error:
            raise UndefinedScore(
                f"the network does not take inputs of shape {shape}: name a size it takes, as in meco:size=32"
            ) from error
        if watcher.unknown:
            raise UndefinedScore(watcher.unknown)
        if not watcher.modules:
            raise UndefinedScore("the network has no modules")
        return watcher.total
