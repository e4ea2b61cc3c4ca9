"""PruNet: widths by windows of two candidates, while options that do not pay are pruned."""

from __future__ import annotations

from collections.abc import Callable

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.weight_sharing import WeightSharing, adam_rate, check, cost_table
from archscout.supernets.derive import likeliest
from archscout.supernets.distributions import Distribution
from archscout.supernets.extent import by_size, kinds
from archscout.supernets.phases import Phase, Trained
from archscout.supernets.supernet import Supernet
from archscout.supernets.updates import Pathwise
from archscout.supernets.windows import CostedPathwise, Windows, bipath

REACH = 3.0
"""How far a logit can move between two moves of its window."""


@register("method", "prunet")
class PruNet(WeightSharing):
    """PruNet: bi-path windows over widths, blocks and layers pruned as it goes (Kłosek et al. 2022, arXiv 2209.11785).

    Reconstructed from the abstract, for no code is public. A width has two candidates, the larger of which runs with
    the smaller as a mask of it; after each round its window moves towards the more probable one, by half as much once
    it turns back. Of kernels, depths and operations one option runs, drawn; those that have become improbable go, and
    a stage whose depth loses its larger options is that much shorter. The first limit is a cost in the loss.

    Args:
        steps, batch, finalists: see `archscout.methods.weight_sharing.WeightSharing`.
        rounds: of training, between which windows move.
        prune: the share of the most probable option below which another is pruned at the end; it rises from nothing.
        strength: of the cost in the loss, in units of the limit.
        warm_up: the share of the steps in which weights alone are trained.
    """

    learns = "gates"

    def __init__(
        self,
        steps: int = 1500,
        batch: int = 64,
        finalists: int = 3,
        rounds: int = 6,
        prune: float = 0.5,
        strength: float = 1.0,
        warm_up: float = 0.2,
    ) -> None:
        super().__init__(steps, batch, finalists)
        check("prunet", strength=strength)
        if type(rounds) is not int or rounds < 1:
            raise UsageError(f"the rounds of prunet must be a whole number above zero, not {rounds!r}.")
        if not 0 <= prune < 1 or not 0 < warm_up < 1:
            raise UsageError(f"prune and warm_up of prunet lie between 0 and 1, not {prune} and {warm_up}.")
        self.name = "prunet"
        self.rounds, self.prune, self.strength, self.warm_up = rounds, prune, strength, warm_up

    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        kind, options = kinds(supernet), by_size(supernet)
        orders = {name: row for name, row in options.items() if kind[name] == "width"}
        share = (1 - self.warm_up) / self.rounds
        update = self._update(run, max(1, round(steps * share)))

        def begin(distribution: Distribution) -> Distribution:
            return Windows(run.space, orders).to(distribution.logits[0].device)

        phases = [Phase(self.warm_up, bipath, convert=begin, name="warm-up")]
        for number in range(self.rounds):
            convert = _moved(self.prune * number / self.rounds) if number else None
            phases.append(
                Phase(share, bipath, update=update, convert=convert, temperature=(2.0, 0.5), name=f"round {number + 1}")
            )
        return phases

    def _update(self, run: Run, steps: int) -> Pathwise:
        rate = adam_rate(REACH, steps)
        if not run.constraints:
            return Pathwise(bipath, rate, decay=0.0)
        table, constant, target = cost_table(run)
        return CostedPathwise(table, constant, target, self.strength, rate)

    def derive(self, run: Run, supernet: Supernet, trained: Trained) -> list[Architecture]:
        distribution = trained.distribution
        if isinstance(distribution, Windows):
            run.note("windows", {name: [str(o) for o in distribution.window(name)] for name in distribution.orders})
        return likeliest(distribution, run.admit, self.finalists, run.rng("derive"))


def _moved(threshold: float) -> Callable[[Distribution], Distribution]:
    """What happens between rounds."""

    def convert(distribution: Distribution) -> Distribution:
        assert isinstance(distribution, Windows)
        distribution.move()
        distribution.prune(threshold)
        return distribution

    return convert
