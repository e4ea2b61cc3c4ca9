"""How many directions the activations of a network span."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch
from archscout.estimators.zero_cost.watching import Watcher

_ACTIVATIONS = tuple(getattr(nn, name) for name in nn.modules.activation.__all__)


class _Ranks(Watcher):
    """The sum of effective ranks."""

    def __init__(self) -> None:
        self.total = 0.0
        self.modules = 0

    def module(self, module: nn.Module, y: Tensor) -> None:
        if not hasattr(module, "weight") and not isinstance(module, _ACTIVATIONS):
            return
        channels = 1 if y.ndim in (3, 4, 5) and not isinstance(module, nn.Linear) else y.ndim - 1
        columns = y.shape[channels]
        # As many rows as columns: the places of the first examples.
        examples = -(-columns * columns // max(1, y[0].numel()))
        rows = y[:examples].movedim(channels, -1).reshape(-1, columns)[:columns].double()
        self.total += effective_rank(rows)
        self.modules += 1


@register("estimator", "near")
class Near(Score):
    """NEAR: sum over layers of the effective rank of their activations (1 forward pass, no labels).

    score = sum over modules with weights and activation modules of exp(H), H the entropy of the singular values of the
    matrix places x channels of what the module returns, cut to a square and normalised to the sum 1.

    Source: Husistein, Reiher, Eckhoff 2024, "NEAR: A Training-Free Pre-Estimator of Machine Learning Model
    Performance", arXiv 2408.08776. Activations that a user's code calls as functions count as modules do, which
    their code does not see. They average over initialisations: average over seeds.

    Args:
        batch: examples, of which as many are used as make the matrix square.
    """

    needs = frozenset({"inputs"})
    watches = (_Ranks,)

    def __init__(self, batch: int = 64) -> None:
        self.name = "near"
        self.batch = check_batch(batch, self.name)

    def score(self, subject: Subject) -> float:
        ranks = subject.watched(_Ranks, self.batch)
        if not ranks.modules:
            raise UndefinedScore("the network has no modules with weights or activations")
        return ranks.total


def effective_rank(rows: Tensor) -> float:
    """exp of the entropy of the normalised singular values (Roy, Vetterli 2007); 0 for a matrix of zeros."""
    values = torch.linalg.svdvals(rows)
    total = values.sum()
    if not float(total) > 0:
        return 0.0
    shares = values / total
    return float(torch.special.entr(shares).sum().exp())
