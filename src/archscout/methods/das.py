"""The search of DAS: how well rectifiers tell examples apart, measured again after a fast training."""

from __future__ import annotations

from archscout.core.architecture import Architecture
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.training_free import Scored, TrainingFree, first, whole


@register("method", "das")
class DAS(TrainingFree):
    """DAS: random architectures by `das`, the best again after a fast training (Liu et al. 2022, arXiv 2212.12132).

    It is among the training-free systems, but trains `keep` networks for some steps.

    The abstract tells of a better combination of two parts of the NASWOT score and of a fast training before it is
    measured. Neither formulas nor code were at hand: the score's combination, that only the best by the untrained score
    are trained fast, and the length of that training are a reconstruction.

    Args:
        samples: architectures that are scored untrained.
        keep: how many of the best are scored again after the fast training.
        steps: gradient steps of the fast training.
        batch: examples of the score and of a step.
        finalists: see `archscout.methods.training_free.TrainingFree`.
    """

    def __init__(
        self, samples: int = 100, keep: int = 10, steps: int = 20, batch: int = 128, finalists: int = 1
    ) -> None:
        super().__init__(finalists)
        self.name = "das"
        self.samples, self.keep = whole(samples, "samples"), whole(keep, "keep")
        self.before = f"das:batch={whole(batch, 'batch')}"
        self.after = f"das:batch={batch},steps={whole(steps, 'steps')}"

    def find(self, run: Run) -> list[Architecture]:
        untrained, trained = Scored(run, [self.before]), Scored(run, [self.after])
        untrained.sample(self.samples)
        ranked = untrained.best_first(first(untrained.values))
        trained.extend(ranked, min(self.keep, len(ranked)))
        if not (trained.values > -float("inf")).any():
            return ranked
        best = trained.best_first(first(trained.values))
        return best + [architecture for architecture in ranked if architecture not in best]
