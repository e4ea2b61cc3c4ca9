"""Single-path one-shot search: train single paths, then evolve on inherited weights."""

from __future__ import annotations

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError, nearest
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, check, evolved, inherited
from archscout.supernets.phases import Phase, Trained
from archscout.supernets.plans import CostBins, Plan, fair, uniform
from archscout.supernets.scattered import grouped, scattered
from archscout.supernets.supernet import Supernet
from archscout.supernets.weights import everything, fixed_backbone

PATHS: dict[str, Plan] = {"uniform": uniform, "fair": fair, "scattered": scattered, "grouped": grouped}


@register("method", "spos")
class SPOS(WeightSharing):
    """SPOS: one uniform path a step, then evolution on inherited weights (Guo et al. 2020, arXiv 1904.00420).

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        cost_uniform: whether paths are drawn so that all costs of the first limit are trained equally often.
        evaluations: architectures that evolution scores.
        paths: `uniform`, as published; `fair` (every option in every step), `scattered` (every example of a batch takes
            its own path) or `grouped` (sixteen examples share one), which rank better after as many passes.
        fixed: whether what every architecture has, such as the stem, keeps its first weights but for normalisation and
            classifier (`archscout.supernets.weights.fixed_backbone`), which in small networks ranks better still.
    """

    def __init__(
        self,
        steps: int = 4000,
        batch: int = 64,
        finalists: int = 3,
        cost_uniform: bool = False,
        evaluations: int = 1000,
        paths: str = "uniform",
        fixed: bool = False,
    ) -> None:
        super().__init__(steps, batch, finalists)
        check("spos", evaluations=evaluations)
        if paths not in PATHS:
            raise UsageError(f"the paths of spos cannot be '{paths}': {nearest(paths, PATHS)}")
        changed = [*([f"paths={paths}"] if paths != "uniform" else []), *(["fixed=true"] if fixed else [])]
        self.name = ":".join(["spos", *([",".join(changed)] if changed else [])])
        self.cost_uniform, self.evaluations, self.paths, self.fixed = cost_uniform, evaluations, paths, fixed

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        plan = PATHS[self.paths]
        if self.cost_uniform and run.constraints:
            rng = run.rng("cost bins")
            pool = [run.space.sample(rng) for _ in range(500)]
            plan = CostBins(pool, [row[run.constraints[0].key] for row in run.screened(pool)])
        weights = fixed_backbone if self.fixed else everything
        return [Phase(plan=plan, weights=weights, name="single paths")]

    def derive(self, run: Run, supernet: Supernet, trained: Trained) -> list[Architecture]:
        return evolved(run, inherited(run, supernet), self.finalists, self.evaluations)
