"""Once for all: a large network is trained, and then more and more of its smaller ones with it."""

from __future__ import annotations

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, check, evolved, inherited
from archscout.networks.elastic import ElasticConv2d
from archscout.supernets.distributions import Distribution
from archscout.supernets.extent import kinds
from archscout.supernets.phases import Phase, Trained
from archscout.supernets.plans import Progressive
from archscout.supernets.resolution import AtSizes
from archscout.supernets.sorting import sort_channels
from archscout.supernets.supernet import Supernet
from archscout.supernets.taught import Taught, TaughtSupernet
from archscout.supernets.terms import Mean, Objective

RATE = 0.05
"""The learning rate of the largest network, of which later phases take a share."""

SMALLEST_SIZE = 0.6
"""Of the input's side: the smallest that is trained where there are several (as 128 of 224 pixels)."""


@register("method", "ofa")
class OFA(WeightSharing):
    """OFA: progressive shrinking: kernels, then depths, then widths are opened (Cai et al. 2020, arXiv 1908.09791).

    The largest network is trained first and is the teacher of all others from then on. Smaller kernels are made of
    larger ones by trained matrices; before widths are opened, channels are sorted by the L1 norm of what reads them.
    Depths and widths are opened in two stages each, of the two largest options and of all; a step trains 1, 2 and 4
    networks while kernels, depths and widths are opened. Choices of operations are open as soon as kernels are. Shares
    of steps are the published ones; rates of the later phases are higher, for these trainings are short.

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        resolutions: how many sizes of images are trained at, evenly from 0.6 of the side to all of it.
        evaluations: architectures that evolution scores.
    """

    learns = "samples"

    def __init__(
        self, steps: int = 2000, batch: int = 64, finalists: int = 3, resolutions: int = 1, evaluations: int = 500
    ) -> None:
        super().__init__(steps, batch, finalists)
        check("ofa", evaluations=evaluations)
        if type(resolutions) is not int or resolutions < 1:
            raise UsageError(f"the resolutions of ofa must be a whole number above zero, not {resolutions!r}.")
        self.name = "ofa"
        self.resolutions, self.evaluations = resolutions, evaluations

    def supernet(self, run: Run, seed: int) -> TaughtSupernet:
        supernet = TaughtSupernet(run.space, run.task, seed=seed)
        for module in supernet.network.modules():
            if isinstance(module, ElasticConv2d):
                module.learn_kernels()
        return supernet

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        assert isinstance(supernet, TaughtSupernet)

        def begin(distribution: Distribution) -> Distribution:
            supernet.keep()
            return distribution

        def sort(distribution: Distribution) -> Distribution:
            sort_channels(supernet)
            return distribution

        present, taught = set(kinds(supernet).values()), self._at_sizes(run, Taught())
        kernels: dict[str, int | None] = {"kernel": None, "operation": None}
        depths, widths = {**kernels, "depth": 2}, {**kernels, "depth": None, "width": 2}
        all_depths, everything = {**kernels, "depth": None}, {**kernels, "depth": None, "width": None}
        phases = [
            Phase(180, Progressive(1, {}), self._at_sizes(run, Mean()), rate=(RATE, 0.02 * RATE), name="largest"),
            Phase(120, Progressive(1, kernels), taught, rate=(0.5 * RATE, 0.02 * RATE), convert=begin, name="kernels"),
        ]
        if "depth" in present:
            phases += [
                Phase(25, Progressive(2, depths), taught, rate=(0.15 * RATE, 0.01 * RATE), name="two depths"),
                Phase(120, Progressive(2, all_depths), taught, rate=(0.3 * RATE, 0.01 * RATE), name="depths"),
            ]
        if "width" in present:
            first = Progressive(4, widths)
            phases += [
                Phase(25, first, taught, rate=(0.15 * RATE, 0.01 * RATE), convert=sort, name="two widths"),
                Phase(120, Progressive(4, everything), taught, rate=(0.3 * RATE, 0.01 * RATE), name="widths"),
            ]
        return phases

    def derive(self, run: Run, supernet: Supernet, trained: Trained) -> list[Architecture]:
        return evolved(run, inherited(run, supernet), self.finalists, self.evaluations)

    def _at_sizes(self, run: Run, objective: Objective) -> Objective:
        if self.resolutions == 1:
            return objective
        shape = run.task.input_shape
        if len(shape) != 3:
            raise UsageError(f"inputs of task '{run.task.name}' have no height and width: leave resolutions at 1.")
        shares = [
            SMALLEST_SIZE + (1 - SMALLEST_SIZE) * number / (self.resolutions - 1) for number in range(self.resolutions)
        ]
        return AtSizes(objective, [(round(share * shape[1]), round(share * shape[2])) for share in shares])
