"""SemiNAS: the predictor of NAO, which also learns from architectures that it has given a value itself."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from archscout.core.registry import register
from archscout.estimators.predictors.learned import Learned
from archscout.estimators.predictors.nao import NAO
from archscout.estimators.predictors.network import Inputs
from archscout.estimators.predictors.training import train

UP = 10
"""How often a known architecture occurs for each one with a made-up value."""


@register("estimator", "seminas")
def seminas(encoding: str = "default", scores: str = "", seed: int = 0) -> Learned:
    """NAO's predictor, trained on its own predictions too (SemiNAS, Luo et al. 2020, arXiv 2002.10389)."""
    return Learned("seminas", SemiNAS(seed=seed), encoding, scores)


class SemiNAS(NAO):
    """Trained as `NAO`, then again on ten times what is known and as many random architectures with predicted values.

    Without unlabelled architectures it is NAO, trained twice as long. Parameters: see `Network`.
    """

    unlabelled: ClassVar[int] = 1000

    def _train(self, inputs: Inputs, target: Tensor, rng: np.random.Generator) -> None:
        super()._train(inputs, target, rng)
        added = self._inputs(self.pool_[: len(target)])
        with torch.no_grad():
            said = self.network_(*added) if len(added[0]) else target[:0]
        joined = tuple(torch.cat([*[old] * UP, new]) for old, new in zip(inputs, added, strict=True))
        values = torch.cat([*[target] * UP, said])

        def loss(rows: Tensor) -> Tensor:
            return self._loss(self.network_, tuple(part[rows] for part in joined), values[rows])

        train(self.network_, loss, len(values), self._how(), rng)
