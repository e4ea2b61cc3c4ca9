"""Single-path one-shot search: train single paths, then evolve on inherited weights."""

from __future__ import annotations

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError, nearest
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, evolved, inherited
from archscout.supernets.phases import Phase, Trained
from archscout.supernets.plans import CostBins, Plan, fair, uniform
from archscout.supernets.scattered import scattered
from archscout.supernets.supernet import Supernet

PATHS: dict[str, Plan] = {"uniform": uniform, "fair": fair, "scattered": scattered}


@register("method", "spos")
class SPOS(WeightSharing):
    """SPOS: one uniform path a step, then evolution on inherited weights (Guo et al. 2020, arXiv 1904.00420).

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        cost_uniform: whether paths are drawn so that all costs of the first limit are trained equally often.
        evaluations: architectures that evolution scores.
        paths: `uniform`, as published; `fair` (every option in every step) or `scattered` (every example of a batch
            takes its own path), which rank better after as many passes.
    """

    def __init__(
        self,
        steps: int = 4000,
        batch: int = 64,
        finalists: int = 3,
        cost_uniform: bool = False,
        evaluations: int = 1000,
        paths: str = "uniform",
    ) -> None:
        super().__init__(steps, batch, finalists)
        if paths not in PATHS:
            raise UsageError(f"the paths of spos cannot be '{paths}': {nearest(paths, PATHS)}")
        self.name = "spos" if paths == "uniform" else f"spos:paths={paths}"
        self.cost_uniform, self.evaluations, self.paths = cost_uniform, evaluations, paths

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        plan = PATHS[self.paths]
        if self.cost_uniform and run.constraints:
            rng = run.rng("cost bins")
            pool = [run.space.sample(rng) for _ in range(500)]
            plan = CostBins(pool, [row[run.constraints[0].key] for row in run.screened(pool)])
        return [Phase(plan=plan, name="single paths")]

    def derive(self, run: Run, supernet: Supernet, trained: Trained) -> list[Architecture]:
        return evolved(run, inherited(run, supernet), self.finalists, self.evaluations)
