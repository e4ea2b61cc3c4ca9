"""The search of KNAS: candidates by the kernel of their gradients, the winner by a short training."""

from __future__ import annotations

from archscout.core.registry import register
from archscout.methods.training_free import BestOf


@register("method", "knas")
class KNAS(BestOf):
    """KNAS: of 300 random architectures the 40 best by `knas` are trained briefly, and the best of those in full.

    It is among the training-free systems, but trains 40 networks.

    Source: Xu et al. 2021, "KNAS: Green Neural Architecture Search", arXiv 2111.13293. Their code trains the 40 for 20
    of 200 epochs, here for a tenth of the search's epochs, and scores by `knas_code` (`score=knas_code`), which is not
    what the paper describes.

    Args:
        samples: architectures that are scored.
        keep: how many of them are trained briefly, as far as the budget pays for it.
        finalists: see `archscout.methods.training_free.TrainingFree`.
        score: the estimator, perhaps with parameters.
    """

    def __init__(self, samples: int = 300, keep: int = 40, finalists: int = 1, score: str = "knas") -> None:
        super().__init__([score], samples, keep, finalists)
        self.name = "knas"
