"""How differently a network at initialisation sees the examples of a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from archscout.core.errors import UndefinedScore
from archscout.core.registry import register
from archscout.estimators.zero_cost.harness import Score, Subject, check_batch
from archscout.estimators.zero_cost.watching import Watcher

_CHUNK = 2**22
"""Codes compared at once: sums of so many ones are exact in float32."""


class GateKernel(Watcher):
    """For each pair of examples, how many rectifiers are open for both or closed for both.

    With codes x (1 where a rectifier is open) and P = x x^T, that number is units - P_ii - P_jj + 2 P_ij: one product.
    """

    def __init__(self) -> None:
        self.units = 0
        """Rectifiers, each place of a feature map counted."""
        self._products: Tensor | None = None

    def gate(self, x: Tensor) -> None:
        open_ = (x > 0).flatten(1)
        self.units += open_.shape[1]
        for part in open_.split(_CHUNK, dim=1):  # type: ignore[no-untyped-call]
            codes = part.float()
            product = (codes @ codes.T).double()
            self._products = product if self._products is None else self._products + product

    def kernel(self) -> Tensor:
        """N x N, float64, whole numbers. Raises `UndefinedScore` for a network without rectifiers."""
        if self._products is None:
            raise UndefinedScore("the network has no rectifier")
        counts = self._products.diagonal()
        return self.units - counts[:, None] - counts + 2 * self._products


@register("estimator", "naswot")
class Naswot(Score):
    """NASWOT: log-determinant of how many ReLUs treat two examples alike (1 forward pass, no labels).

    score = log |det K|, K_ij = number of ReLU units (each place of a feature map counts) that are on for both examples
    i and j or off for both. Higher is better: the network tells the examples apart before it has learnt
    anything.

    Source: Mellor, Turner, Storkey, Crowley 2021, "Neural Architecture Search without Training", arXiv 2006.04647.

    The original code looks at `nn.ReLU` modules alone, adds up x x^T + (1-x)(1-x)^T (the same numbers from two
    products), and runs a backward pass first, to leave out ReLUs on dead branches; our spaces do not build dead
    branches. Here other rectifiers (ReLU6, leaky and parametric ReLU, ELU, GELU, SiLU, h-swish, Mish) count as well,
    for spaces in which the activation is a choice, and so do ReLUs that are function calls. Where K is singular (two
    examples with one code, fewer units than examples) the original gives -infinity or noise; here the score is
    undefined.

    Args:
        batch: examples; the original's 128 by default.
    """

    needs = frozenset({"inputs"})
    watches = (GateKernel,)

    def __init__(self, batch: int = 128) -> None:
        self.name = "naswot"
        self.batch = check_batch(batch, self.name)

    def score(self, subject: Subject) -> float:
        return log_determinant(subject.watched(GateKernel, self.batch).kernel())


def log_determinant(kernel: Tensor) -> float:
    """Of a positive definite matrix (N x N, float64). Raises `UndefinedScore` for one that is singular to rounding."""
    factor, failed = torch.linalg.cholesky_ex(kernel)
    pivots = factor.diagonal() ** 2
    rounding = len(kernel) * torch.finfo(kernel.dtype).eps * kernel.diagonal().max()
    if int(failed) or not bool((pivots > rounding).all()):
        raise UndefinedScore("the kernel is singular: the network sees two examples alike")
    return float(pivots.log().sum())
