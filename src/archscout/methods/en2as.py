"""Single paths chosen for being new, then evolution on inherited weights."""

from __future__ import annotations

from archscout.core.architecture import Architecture
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, check, evolved, inherited
from archscout.supernets.novelty import Archive, Novelty, novel
from archscout.supernets.phases import Phase, Trained
from archscout.supernets.supernet import Supernet


@register("method", "en2as")
class EN2AS(WeightSharing):
    """EN2AS: trains the paths that differ most from an archive, then evolves (Zhang et al. 2019, arXiv 1907.09109).

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        archive: architectures that novelty is measured against (published: 1,000).
        evaluations: architectures that evolution scores.
    """

    learns = "samples"

    def __init__(
        self, steps: int = 4000, batch: int = 64, finalists: int = 3, archive: int = 200, evaluations: int = 1000
    ) -> None:
        super().__init__(steps, batch, finalists)
        check("en2as", archive=archive, evaluations=evaluations)
        self.name = "en2as"
        self.archive, self.evaluations = archive, evaluations

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        return [
            Phase(
                plan=novel,
                update=Novelty(),
                convert=lambda distribution: Archive(run.space, self.archive, run.rng("archive")),
                name="novel paths",
            )
        ]

    def derive(self, run: Run, supernet: Supernet, trained: Trained) -> list[Architecture]:
        return evolved(run, inherited(run, supernet), self.finalists, self.evaluations)
