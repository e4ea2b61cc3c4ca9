"""Batch normalisation trained alone, its scales as the score: no validation data is needed to search."""

from __future__ import annotations

from collections.abc import Sequence

from archscout.core.architecture import Architecture
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, check, evolved
from archscout.supernets.derive import norm_score
from archscout.supernets.indicator import Indicator, normalise_everything
from archscout.supernets.phases import Phase, Trained
from archscout.supernets.supernet import Supernet
from archscout.supernets.switched import switch_norms
from archscout.supernets.weights import last_norms, norms_only

EXAMPLES, REFERENCE = 16, 50
"""Of the composite indicator: images that are looked at, and architectures that the others are ranked among."""


@register("method", "bn_nas")
class BNNAS(WeightSharing):
    """BN-NAS: trains the last batch normalisation of each option, and scores by its scales (Chen et al. 2021).

    arXiv 2108.07375. Options without batch normalisation score nothing, which is as published, and a bias. Scales begin
    at 1 and are not decayed. Kernels and expansions that are slices of one tensor get batch normalisation of their own
    for each combination in a block, which is this package's own; widths of stages and depths have no score but that.

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        evaluations: architectures that evolution scores; a fifth as many where `fair`, whose score is dearer.
        fair: whether every operator has batch normalisation, all of it is trained, and a composite indicator is the
            score (see `archscout.supernets.indicator`; Zhu et al. 2021, arXiv 2112.00265).
    """

    def __init__(
        self, steps: int = 400, batch: int = 64, finalists: int = 3, evaluations: int = 1000, fair: bool = False
    ) -> None:
        super().__init__(steps, batch, finalists)
        check("bn_nas", evaluations=evaluations)
        self.name = "bn_nas:fair=true" if fair else "bn_nas"
        self.evaluations, self.fair = evaluations, fair

    def supernet(self, run: Run, seed: int) -> Supernet:
        supernet = super().supernet(run, seed)
        return normalise_everything(supernet) if self.fair else switch_norms(supernet)

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        # Scales are the score: decay would say of each how long it has been trained, not what it is worth.
        weights = norms_only if self.fair else last_norms
        return [Phase(weights=weights, rate=(0.25, 1e-3), decay=0.0, name="batch normalisation")]

    def derive(self, run: Run, supernet: Supernet, trained: Trained) -> list[Architecture]:
        if self.fair:
            rng = run.rng("reference")
            x, _ = run.task.tensors(run.task.valid.head(EXAMPLES), run.device)
            indicator = Indicator(supernet, [run.space.sample(rng) for _ in range(REFERENCE)], x)
            return evolved(run, indicator, self.finalists, max(1, self.evaluations // 5))

        def score(architectures: Sequence[Architecture]) -> list[float]:
            return norm_score(supernet, architectures)

        return evolved(run, score, self.finalists, self.evaluations)
