"""Pruning of a supernet at initialisation, in one go, by the signal that each operation carries."""

from __future__ import annotations

import math

from archscout.core.architecture import Architecture
from archscout.core.choice import Option
from archscout.core.errors import UndefinedScore, UsageError
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.estimators.zero_cost.freedarts import Saliency, saliency
from archscout.methods.pruning import Pair, preferred
from archscout.methods.training_free import TrainingFree, setting_of
from archscout.methods.weight_sharing import one_thread


@register("method", "freedarts")
class FreeDARTS(TrainingFree):
    """FreeDARTS: of each choice the operation of the highest saliency in the untrained supernet (Zhang et al. 2021).

    Source: arXiv 2106.11542. The saliency is that of the estimator `freedarts`, which says what decides about the
    pick: by default, as in the original code, alphas that are drawn, so that cells vary with the seed. With
    `alphas=one,norm=false` it is the largest network, which `largest` finds without a pass. Cells of DARTS keep for
    each node the two edges whose best operation has the highest saliency, as the rule of DARTS is. (Published variants:
    `freedarts` on 8 cells of 16 channels, or 20 cells, or with images of 224 x 224: sizes of the space and the data.)

    Where the pick breaks a limit, the architecture with the highest product of saliencies that keeps it is taken.

    Args:
        finalists: see `archscout.methods.training_free.TrainingFree`.
        signal: `synflow`, `snip` or `grasp`.
        alphas: `drawn` or `one`.
        norm: whether batch normalisation stays in the supernet.
    """

    def __init__(self, finalists: int = 1, signal: str = "synflow", alphas: str = "drawn", norm: bool = True) -> None:
        super().__init__(finalists)
        self.name = "freedarts"
        self.parameters = Saliency(signal, alphas, norm)

    def find(self, run: Run) -> list[Architecture]:
        try:
            with one_thread():
                table = saliency(setting_of(run, self.name), self.parameters)
        except UndefinedScore as error:
            raise UsageError(
                f"method 'freedarts' cannot search space '{run.space.name}': {error}; take teg_nas or naswot."
            ) from error
        logs = {pair: math.log(s) if s > 0 else -math.inf for pair, s in table.items()}
        best: dict[str, Pair] = {}
        for choice in run.space.choices:
            pairs: list[Pair] = [(choice.name, option) for option in choice.options]
            best[choice.name] = max(pairs, key=lambda pair: logs.get(pair, -math.inf))
        chosen: dict[str, Option] = dict(best.values())
        for edges, most in run.space.incoming():
            for name in sorted(edges, key=lambda name: -logs[best[name]])[most:]:
                chosen[name] = "none"
        known = {pair: value for pair, value in logs.items() if math.isfinite(value)}
        return preferred(run, known, run.space.architecture(chosen))
