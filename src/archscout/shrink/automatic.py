"""Whether a search of space `auto` begins with a trained network: tried and measured on the data, not assumed.

For photographs in colour, where the weights of a backbone are installed, two things are measured within a tenth of the
budget: the head of the backbone, fitted to kept features of some images, and a network of the space that would be
searched, trained for as long on as many. What each comes to with the whole budget is extrapolated: by the rule of thumb
of searches (`archscout.estimators.prior`), generously, and by that of transfer (`archscout.shrink.planning`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from archscout.backbones.base import Backbone
from archscout.core import options as checked
from archscout.core.budget import Budget
from archscout.core.cost import Cost, Limit
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.estimator import TRAINING
from archscout.core.files import write_json
from archscout.core.progress import Progress, Silent
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.task import Split, Task
from archscout.costs.latency import QUICK, Latency
from archscout.costs.peak_memory import peak_bytes
from archscout.costs.reported import REPORTED
from archscout.deploy.form import form
from archscout.estimators.prior import Data, Network, Prior
from archscout.networks.pick import build
from archscout.networks.tracing import trace
from archscout.search.continuing import STORE, start_afresh
from archscout.search.result import Result
from archscout.search.search import resolve_task
from archscout.shrink.head import probe
from archscout.shrink.limits import latency, limit_of
from archscout.shrink.planning import Pace, expected_error, outlook, pace_of, plan_transfer, smallest_side
from archscout.shrink.record import SETTING, WORK
from archscout.shrink.run import shrink
from archscout.spaces.load import automatic_space
from archscout.spaces.trained import adapted, folded
from archscout.store.folder import default_name
from archscout.tasks.images import ImageClassification
from archscout.training.recipe import Recipe, full_epochs
from archscout.training.trainer import train

SMALLEST = 24
"""Pixels a side: below, a backbone of photographs has nothing to see."""

SHARE = 0.03
"""Of the budget, what each of the two trials may take."""

SHORTEST = 120.0
"""Seconds: of a shorter budget the trials, some ten seconds with loading and timing, would take too much."""

SIDE = 64
"""Pixels a side that the backbone gets in its trial."""

GENEROUS, EXAMPLES = 0.9, 0.17
"""What is added to the logit of the accuracy that a search is expected to reach: it has better networks than the first
reference, and who doubts should search; and again for each time that there are e times as many images as in the
trial, which teach a network from nothing more than they teach a head. Fitted by hand to searches of 640, 3,000 and
50,000 photographs."""

WORTH = 0.5
"""A backbone of which limits leave less is not tried: what cutting takes, no recovery in some minutes gives back."""

FEWEST, MOST = 200, 800
"""Training images of the trial."""

_PLAIN: dict[str, Any] = {"method": "cascade", "estimator": TRAINING, "engine": "local", "device": "cpu"}
_ALONE = ("objectives", "store", "epochs", "recipe", "times", "start")
"""Options that ask for a search proper."""


@dataclass(frozen=True)
class Comparison:
    """What the trials came to, as accuracies on the same validation images.

    Args:
        backbone: by name.
        probed: of its head on fixed features.
        transferred: what it is expected to reach with the whole budget.
        searched: what the space's own network is expected to reach with the whole budget.
        trained: what it reached in the trial.
        epochs: that the trial had.
        seconds: that both took.
    """

    backbone: str
    probed: float
    transferred: float
    searched: float
    trained: float
    epochs: int
    seconds: float

    @property
    def better(self) -> bool:
        """Whether the backbone is."""
        return self.transferred > self.searched

    def sentence(self) -> str:
        """What is done, and why."""
        return (
            f"'{self.backbone}' has {self.probed:.1%} of validation images right with a fitted head alone and is "
            f"expected to reach {self.transferred:.1%}, a network from nothing {self.searched:.1%}: "
            + ("it begins with the trained one." if self.better else "a search it is.")
        )


def begin(data: Any, options: Mapping[str, Any], began: float | None = None) -> tuple[Result | None, Any]:
    """The result of a run that begins with a trained network, where that is better; None where a search is to be made.

    With it come the data, read where they had to be.

    Args:
        data: of the search.
        options: as `archscout.search` has them.
        began: when the budget of time began, by `time.monotonic`; now if not given.
    """
    began = time.monotonic() if began is None else began
    if any(options.get(name, value) != value for name, value in _PLAIN.items()):
        return None, data
    if any(options.get(name) for name in _ALONE) or options.get("workers") not in (None, 1):
        return None, data
    budget = Budget.read(options.get("budget", "5m"))
    watch: Progress = options.get("progress") or Silent()
    if not math.isfinite(budget.seconds) or math.isfinite(budget.trials):
        return None, data
    task = resolve_task(data, watch)
    if not natural(task):
        return None, task
    given, maximum = options.get("name"), options.get("maximum") or {}
    if not isinstance(given, str | None) or not isinstance(maximum, Mapping):
        return None, task  # the search says what is wrong
    seed = checked.seed(options.get("seed", 0))
    out = checked.path(options.get("out", "runs"), "the folder of runs")
    space = automatic_space(task)
    search_name = default_name(space, task, "cascade", seed)
    name = given or f"trained-{search_name}"
    fresh = checked.switch(options.get("fresh", False), "fresh")
    if not fresh and (out / (given or search_name) / STORE).is_file():
        return None, task  # a search that is under way goes on
    if not all(key in REPORTED for key in maximum):
        return None, task  # limits on other devices, or on what only networks of a search have
    folder = out / name
    begun = (folder / SETTING).is_file() and not fresh
    expected = outlook(task, 0.8 * budget.seconds)
    if expected is None or not (begun or (expected.worth and budget.seconds >= SHORTEST)):
        return None, task
    if not begun:
        share = remaining(expected.backbone, task, maximum)
        if share < WORTH:
            watch.say(f"the limits leave {share:.0%} of '{expected.backbone}': a search it is.")
            return None, task
        watch.say(f"trying '{expected.backbone}', and a network from nothing, on some images.")
        try:
            compared, pace = compare(task, space, expected.backbone, budget.seconds, seed)
        except ArchscoutError as error:
            watch.say(f"'{expected.backbone}' cannot be tried ({error})")
            return None, task
        watch.say(compared.sentence())
        if not compared.better:
            return None, task
        if fresh:
            start_afresh(folder, name, None, watch)
        (folder / WORK).mkdir(parents=True, exist_ok=True)
        write_json(folder / "comparison.json", asdict(compared))
        write_json(folder / WORK / "pace.json", pace.notes())  # not timed again
    left = budget.seconds - (time.monotonic() - began)
    try:
        result = shrink(
            expected.backbone, task, maximum=maximum, budget=budget, seed=seed, out=out, name=name,
            device=options.get("device", "cpu"), progress=watch, spent=budget.seconds - left,
        )  # fmt: skip
    except UsageError as error:
        if "no cut of this network" not in str(error):
            raise
        watch.say(f"'{expected.backbone}' cannot keep the limits: a search it is.")
        return None, task
    return result, task


def remaining(name: str, task: Task, maximum: Mapping[str, Limit]) -> float:
    """The share of a backbone that limits leave, at the smallest images that it may get.

    Args:
        name: of the backbone.
        task: whose images it gets.
        maximum: the limits, on what every result reports (`REPORTED`).
    """
    backbone: Backbone = create("backbone", name)
    network = adapted(backbone, backbone.structure().eval(), smallest_side(task), task)
    share = 1.0
    for text, limit in maximum.items():
        cost: Cost = create("cost", text)
        whole = _whole(cost, network, task)
        share = min(share, limit_of(cost, text, limit, whole) / whole)
    return share


def _whole(cost: Cost, network: nn.Module, task: Task) -> float:
    if isinstance(cost, Latency):
        return latency(cost, network, task, "cpu", QUICK).value
    if cost.name == "params":
        return float(sum(parameter.numel() for parameter in network.parameters()))
    graph = trace(form(network, task.input_shape), task.input_shape)
    return float(graph.macs if cost.name == "macs" else peak_bytes(graph))


def natural(task: Task) -> bool:
    """Whether a task is of photographs, as far as its form tells: images in colour of 24 pixels a side and more."""
    return isinstance(task, ImageClassification) and task.input_shape[0] == 3 and min(task.input_shape[1:]) >= SMALLEST


def compare(task: Task, space: Space, name: str, seconds: float, seed: int) -> tuple[Comparison, Pace]:
    """Try both on some images; with it comes how fast the parts of the backbone are trained.

    Args:
        task: whose test images are not looked at.
        space: that would be searched.
        name: of the backbone.
        seconds: of the whole budget.
        seed: of the images and of the training.
    """
    began = time.process_time()
    part = _part(task.sealed(), seconds, seed)
    backbone: Backbone = create("backbone", name)
    network = adapted(backbone, folded(backbone.network(), SIDE), SIDE, part)
    probed = probe(network, backbone.head, part)
    took = time.process_time() - began
    # As fast as this machine is now; the other trial, tracing and measuring take their share as well.
    pace = pace_of(backbone, time.process_time)
    planned = plan_transfer(task, 0.8 * seconds - 2 * took, pace)
    transferred = 1 - (1 - probed) * min(1.0, planned.error / expected_error(task, SIDE))

    reference = next(iter(space.references().values()), None) or space.sample(stream(seed, "comparison"))
    own = build(space, reference, part, seed=seed)
    mark = time.process_time()
    recipe = replace(Recipe.default(part, 30), precision="float32")
    outcome = train(own, part, recipe, seed=seed, on_epoch=lambda row: time.process_time() - mark > took)
    epochs = max(1, len(outcome.curve))
    epoch = max(1e-6, (time.process_time() - mark) / epochs)
    # With the budget: on all images, for a third of the time, as searches divide it.
    longest = seconds / 3 / (epoch * len(task.train) / len(part.train))
    about = Data.of(task)
    known = Network.of(space, reference, part)
    passes = [epochs * len(part.train) / len(task.train), min(longest, full_epochs(task))]
    first, last = Prior([]).expected(about, [known, known], passes)
    searched = _searched(outcome.valid_metric, float(last - first), len(task.train) / len(part.train), part.outputs)
    seconds = time.process_time() - began
    return Comparison(name, probed, transferred, searched, float(outcome.valid_metric), epochs, seconds), pace


def _part(task: Task, seconds: float, seed: int) -> Task:
    """As many of the images as the trial has time for."""
    each = 0.39e9 * (SIDE / 224) ** 2 / 1.6e10
    count = round(min(MOST, max(FEWEST, SHARE * seconds / (3 * each))))
    rng = stream(seed, "comparison images")

    def some(split: Split, most: int) -> Split:
        rows = rng.permutation(len(split))[:most]
        rows.sort()
        return Split(split.x[rows], split.y[rows])

    return replace(task, train=some(task.train, count), valid=some(task.valid, max(100, count // 2)))


def _searched(accuracy: float, longer: float, times: float, classes: int) -> float:
    """What a search is expected to reach, from what a network of its space came to in the trial.

    Args:
        accuracy: that it came to.
        longer: what the longer training adds to its logit, by the rule of thumb of searches.
        times: as many images as in the trial.
        classes: that there are.
    """
    return _raised(accuracy, max(0.0, longer) + GENEROUS + EXAMPLES * math.log(max(1.0, times)), classes)


def _raised(accuracy: float, by: float, classes: int) -> float:
    """An accuracy whose logit, above chance, is so much higher; never less than the accuracy."""
    chance = 1 / classes
    share = min(max((accuracy - chance) / (1 - chance), 0.02), 0.98)
    logit = math.log(share / (1 - share)) + by
    return max(accuracy, chance + (1 - chance) * float(torch.sigmoid(torch.tensor(logit))))
