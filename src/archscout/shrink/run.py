"""A run that begins with a trained network: transfer, measure, cut, recover, measure again, deliver."""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import nn

from archscout.backbones.adapted import Adapted, inner
from archscout.core import options
from archscout.core.budget import Budget
from archscout.core.cost import Cost, Limits
from archscout.core.errors import UsageError
from archscout.core.estimator import Setting
from archscout.core.progress import Progress
from archscout.core.task import Task
from archscout.search.result import Result
from archscout.search.search import resolve_task
from archscout.shrink.delivery import deliver
from archscout.shrink.limits import limit_of, measure, read_limits, uncertain_shares
from archscout.shrink.planning import Clock, TransferPlan
from archscout.shrink.record import TRANSFER_SHARE, Record, same_call
from archscout.shrink.reduction import Cutting, Reduced, Way, reduce
from archscout.shrink.replacement import Replacing
from archscout.shrink.source import Source, source_of
from archscout.shrink.transfer import longer_plan, transfer, transfer_longer, transfer_plan
from archscout.spaces.reducing import ReducingSpace
from archscout.spaces.replaced import ReplacedSpace
from archscout.spaces.trained import TrainedSpace
from archscout.store.folder import run_folder
from archscout.store.lock import run_lock
from archscout.training import asked
from archscout.training.rehearsal import try_step
from archscout.training.trainer import predict
from archscout.workers.device import check_device

SIDES = 32, 2048
"""Pixels a side that a backbone may get its images at."""

_RESERVES = (0.15, 15.0), (0.02, 30.0)
"""Shares of a budget, and seconds at most: the largest is kept free for what comes after training. In a long training
a machine may become slower than it was when the rest was timed."""

_ENDING = 6.0
"""Times as long as it takes to find out what can be cut of a network takes what comes after its training: measuring,
writing and checking the ONNX file, the report."""


def shrink(
    network: nn.Module | str | Any,
    data: Task | Path | str,
    *,
    maximum: Limits | None = None,
    budget: str | float | timedelta | Budget | None = "10m",
    weights: str | Path | None = None,
    size: int | None = None,
    only: Sequence[str] = (),
    keep: Sequence[str] = (),
    labels: bool = True,
    replace: bool = False,
    recipe: Any = None,
    seed: int = 0,
    device: str = "cpu",
    name: str | None = None,
    out: str | Path = "runs",
    progress: Progress | None = None,
    clock: Clock = time.monotonic,
    shared: Path | None = None,
    spent: float = 0.0,
    transfer_share: float = TRANSFER_SHARE,
) -> Result:
    """Make a trained network small enough for measured limits, at the least loss; the same call resumes.

    A backbone first gets a head for the data and is fine-tuned. What breaks a limit is cut where that harms least
    (`archscout.shrink.engine`), learns from the data and from the original, and is measured again. With a larger budget
    a finished run goes on: what was chosen stays, and is trained for the time that came.

    Args:
        network: a trained `nn.Module`, an `ExportedProgram`, the name of a backbone, or `package.module:factory`.
        data: a registered task, a path (`.npz`, a folder of class folders), or a `Task`.
        maximum: limits by cost, absolute or as a share of the original: `{"latency": "10ms", "params": "60%"}`.
        budget: of time, everything included.
        weights: a file of weights (`.safetensors`, `.pth` of tensors) for the network.
        size: height and width that a backbone gets its images at; by default by time and limits.
        only: layers (or beginnings of their names) that may be cut; all where empty.
        keep: layers that may not be cut.
        labels: whether the labels of the data count in recovery; otherwise the original alone teaches.
        replace: whether blocks are replaced by single convolutions (`archscout.shrink.replacement`), in place of cuts.
        recipe: of fine-tuning and recovery, as `archscout.search` has it, without epochs.
        seed: one seed, one run.
        device: where it is trained.
        name: of the run; by default made of network, data and seed.
        out: the folder that the run's folder lies in.
        progress: who is told how it goes.
        clock: tells the time in seconds that the budget is of.
        shared: a folder for what runs that differ in limits alone have in common: head and fine-tuning.
        spent: seconds of the budget that are gone.
        transfer_share: of the time, what goes to fine-tuning before anything is cut, where the head is new.

    Raises:
        UsageError: a wrong name or value, a limit that no cut keeps, weights that do not fit.
        ArchscoutError: the limits are not kept when the recovered network is measured again.
    """
    began = clock() - spent
    watch, seed, out = options.watch(progress), options.seed(seed), options.path(out, "the folder of runs")
    budget, device = Budget.read(budget, "10m"), check_device(device)
    labels, replace = options.switch(labels, "labels"), options.switch(replace, "replace")
    only, keep = options.several(only, "the layers to cut"), options.several(keep, "the layers to keep")
    size = None if size is None else options.whole(size, "the size of images", *SIDES)
    weights = None if weights is None else options.path(weights, "the file of weights")
    if math.isinf(budget.seconds):
        raise UsageError("shrink takes a budget of time: write, say, 10m.")
    recipe = asked.without_epochs(recipe, "what is shrunk learns for its budget")
    task = asked.of_task(resolve_task(data), recipe)
    source = source_of(network, weights, size, *(((), ()) if replace else (only, keep)))
    costs, limits = read_limits(maximum)
    what = "replace" if replace else "shrink"
    default = re.sub(r"[^A-Za-z0-9._=-]+", "-", f"{what}-{source.name}-{task.name}-seed{seed}").strip("-")
    name = default if name is None else name
    folder = run_folder(out, name)
    with run_lock(folder):
        config = {
            "network": source.name, "data": task.digest, "maximum": limits,
            "budget": str(budget), "seed": seed, "size": size, "only": only, "keep": keep, "labels": labels,
            "replace": replace, "recipe": task.recipe or asked.DEFAULT,
        }  # fmt: skip
        if same_call(folder, config, name):
            watch.say(
                f"run '{name}' is finished: this is its result (a larger --budget goes on; another --name or --seed "
                "starts a new one)."
            )
            return Result.read(folder)
        torch.set_num_threads(1)
        record = Record(
            folder, task, seed=seed, device=device, watch=watch, clock=clock, end=began + budget.seconds,
            began=began, shared=shared, reserve=reserve(budget.seconds),
            transfer_share=transfer_share,
        )  # fmt: skip
        about = {"name": name, "budget": str(budget)}
        return _run(record, source, costs, limits, labels, about, (only, keep) if replace else None)


