"""Pruning of a supernet by how well it trains and how many regions it cuts its inputs into."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Sequence
from functools import partial

import torch

from archscout.core.architecture import Architecture
from archscout.core.choice import Option
from archscout.core.errors import UndefinedScore, UsageError
from archscout.core.estimator import Setting
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.core.seeds import derive
from archscout.core.space import Space
from archscout.core.task import Task
from archscout.estimators.zero_cost.harness import Batch, draw, prepared
from archscout.estimators.zero_cost.kernel import eigenvalues, gram
from archscout.estimators.zero_cost.te_nas_regions import NETWORKS, region_space, regions
from archscout.estimators.zero_cost.teg_mse import regression_error
from archscout.methods.pruning import Live, Pair, by_loss, gates, preferred, prune
from archscout.methods.training_free import TrainingFree, setting_of, time_for_search, whole
from archscout.methods.weight_sharing import one_thread
from archscout.spaces.thin import thin
from archscout.supernets.distributions import is_product
from archscout.supernets.evaluate import mixable
from archscout.supernets.supernet import Supernet

WORST = 1e6
"""The condition number of a kernel that is singular to the rounding of float32."""


@register("method", "te_nas")
class TENAS(TrainingFree):
    """TE-NAS: prunes a supernet by condition number and linear regions (Chen, Gong, Wang 2021, arXiv 2102.11535).

    All options but `none` of every choice are live at first, mixed with equal weights. In each round the supernet is
    measured without each live option in turn: the condition number of its tangent kernel (a thin network, 3 channels
    and 1 cell a stage) and the number of its linear regions (one cell of 1 channel, inputs of 3 x 3). Of each choice
    the `number` options go without which the first falls most and the second falls least, by the sum of both ranks,
    until one is left; in cells of DARTS then all but two edges of each node. On NAS-Bench-201 these are 54 candidates
    in 3 rounds.

    Their code names an initialisation that it does not know and so keeps PyTorch's, as here; its "repeats" then differ
    by examples alone, where here the weights are drawn anew, the same for all candidates of a repeat. A kernel that is
    singular to rounding counts as 10^6 there is (100,000 for what is no number, and what rounding gives, in the code).

    Where the pick breaks a limit, the architecture that does not and whose options went latest takes its place. Where a
    budget in time does not pay for all this, there are fewer repeats, and then more options go in a round.

    Args:
        number: options that are taken from a choice in a round; published: 1 for NAS-Bench-201, 3 for DARTS.
        batch: examples of the kernel; published: 72 for NAS-Bench-201, 14 for DARTS.
        repeats: draws of weights and examples.
        finalists: see `archscout.methods.training_free.TrainingFree`.
        network: where regions are counted, `cell` or `thin`: see the estimator `te_nas_regions`.
        generalisation: whether the error of kernel regression counts too, as in TEG-NAS (see the estimator `teg_mse`).
    """

    def __init__(
        self,
        number: int = 1,
        batch: int = 72,
        repeats: int = 3,
        finalists: int = 1,
        network: str = "cell",
        generalisation: bool = False,
    ) -> None:
        super().__init__(finalists)
        self.name = "te_nas"
        self.number, self.batch = whole(number, "number"), whole(batch, "batch")
        self.repeats = whole(repeats, "repeats")
        if network not in NETWORKS:
            raise UsageError(f"the network of method '{self.name}' is cell or thin, not '{network}'.")
        if not isinstance(generalisation, bool):
            raise UsageError(f"generalisation of method '{self.name}' is true or false, not {generalisation!r}.")
        self.network, self.generalisation = network, generalisation

    def find(self, run: Run) -> list[Architecture]:
        live: Live = {c.name: [option for option in c.options if option != "none"] for c in run.space.choices}
        with one_thread():
            measure = Indicators(
                run, self.name, self.batch, self.repeats, network=self.network, generalisation=self.generalisation
            )
            measure.repeats, number = self._plan(run, live, measure)
            left, went = prune(live, measure, number=number)
            for names, most in run.space.incoming():
                left = _best_edges(left, names, most, measure)
        survived: dict[Pair, float] = {pair: float(when) for pair, when in went.items()}
        last = 1.0 + max(survived.values(), default=0.0)
        survived |= {(choice, option): last for choice, options in left.items() for option in options}
        run.note("pruning", {"rounds": int(last) - 1, "measured": measure.count})
        pick = run.space.architecture({choice: (options or ["none"])[0] for choice, options in left.items()})
        return preferred(run, survived, pick)

    def _plan(self, run: Run, live: Live, measure: Indicators) -> tuple[int, int]:
        """Repeats and options a round: as asked for, or as near as the time for the search pays for.

        Raises `UsageError` where it pays for no pruning at all.
        """
        until = time_for_search(run)
        if until is None:
            return self.repeats, self.number
        most = max(map(len, live.values()))
        plans = [(repeats, self.number) for repeats in range(self.repeats, 0, -1)]
        plans += [(1, number) for number in range(self.number + 1, most)]

        def decide() -> list[int] | None:
            before = run.seconds_left()
            measure.once(live)
            each = before - run.seconds_left()
            for repeats, number in plans:
                if repeats * measurements(live, number) * each <= run.seconds_left() - until:
                    return [repeats, number]
            return None

        plan = run.decide("pruning plan", decide)
        if plan is None:
            raise UsageError(
                f"the budget does not pay for pruning the supernet of space '{run.space.name}' by method '{self.name}' "
                f"({measurements(live, most - 1)} measurements at least): give more, or a smaller batch."
            )
        return int(plan[0]), int(plan[1])


def measurements(live: Live, number: int) -> int:
    """How many supernets are measured until one option a choice is left."""
    sizes, count = [len(options) for options in live.values()], 0
    while max(sizes) > 1:
        count += 1 + sum(size for size in sizes if size > 1)
        sizes = [max(1, size - number) for size in sizes]
    return count


class Indicators:
    """Of a supernet with what is live: its condition number and minus its linear regions, in each repeat.

    With `generalisation` also the error of kernel regression, by labels. What is measured is kept in the run, so that a
    resumed search does not measure it again.
    """

    def __init__(
        self,
        run: Run,
        name: str,
        batch: int,
        repeats: int,
        *,
        network: str = "cell",
        generalisation: bool = False,
    ) -> None:
        self.network, self.generalisation = network, generalisation
        self.run, self.batch, self.repeats = run, batch, repeats
        self.setting = setting_of(run, name)
        self.count = 0
        self._made: dict[Hashable, Supernet] = {}
        self._drawn: dict[tuple[int, int], Batch] = {}
        if not (is_product(run.space) or run.space.incoming()) or not mixable(self._supernet(0)):
            raise UsageError(
                f"method '{name}' mixes options, and choices of space '{run.space.name}' decide what is connected to "
                "what: take teg_nas, naswot or az_nas."
            )

    def __call__(self, live: Live) -> list[list[float]]:
        text = json.dumps({choice: [str(option) for option in options] for choice, options in live.items()})
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.run.show("pruning", self.count)
        self.count += 1
        indicators: list[list[float]] = self.run.decide(f"indicators {digest}", lambda: self._measure(live))
        return indicators

    def once(self, live: Live) -> None:
        """One repeat, to see how long it takes."""
        self._condition(live, 0)
        self._regions(live, 0)
        if self.generalisation:
            self._error(live, 0)

    def _measure(self, live: Live) -> list[list[float]]:
        numbers = range(self.repeats)
        indicators = [[self._condition(live, n) for n in numbers], [-self._regions(live, n) for n in numbers]]
        if self.generalisation:
            indicators.append([self._error(live, n) for n in numbers])
        return indicators

    def _condition(self, live: Live, number: int) -> float:
        supernet = self._supernet(number)
        x, _ = self._inputs(self.batch, number)
        try:
            spectrum = eigenvalues(gram(supernet.gate(gates(supernet.space.choices, live)), x))
        except UndefinedScore:
            return WORST
        return min(WORST, float(spectrum[-1] / spectrum[0]))

    def _error(self, live: Live, number: int) -> float:
        seen, unseen = self._inputs(self.batch, 2 * number), self._inputs(self.batch, 2 * number + 1)
        supernet = self._supernet(number)
        try:
            return regression_error(
                supernet.gate(gates(supernet.space.choices, live)), seen, unseen, self.setting.task.outputs
            )
        except UndefinedScore:
            return WORST

    def _regions(self, live: Live, number: int) -> float:
        space = region_space(self.setting.space, self.network)

        def make(task: Task) -> Supernet:
            supernet = self._once(
                ("regions", task.input_shape, number), partial(_built, space, task, self.setting, number)
            )
            return supernet.gate(gates(space.choices, live))

        return regions(self.setting, number, make, self._inputs)

    def _supernet(self, number: int) -> Supernet:
        return self._once(number, partial(supernet, self.setting, 3, number))

    def _once(self, key: Hashable, make: Callable[[], Supernet]) -> Supernet:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _inputs(self, size: int, part: int) -> Batch:
        if (size, part) not in self._drawn:
            self._drawn[size, part] = draw(self.setting, size, part)
        return self._drawn[size, part]


def supernet(setting: Setting, width: int, number: int) -> Supernet:
    """The small supernet whose kernel is measured, freshly initialised for this repeat."""
    return _built(thin(setting.space, width=width, cells=1, layers=2), setting.task, setting, number)


def _built(space: Space, task: Task, setting: Setting, number: int) -> Supernet:
    supernet = Supernet(space, task, seed=derive(setting.seed, "te_nas", number)).to(setting.device)
    # With so few channels, channels last is the slower layout.
    return prepared(supernet).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]


def _best_edges(
    left: dict[str, list[Option]], names: Sequence[str], most: int, measure: Indicators
) -> dict[str, list[Option]]:
    """Without all but those edges into a node, at `most` so many, that are missed most."""
    edges: list[Pair] = [(name, option) for name in names for option in left[name]]
    gone = by_loss(left, edges, measure)[:-most] if len(edges) > most else []
    return left | {name: [] for name, _ in gone}
