"""Blocks of a trained network replaced by collapsible ones, where that is quicker and harms least (RAN-explicit:
Bhardwaj et al. 2022, arXiv 2208.08562)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from archscout.backbones.adapted import inner
from archscout.core.architecture import Architecture
from archscout.core.cost import Cost
from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.seeds import stream
from archscout.core.task import Task
from archscout.core.written import significant
from archscout.costs.latency import QUICK, Latency, measure_module
from archscout.deploy.form import form
from archscout.networks.collapsible import CollapsibleBlock, collapse
from archscout.networks.replaceable import Replaceable, maps_of, replaceable
from archscout.shrink.knapsack import choose
from archscout.shrink.limits import measure, measured_here
from archscout.shrink.rating import divergence
from archscout.shrink.record import Record
from archscout.shrink.reduction import CHOOSING
from archscout.spaces.replaced import BLOCK, CONVOLUTION, ReplacedSpace
from archscout.training.objective import Distillation, Objective, Teacher
from archscout.training.recipe import Recipe
from archscout.training.trainer import train

Time = Callable[[nn.Module, tuple[int, ...]], float]
"""Milliseconds of a module on one example of this shape."""

MOST_PATCHES = 20_000
"""Rows of the regression that a replacement begins with, about."""

CALIBRATION = 64
"""Examples on which replacements are rated; they are fitted on four times as many of the training split."""

CANDIDATES, STEPS = 16, 10
"""Sets of blocks that are rated whole before one is chosen, and times that one is chosen and measured."""


@dataclass(frozen=True)
class Candidate:
    """A block that could be replaced.

    Args:
        name: of the module.
        shape: of its input, one example.
        replacement: what stands for it, fitted to it.
        before: milliseconds of the block.
        after: milliseconds of the replacement, collapsed.
        harm: how far the network's answers move, before any training.
    """

    name: str
    shape: tuple[int, ...]
    replacement: CollapsibleBlock
    before: float
    after: float
    harm: float


@dataclass(frozen=True)
class Restructured:
    """A network some blocks of which were replaced: collapsed, with their names and what was told of them."""

    network: nn.Module
    replaced: tuple[str, ...]
    candidates: tuple[Candidate, ...]


@dataclass(eq=False)
class Replacing:
    """Blocks become single convolutions: which, is chosen by what each saves here and by how far the answers move.

    What is trained is wide (`archscout.networks.collapsible`), what is measured and delivered is collapsed.

    Args:
        record: of the run.
        network: whole.
        space: which blocks can be replaced.
        setting: for costs.
        costs: by the text of each limit.
    """

    record: Record
    network: nn.Module
    space: ReplacedSpace
    setting: Setting
    costs: Mapping[str, Cost]
    step = "replaced"

    def smaller(self, architecture: Architecture) -> nn.Module:
        return self._with(self._names(architecture))

    def shipped(self, network: nn.Module) -> nn.Module:
        x, _ = self.record.task.tensors(self.record.task.train.head(8), self.record.device)
        return collapse(network, x)

    def go_on_from(self, architecture: Architecture, network: nn.Module) -> None:
        """Nothing: which blocks are replaced is chosen anew."""

    def choose(self, limits: Mapping[str, float], key: str) -> tuple[Architecture, Mapping[str, Any]]:
        start, clock = self.record.clock(), self.record.clock
        late = start + CHOOSING * max(self.record.left, 0.0)
        report: dict[str, Any] = self.record.once(key, lambda: self._chosen(limits, lambda: clock() < late))
        self.record.phase("choosing what to replace", start)
        return self.space.parse(report["architecture"]), report

    @cached_property
    def fitted(self) -> dict[str, CollapsibleBlock]:
        """What stands for each block."""
        x, _ = self.record.task.tensors(self.record.task.train.head(4 * CALIBRATION), self.record.device)
        return fitted(self.network, x, self.space.blocks, seed=self.record.seed)

    @cached_property
    def harms(self) -> dict[str, float]:
        """Of each block, how far the answers move when it alone is replaced."""

        def rate() -> dict[str, float]:
            harms = {name: self._harm([name]) for name in self.fitted}
            self.record.watch.say(f"{len(harms)} replacements are rated.")
            return harms

        rated: dict[str, float] = self.record.once("rated", rate)
        return rated

    def _with(self, names: Collection[str]) -> nn.Module:
        return replaced(self.network, {name: self.fitted[name] for name in names})

    def _names(self, architecture: Architecture) -> list[str]:
        return [name for name in self.space.blocks if architecture[f"{name}.form"] == CONVOLUTION]

    def _architecture(self, names: Collection[str]) -> Architecture:
        forms = {f"{name}.form": CONVOLUTION if name in names else BLOCK for name in self.space.blocks}
        return self.space.architecture(forms)

    @cached_property
    def _held(self) -> tuple[Tensor, Tensor]:
        """Examples, and what the whole network answers."""
        task = self.record.task
        x, _ = task.tensors((task.valid if len(task.valid) else task.train).head(CALIBRATION), self.record.device)
        with torch.no_grad():
            return x, self.network.eval()(x)

    def _harm(self, names: Collection[str]) -> float:
        x, original = self._held
        with torch.no_grad():
            return divergence(self._with(names).eval()(x), original)

    def _costs(self, names: Collection[str]) -> dict[str, float]:
        """Of the network with these replaced, by the text of each limit; with a margin, for measurements differ."""
        architecture, network = self._architecture(names), self.shipped(self._with(names))
        return {
            text: measure(cost, network, architecture, self.setting, QUICK).at_most / cost.margin
            for text, cost in self.costs.items()
        }

    def _savings(self) -> dict[str, list[np.ndarray]]:
        """By the text of each limit, what the network costs more with each block alone replaced, beside nothing."""
        savings: dict[str, list[np.ndarray]] = {}
        for text, cost in self.costs.items():
            rows = []
            for name, block in self.space.blocks.items():
                if isinstance(cost, Latency) and measured_here(cost):
                    before = _milliseconds(cost, inner(self.network).get_submodule(name), block, self.record.device)
                    after = _milliseconds(cost, self.fitted[name].collapsed(), block, self.record.device)
                else:
                    before = cost.measure(self.space.widest, self.setting).value
                    after = cost.measure(self._architecture([name]), self.setting).value
                rows.append(np.array([0.0, after - before]))
            savings[text] = rows
        return savings

    def _chosen(self, limits: Mapping[str, float], going: Callable[[], bool]) -> dict[str, Any]:
        """What to replace, and how it was rated; while there is time (`going`), more than one set of blocks is."""
        every = tuple(self.space.blocks)
        least, whole = self._costs(every), self._costs(())
        text = max(limits, key=lambda text: least[text] / limits[text])
        if least[text] > limits[text]:
            raise UsageError(
                f"no replacement in this network keeps {text} <= {significant(limits[text], 4)}: with every block "
                f"replaced it has {significant(least[text], 4)}; raise the limit, give smaller images, or cut channels."
            )
        harms = [np.array([0.0, self.harms[name]]) for name in every]
        savings = self._savings()
        for key, rows in savings.items():  # blocks alone are timed otherwise than within the network
            total = sum(float(row[1]) for row in rows)
            factor = (least[key] - whole[key]) / total if total < 0 and least[key] < whole[key] else 1.0
            savings[key] = [factor * row for row in rows]
        room = {text: limit - whole[text] for text, limit in limits.items()}
        rated: dict[tuple[str, ...], float] = {}
        for _ in range(STEPS):
            sets = list(dict.fromkeys(self._sets(harms, savings, room)))
            if not sets:
                break
            for place, names in enumerate(sets):
                if names not in rated and (place == 0 or going()):
                    rated[names] = self._harm(names)
            best = min((names for names in sets if names in rated), key=lambda names: rated[names])
            costs = self._costs(best)
            if all(costs[text] <= limit for text, limit in limits.items()):
                return {"architecture": self._architecture(best).text, "harm": rated[best], "rated": len(rated)}
            for text, limit in limits.items():  # what was saved is less than the sum of the parts
                room[text] -= max(0.0, 1.05 * (costs[text] - limit))
        return {"architecture": self._architecture(every).text, "harm": self._harm(every), "rated": len(rated) + 1}

    def _sets(
        self, harms: Sequence[np.ndarray], savings: Mapping[str, list[np.ndarray]], room: Mapping[str, float]
    ) -> Iterator[tuple[str, ...]]:
        """Blocks to replace: those of least harm by the sum, and by sums with each harm a little different."""
        rng = stream(self.record.seed, "replacement")
        for place in range(CANDIDATES):
            noise = np.exp(rng.normal(0, 0.5, len(harms))) if place else np.ones(len(harms))
            rows = [row * factor for row, factor in zip(harms, noise, strict=True)]
            picked = choose(rows, [savings[text] for text in room], list(room.values()))
            if picked is None:
                return
            yield tuple(name for name, option in zip(self.space.blocks, picked, strict=True) if option)


def restructure(
    network: nn.Module,
    task: Task,
    *,
    share: float,
    epochs: int = 5,
    runtime: str = "onnxruntime",
    calibration: int = CALIBRATION,
    learning_rate: float = 5e-4,
    seed: int = 0,
    time: Time | None = None,
) -> Restructured:
    """Replace blocks until the network takes a share of its time, train it with the original as teacher, collapse it.

    Semi-automatic: which blocks could be replaced is read off one run, what each would save is measured here, and what
    it harms is rated alone; a knapsack chooses. `archscout.shrink(..., replace=True)` is a whole run of it, to limits.

    Args:
        network: trained; it is left as it was.
        task: what is learned from; its validation split chooses the epoch.
        share: of the time that all candidates take together with the rest, above which nothing more is replaced.
        epochs: of training after the replacement.
        runtime: in which blocks are timed.
        calibration: examples to which replacements are fitted; as many others rate them.
        learning_rate: of AdamW.
        seed: of everything random.
        time: in place of measuring in the runtime.

    Raises:
        UsageError: the share lies outside 0 to 1, or no replacement comes down to it.
        ArchscoutError: the collapsed network answers differently.
    """
    if not 0 < share < 1:
        raise UsageError(f"the share of the time must be between 0 and 1, not {share}.")
    timed = time or _measured(runtime)
    x, _ = task.tensors(task.train.head(2 * calibration))
    options = candidates(network, x[:calibration], x[calibration:], timed, seed=seed)
    whole = timed(copy.deepcopy(network).eval(), tuple(x.shape[1:]))
    names = chosen(options, whole, share)
    restructured = replaced(network, {each.name: each.replacement for each in options if each.name in names})
    teacher = Distillation(Teacher(copy.deepcopy(network).eval().requires_grad_(False)))
    recipe = Recipe(epochs=epochs, optimizer="adamw", learning_rate=learning_rate)
    train(restructured, task, recipe, seed=seed, objective=Objective(teacher))
    return Restructured(collapse(restructured, x[:8]), names, tuple(options))


def candidates(network: nn.Module, x: Tensor, held: Tensor, time: Time, *, seed: int = 0) -> list[Candidate]:
    """The blocks that can be replaced (`archscout.networks.replaceable`), each with a replacement fitted to it on `x`,
    timed, and rated on `held`; those that would not be quicker are left out."""
    whole = copy.deepcopy(network).eval()
    with torch.no_grad():
        original = whole(held)
    blocks = replaceable(whole, x)
    options = []
    for name, replacement in fitted(whole, x, blocks, seed=seed).items():
        shape = blocks[name].shape
        times = time(whole.get_submodule(name), shape), time(replacement.collapsed(), shape)
        if times[1] < times[0]:
            with torch.no_grad():
                moved = divergence(replaced(whole, {name: replacement}).eval()(held), original)
            options.append(Candidate(name, shape, replacement, times[0], times[1], moved))
    return options


def fitted(
    network: nn.Module, x: Tensor, blocks: Mapping[str, Replaceable], *, seed: int = 0
) -> dict[str, CollapsibleBlock]:
    """What stands for each block, as near to it on some inputs as a linear block can be."""
    replacements = {}
    for name, (before, after) in maps_of(network, x, inner(network), blocks, MOST_PATCHES).items():
        replacements[name] = blocks[name].replacement(seed).to(before.device)
        replacements[name].fit(before, after)
    return replacements


def chosen(candidates: Sequence[Candidate], whole: float, share: float) -> tuple[str, ...]:
    """The candidates to replace: the least harm for which the network takes at most a share of its time.

    Args:
        candidates: with their times.
        whole: milliseconds of the network.
        share: see above.

    Raises:
        UsageError: with all of them replaced it still takes more.
    """
    harms = [np.array([0.0, each.harm]) for each in candidates]
    costs = [np.array([0.0, each.after - each.before]) for each in candidates]
    picked = choose(harms, [costs], [(share - 1) * whole])
    if picked is None:
        least = (whole + sum(float(cost[1]) for cost in costs)) / whole
        raise UsageError(
            f"with every block replaced that would be quicker, {significant(least, 2)} of the time is left: ask for no "
            "smaller share."
        )
    return tuple(each.name for each, option in zip(candidates, picked, strict=True) if option)


def replaced(network: nn.Module, blocks: Mapping[str, nn.Module]) -> nn.Module:
    """A copy of a network with some modules (of an adapted backbone, of the backbone) in place of its own."""
    other = copy.deepcopy(network)
    for name, block in blocks.items():
        inner(other).set_submodule(name, copy.deepcopy(block))
    return other


def _measured(runtime: str) -> Time:
    def time(module: nn.Module, shape: tuple[int, ...]) -> float:
        return measure_module(form(module, shape), shape, runtime=runtime, protocol=QUICK).value

    return time


def _milliseconds(cost: Latency, module: nn.Module, block: Replaceable, device: str) -> float:
    return cost.measure_network(form(module, block.shape), block.shape, device, QUICK).value