def reserve(seconds: float) -> float:
    """Seconds of a budget that are kept free for what comes after training."""
    return max(min(share * seconds, most) for share, most in _RESERVES)


def _run(
    record: Record,
    source: Source,
    costs: Mapping[str, Cost],
    maximum: Mapping[str, str],
    labels: bool,
    about: Mapping[str, Any],
    replaced: tuple[Sequence[str], Sequence[str]] | None,
) -> Result:
    """`replaced`: which layers may be, and which may not, where blocks are to be replaced."""
    task, sealed = record.task, record.task.sealed()
    start = record.clock()
    plans: list[TransferPlan] = []
    if source.backbone is not None:
        plans.append(transfer_plan(record, source.backbone, source.size, costs, maximum))
        for number in range(1, record.raised + 1):
            larger = source.size is None and not maximum  # larger images may break what is kept
            plans.append(longer_plan(record, source.backbone, plans[-1], number, larger))
    traced, original_space = record.clock(), source.make(sealed, plans[-1].size if plans else 0)
    space: ReducingSpace = original_space if replaced is None else ReplacedSpace(original_space, *replaced)
    space.check_task(task)
    network = space.adapted(task)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UsageError(
            f"all weights of network '{source.name}' are frozen, and what is cut learns again: call its "
            "requires_grad_(True) first."
        )
    try_step(copy.deepcopy(network), record.learned, space.name, record.device)
    new_head = bool(plans) or _outputs_differ(network, original_space)
    record.phase("tracing", start)
    record.keep_free(_after(record, network, bool(plans), record.clock() - traced))
    if original_space.made_plain:
        record.watch.say(
            f"weights that a parametrization computes (of {', '.join(original_space.made_plain)}) are plain numbers "
            "from now on: what it held to, further training does not."
        )
    for layer, reason in list(space.untouched.items())[:3]:
        record.watch.say(f"layer {layer} stays whole: {reason}.")
    setting = Setting(space, sealed, seed=record.seed, device=record.device)
    for cost in costs.values():
        cost.check(setting)
    original = {text: measure(cost, network, space.widest, setting) for text, cost in costs.items()}
    limits = record.once(
        "limits",
        lambda: {text: limit_of(costs[text], text, maximum[text], original[text].value) for text in costs},
    )
    broken = record.once("broken", lambda: any(original[text].at_most > limit for text, limit in limits.items()))
    for sentence in uncertain_shares(maximum, original, limits, costs):
        record.watch.say(sentence)

    if broken and replaced is None:  # before anything is trained
        Cutting(record, network, original_space, setting, costs).check(limits)
    share = record.transfer_share if broken or record.shared is not None else 1.0
    if plans and isinstance(network, Adapted) and source.backbone is not None:
        transfer(record, network, source.backbone, plans[0], share)
        for number, plan in enumerate(plans[1:] if not broken else (), 1):
            transfer_longer(record, network, source.backbone, plan, number)
    elif new_head or not broken:
        record.train("fine-tuning", network, share * record.left)
        record.step("fine-tuned", network)
        if not broken:
            record.longer(network, lambda phase: record.train(phase, network, record.left, goes_on=True))
    else:
        record.step("original", network)
    reduced = Reduced(network, space.widest, original, {})
    if broken:
        if not new_head:
            original_space.module.load_state_dict(inner(network).state_dict())
        way: Way
        if isinstance(space, ReplacedSpace):
            way = Replacing(record, network, space, setting, costs)
        else:
            way = Cutting(record, network, original_space, setting, costs)
        reduced = reduce(record, way, costs, limits, labels)
    return deliver(record, space, reduced, costs, limits, original, {**about, "network": source.name})


def _after(record: Record, network: nn.Module, planned: bool, traced: float) -> float:
    """Seconds that must be free after training beyond the common reserve, as slow as this machine is now.

    Args:
        record: of the run.
        network: that is trained.
        planned: whether the time of its test is kept free already.
        traced: how long it took to find out what can be cut of it.
    """
    more = max(0.0, _ENDING * traced - record.reserve)
    test = 0 if planned or record.task.test is None else len(record.task.test)
    if test:
        part = record.learned.train.head(32)
        began = record.clock()
        predict(network, record.learned, part, device=record.device)
        more += test * (record.clock() - began) / len(part)
    return min(more, 0.3 * max(0.0, record.left))


def _outputs_differ(network: nn.Module, space: TrainedSpace) -> bool:
    ours = {name: tensor.shape for name, tensor in inner(network).state_dict().items()}
    return ours != {name: tensor.shape for name, tensor in space.module.state_dict().items()}
