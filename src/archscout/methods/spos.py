"""Single-path one-shot search: train single paths, then evolve on inherited weights."""

from __future__ import annotations

from archscout.core.architecture import Architecture
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, evolved, inherited
from archscout.supernets.phases import Phase, Trained
from archscout.supernets.plans import CostBins, Plan, uniform
from archscout.supernets.supernet import Supernet


@register("method", "spos")
class SPOS(WeightSharing):
    """SPOS: one uniform path a step, then evolution on inherited weights (Guo et al. 2020, arXiv 1904.00420).

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        cost_uniform: whether paths are drawn so that all costs of the first limit are trained equally often.
        evaluations: architectures that evolution scores.
    """

    def __init__(
        self,
        steps: int = 4000,
        batch: int = 64,
        finalists: int = 3,
        cost_uniform: bool = False,
        evaluations: int = 1000,
    ) -> None:
        super().__init__(steps, batch, finalists)
        self.name = "spos"
        self.cost_uniform, self.evaluations = cost_uniform, evaluations

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        plan: Plan = uniform
        if self.cost_uniform and run.constraints:
            rng = run.rng("cost bins")
            pool = [run.space.sample(rng) for _ in range(500)]
            plan = CostBins(pool, [row[run.constraints[0].key] for row in run.screened(pool)])
        return [Phase(plan=plan, name="single paths")]

    def derive(self, run: Run, supernet: Supernet, trained: Trained) -> list[Architecture]:
        return evolved(run, inherited(run, supernet), self.finalists, self.evaluations)
