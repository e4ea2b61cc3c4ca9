"""Blocks of a trained network replaced by collapsible ones, where that is quicker and harms least (RAN-explicit:
Bhardwaj et al. 2022, arXiv 2208.08562)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.core.task import Task
from archscout.core.written import significant
from archscout.costs.latency import QUICK, measure_module
from archscout.deploy.form import form
from archscout.networks.collapsible import CollapsibleBlock, collapse
from archscout.shrink.knapsack import choose
from archscout.shrink.rating import divergence
from archscout.training.objective import Distillation, Objective, Teacher
from archscout.training.recipe import Recipe
from archscout.training.trainer import train

Time = Callable[[nn.Module, tuple[int, ...]], float]
"""Milliseconds of a module on one example of this shape."""

MOST_PATCHES = 20_000
"""Rows of the regression that a replacement begins with, about."""


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


def restructure(
    network: nn.Module,
    task: Task,
    *,
    share: float,
    epochs: int = 5,
    runtime: str = "onnxruntime",
    calibration: int = 64,
    learning_rate: float = 5e-4,
    seed: int = 0,
    time: Time | None = None,
) -> Restructured:
    """Replace blocks until the network takes a share of its time, train it with the original as teacher, collapse it.

    Semi-automatic: which blocks could be replaced is read off one run, what each would save is measured here, and what
    it harms is rated alone; a knapsack chooses.

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
    found = candidates(network, x[:calibration], x[calibration:], timed, seed=seed)
    whole = timed(copy.deepcopy(network).eval(), tuple(x.shape[1:]))
    names = chosen(found, whole, share)
    restructured = replaced(network, {each.name: each.replacement for each in found if each.name in names})
    teacher = Distillation(Teacher(copy.deepcopy(network).eval().requires_grad_(False)))
    recipe = Recipe(epochs=epochs, optimizer="adamw", learning_rate=learning_rate)
    train(restructured, task, recipe, seed=seed, objective=Objective(teacher))
    return Restructured(collapse(restructured, x[:8]), names, tuple(found))


def candidates(network: nn.Module, x: Tensor, held: Tensor, time: Time, *, seed: int = 0) -> list[Candidate]:
    """The innermost modules of at least two convolutions that make one feature map of one, and run once: each with a
    replacement fitted to it on `x`, timed, and rated on `held`; those that would not be quicker are left out."""
    whole = copy.deepcopy(network).eval()
    inputs, outputs = _maps(whole, x)
    with torch.no_grad():
        original = whole(held)
    found = []
    for name in _blocks(whole, inputs, outputs):
        block, before, after = whole.get_submodule(name), inputs[name], outputs[name]
        stride = round(before.shape[2] / after.shape[2])
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            replacement = CollapsibleBlock(before.shape[1], after.shape[1], 3, stride).eval()
        if replacement(before[:1]).shape != after[:1].shape:
            continue
        rows = max(1, MOST_PATCHES // (after.shape[2] * after.shape[3]))
        replacement.fit(before[:rows], after[:rows])
        shape = tuple(before.shape[1:])
        times = time(block, shape), time(replacement.collapsed(), shape)
        if times[1] < times[0]:
            with torch.no_grad():
                moved = divergence(replaced(whole, {name: replacement}).eval()(held), original)
            found.append(Candidate(name, shape, replacement, times[0], times[1], moved))
    return found


def chosen(found: Sequence[Candidate], whole: float, share: float) -> tuple[str, ...]:
    """The candidates to replace: the least harm for which the network takes at most a share of its time.

    Args:
        found: with their times.
        whole: milliseconds of the network.
        share: see above.

    Raises:
        UsageError: with all of them replaced it still takes more.
    """
    harms = [np.array([0.0, each.harm]) for each in found]
    costs = [np.array([0.0, each.after - each.before]) for each in found]
    picked = choose(harms, [costs], [(share - 1) * whole])
    if picked is None:
        least = (whole + sum(float(cost[1]) for cost in costs)) / whole
        raise UsageError(
            f"with every block replaced that would be quicker, {significant(least, 2)} of the time is left: ask for no "
            "smaller share."
        )
    return tuple(each.name for each, option in zip(found, picked, strict=True) if option)


def replaced(network: nn.Module, blocks: Mapping[str, nn.Module]) -> nn.Module:
    """A copy of a network with some modules in place of its own."""
    other = copy.deepcopy(network)
    for name, block in blocks.items():
        other.set_submodule(name, copy.deepcopy(block))
    return other


def _measured(runtime: str) -> Time:
    def time(module: nn.Module, shape: tuple[int, ...]) -> float:
        return measure_module(form(module, shape), shape, runtime=runtime, protocol=QUICK).value

    return time


def _maps(network: nn.Module, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of each module that runs once on one feature map and makes one: both."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    runs: dict[str, int] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[object, ...], object], None]:
        def hook(_: nn.Module, given: tuple[object, ...], result: object) -> None:
            runs[name] = runs.get(name, 0) + 1
            maps = [each for each in (*given, result) if isinstance(each, Tensor) and each.ndim == 4]
            if len(maps) == 2 == len(given) + 1 and runs[name] == 1:
                inputs[name], outputs[name] = maps[0].clone(), maps[1].clone()
            else:
                inputs.pop(name, None)

        return hook

    named = [(name, module) for name, module in network.named_modules() if name]
    handles = [module.register_forward_hook(keep(name)) for name, module in named if _convolutions(module) >= 2]
    try:
        with torch.no_grad():
            network(x)
    finally:
        for handle in handles:
            handle.remove()
    return inputs, outputs


def _blocks(network: nn.Module, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> list[str]:
    """Of these modules, those within which there is none, and whose maps get no larger."""
    names = [name for name, module in network.named_modules() if name in inputs and _convolutions(module) >= 2]
    inner = [name for name in names if not any(other.startswith(f"{name}.") for other in names)]
    return [name for name in inner if outputs[name].shape[2] <= inputs[name].shape[2]]


def _convolutions(module: nn.Module) -> int:
    return sum(isinstance(layer, nn.Conv2d) for layer in module.modules())
