"""A run that begins with a trained network: transfer, measure, cut, recover, measure again, deliver."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from archscout.backbones.adapted import Adapted
from archscout.backbones.base import Backbone, fill, read_weights
from archscout.core.architecture import Architecture
from archscout.core.cost import Constraint, Cost, Measurement
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.estimator import Setting
from archscout.core.files import write_json
from archscout.core.progress import Progress, Silent
from archscout.core.registry import create, names
from archscout.core.task import Split, Task
from archscout.core.trial import Trial
from archscout.core.written import significant
from archscout.costs.latency import FULL, QUICK, Latency, Protocol, measure_module, until_trusted
from archscout.costs.machine import conditions
from archscout.costs.reported import REPORTED
from archscout.deploy.form import form
from archscout.estimators.final import parted
from archscout.search.budget import Budget
from archscout.search.package import package
from archscout.search.result import Result
from archscout.search.search import resolve_task
from archscout.shrink import rating
from archscout.shrink.engine import plan
from archscout.shrink.kept import KeptFeatures, Rest, kept_features
from archscout.shrink.panels import cuts, panels
from archscout.shrink.transfer import (
    SIZES,
    Clock,
    TransferPlan,
    fine_tune,
    pace_of,
    plan_transfer,
    probe,
    probe_kept,
)
from archscout.spaces.trained import BackboneSpace, TrainedSpace, from_factory
from archscout.store.folder import run_folder
from archscout.store.lock import run_lock
from archscout.tasks.images import ImageClassification
from archscout.training import checkpoint
from archscout.training.speed import Mode
from archscout.training.trainer import predict

SETTING = "shrink.json"
"""In a run's folder: what was asked for."""

CALIBRATION = 64
"""Examples that cuts are rated on."""

ATTEMPTS = 3
"""Times that cuts are chosen, where what was chosen breaks a limit when it is measured again."""

_COMMON = ("probe", "fine-tuning")
_RESERVE_SHARE, _RESERVE_MOST = 0.15, 15.0
_TRANSFER_SHARE = 0.4
"""Of the time, what goes to fine-tuning before anything is cut, where the head is new."""


@dataclass(frozen=True)
class Source:
    """Where a network comes from, as text and as a space for a task."""

    name: str
    make: Callable[[Task, int], TrainedSpace]
    """From a task and the size that a backbone gets its images at."""
    backbone: Backbone | None = None
    size: int | None = None
    """The size that was asked for."""


def shrink(
    network: nn.Module | str | Any,
    data: Task | Path | str,
    *,
    maximum: Mapping[str, str | float] | None = None,
    budget: str | Budget = "10m",
    weights: str | Path | None = None,
    size: int | None = None,
    only: Sequence[str] = (),
    keep: Sequence[str] = (),
    labels: bool = True,
    seed: int = 0,
    device: str = "cpu",
    name: str | None = None,
    out: str | Path = "runs",
    progress: Progress | None = None,
    clock: Clock = time.monotonic,
    shared: Path | None = None,
    spent: float = 0.0,
) -> Result:
    """Make a trained network small enough for measured limits, at the least loss; the same call resumes.

    A backbone first gets a head for the data and is fine-tuned. What breaks a limit is cut where that harms least
    (`archscout.shrink.engine`), learns from the data and from the original, and is measured again.

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
        seed: one seed, one run.
        device: where it is trained.
        name: of the run; by default made of network, data and seed.
        out: the folder that the run's folder lies in.
        progress: who is told how it goes.
        clock: tells the time in seconds that the budget is of.
        shared: a folder for what runs that differ in limits alone have in common: head and fine-tuning.
        spent: seconds of the budget that are gone.

    Raises:
        UsageError: a wrong name or value, a limit that no cut keeps, weights that do not fit.
        ArchscoutError: the limits are not kept when the recovered network is measured again.
    """
    began = clock() - spent
    watch = progress or Silent()
    budget = Budget.parse(budget) if isinstance(budget, str) else budget
    if math.isinf(budget.seconds):
        raise UsageError("shrink takes a budget of time: write, say, 10m.")
    task = resolve_task(data)
    source = _source(network, weights, size, only, keep)
    costs = {text: create("cost", text) for text in maximum or {}}
    name = name or re.sub(r"[^A-Za-z0-9._=-]+", "-", f"shrink-{source.name}-{task.name}-seed{seed}").strip("-")
    folder = run_folder(Path(out), name)
    with run_lock(folder):
        config = {
            "network": source.name, "data": task.digest, "maximum": {k: str(v) for k, v in (maximum or {}).items()},
            "budget": str(budget), "seed": seed, "size": size, "only": list(only), "keep": list(keep), "labels": labels,
        }  # fmt: skip
        _same(folder, config, name)
        if (folder / "metrics.json").is_file():
            watch.say(f"run '{name}' is finished: this is its result (another --name or --seed starts a new one).")
            return Result.read(folder)
        torch.set_num_threads(1)
        reserve = min(_RESERVE_SHARE * budget.seconds, _RESERVE_MOST)
        work = _Work(folder, task, seed, device, watch, clock, began + budget.seconds - reserve, began, shared)
        return work.run(source, costs, maximum or {}, labels, name, str(budget), budget.seconds - reserve)


def _learned(task: Task, seed: int) -> Task:
    """The task as weights learn it: of validation examples that were drawn from the training examples, most too."""
    sealed = task.sealed()
    if "valid" not in task.drawn:
        return sealed
    parts, held = parted(sealed, seed)
    if held is None:
        return sealed
    joined = Split(np.concatenate([task.train.x, parts.valid.x]), np.concatenate([task.train.y, parts.valid.y]))
    # What inputs are normalised by stays, for the network has it built in.
    fixed: dict[str, Any] = {"statistics": (task.mean, task.std)} if isinstance(task, ImageClassification) else {}
    return dataclasses.replace(sealed, train=joined, valid=held, **fixed)


def _same(folder: Path, config: Mapping[str, Any], name: str) -> None:
    """The run's folder is of this very call, or new."""
    file = folder / SETTING
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        for key, value in config.items():
            if before.get(key) != value:
                raise UsageError(
                    f"run '{name}' was started with {key} = {before.get(key)}, not {value}: repeat the first command "
                    "to resume it, or start another with --name."
                )
    elif (folder / "metrics.json").is_file():
        raise UsageError(f"run '{name}' is of another command: choose another --name.")
    write_json(file, config)


def _source(
    network: nn.Module | str | Any,
    weights: str | Path | None,
    size: int | None,
    only: Sequence[str],
    keep: Sequence[str],
) -> Source:
    if isinstance(network, str) and network in names("backbone"):
        backbone = create("backbone", network)
        if weights is not None:
            raise UsageError(f"backbone '{network}' comes with its own weights: leave '{weights}' out.")
        backbone.file()  # says what to install

        def of_backbone(task: Task, side: int) -> TrainedSpace:
            return BackboneSpace(backbone, side, only=only, keep=keep)

        return Source(network, of_backbone, backbone, size)
    if isinstance(network, str):
        module, colon, factory = network.partition(":")
        if not colon:
            raise UsageError(
                f"there is no backbone '{network}': use one of {', '.join(names('backbone'))}, or write "
                "package.module:factory."
            )
        made, text = from_factory(module, factory), f"trained:{network}"
    elif isinstance(network, torch.export.ExportedProgram):
        made, text = network.module(), "trained:ExportedProgram"
    elif isinstance(network, nn.Module):
        made, text = network, f"trained:{type(network).__name__}"
    else:
        raise UsageError(f"a trained network is a torch.nn.Module or a name, not a {type(network).__name__}.")
    if weights is not None:
        made = fill(copy.deepcopy(made), read_weights(Path(weights)), f"'{weights}'")
    if size is not None:
        raise UsageError("the size of images is a choice for backbones alone: resize the data (size=N) for a network.")

    def of_module(task: Task, side: int) -> TrainedSpace:
        return TrainedSpace(made, text, input_shape=task.input_shape, only=only, keep=keep)

    return Source(text.removeprefix("trained:"), of_module)


class _Work:
    """A run under way."""

    def __init__(
        self,
        folder: Path,
        task: Task,
        seed: int,
        device: str,
        watch: Progress,
        clock: Clock,
        end: float,
        began: float,
        shared: Path | None,
    ) -> None:
        self.folder, self.task, self.seed, self.device, self.watch = folder, task, seed, device, watch
        self.clock, self.end, self.began = clock, end, began
        self.files = folder / "work"
        self.files.mkdir(exist_ok=True)
        self.shared = shared
        self.learned = _learned(task, seed)
        self.seconds: dict[str, float] = {}
        self.steps: list[dict[str, Any]] = []
        """Accuracy and costs after each step, for the report."""
        spent = self._recall("spent", float)
        if spent is not None:
            self.end -= spent
            self.began -= spent

    # -- what is kept between sittings ----------------------------------------------------------------------------

    def _recall(self, key: str, kind: Callable[[Any], Any] = lambda value: value) -> Any:
        file = self.files / f"{key}.json"
        return kind(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None

    def _once(self, key: str, make: Callable[[], Any]) -> Any:
        """A JSON value that is made once, whatever the number of sittings."""
        value = self._recall(key)
        if value is None:
            value = make()
            write_json(self.files / f"{key}.json", value)
            self._spent()
        return value

    def _spent(self) -> None:
        write_json(self.files / "spent.json", self.clock() - self.began)

    def _phase(self, name: str, since: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + self.clock() - since

    def _weights(self, key: str, network: nn.Module, make: Callable[[], Any]) -> None:
        """Weights that are made once: `make` changes the network in place, and what comes of it is kept."""
        common = self.shared is not None and key in _COMMON
        file = (self.shared if common and self.shared is not None else self.files) / f"{key}.safetensors"
        kept = checkpoint.read(file, self.device)
        if kept is None:
            make()
            checkpoint.write(file, network.state_dict(), {})
            self._spent()
        else:
            network.load_state_dict(kept[0])

    # -- the run --------------------------------------------------------------------------------------------------

    def run(
        self,
        source: Source,
        costs: Mapping[str, Cost],
        maximum: Mapping[str, str | float],
        labels: bool,
        name: str,
        budget: str,
        seconds: float,
    ) -> Result:
        task, sealed = self.task, self.task.sealed()
        start = self.clock()
        plan = None
        if source.backbone is None:
            space = source.make(sealed, 0)
        else:
            plan = self._plan(source, source.backbone, costs, maximum)
            space = source.make(sealed, plan.size)
        space.check_task(task)
        network = space.adapted(task)
        new_head = plan is not None or _outputs_differ(network, space)
        self._phase("tracing", start)
        for layer, reason in list(space.channels.whole.items())[:3]:
            self.watch.say(f"layer {layer} stays whole: {reason}.")
        setting = Setting(space, sealed, seed=self.seed, device=self.device)
        for cost in costs.values():
            cost.check(setting)
        original = {text: self._measure(cost, network, space.widest, setting) for text, cost in costs.items()}
        limits = {text: limit_of(costs[text], text, str(maximum[text]), original[text].value) for text in costs}
        broken = [text for text, limit in limits.items() if original[text].at_most > limit]

        share = _TRANSFER_SHARE if broken or self.shared is not None else 1.0
        if plan is not None and isinstance(network, Adapted) and isinstance(space, BackboneSpace):
            self._transfer(network, space.backbone, plan, share)
        elif new_head or not broken:
            self._train("fine-tuning", network, share * (self.end - self.clock()), None, True)
            self._step("fine-tuned", network)
        else:
            self._step("original", network)
        value, curve = self._value, self._curve
        architecture, measured = space.widest, original
        report: dict[str, Any] = {}
        if broken:
            teacher = copy.deepcopy(network).eval().requires_grad_(False)
            space.module.load_state_dict(rating.inner(network).state_dict()) if not new_head else None
            whole, tight, took = network, dict(limits), 0.0

            def remeasured() -> dict[str, Measurement]:
                return {text: self._measure(cost, network, architecture, setting) for text, cost in costs.items()}

            for attempt in range(ATTEMPTS):
                again = f"-{attempt + 1}" if attempt else ""
                report = self._cut(whole, space, setting, costs, tight, f"cut{again}")
                architecture = space.parse(report["architecture"])
                network = self._smaller(whole, space, architecture)
                self._step("cut again" if attempt else "cut", network)
                measured = remeasured()
                if _kept(measured, limits):  # otherwise it is not worth the recovery
                    start = self.clock()
                    seconds = max(self.end - start, 0.25 * took)
                    self._train(f"recovery{again}", network, seconds, teacher, labels)
                    took = max(took, self.clock() - start)
                    measured = remeasured()
                    self._step("recovered", network)
                    value, curve = self._value, self._curve
                if _kept(measured, limits):
                    break
                for text, limit in limits.items():
                    tight[text] *= min(1.0, 0.97 * limit / measured[text].at_most)
                self.watch.say("measured again, it does not keep every limit: more is cut.")
        for text, limit in limits.items():
            if measured[text].at_most > limit:
                most = significant(measured[text].at_most, 4)
                raise ArchscoutError(
                    f"the recovered network has {costs[text].key} = {most} when measured again, above the limit of "
                    f"{significant(limit, 4)}: raise the limit, or repeat on a quieter machine."
                )
        return self._deliver(
            space, network, architecture, value, curve, costs, limits, measured, original, report, name, budget, source
        )

    def _plan(
        self, source: Source, backbone: Backbone, costs: Mapping[str, Cost], maximum: Mapping[str, str | float]
    ) -> TransferPlan:
        """How the backbone is transferred: decided once, by the time that is left, limits and what is timed.

        Where a limit of latency is broken, smaller images come before cuts, down to twice the size of the task's own.
        """

        def make() -> dict[str, Any]:
            pace = pace_of(backbone, self.clock)
            left = self.end - self.clock() - len(self.task.test or ()) * 2 * sum(pace.forward)
            sizes = [source.size] if source.size else list(SIZES)
            plan = plan_transfer(self.learned, left, pace, sizes)
            least = min(2 * max(self.task.input_shape[1:]), plan.size)
            for text, cost in costs.items():
                if not isinstance(cost, Latency) or str(maximum[text]).strip().endswith("%") or source.size:
                    continue
                space = source.make(self.task.sealed(), plan.size)
                setting = Setting(space, self.task.sealed(), seed=self.seed, device=self.device)
                cost.check(setting)
                took = self._measure(cost, space.adapted(self.task), space.widest, setting, QUICK).at_most
                limit = limit_of(cost, text, str(maximum[text]), took)
                fitting = [size for size in sizes if took * (size / plan.size) ** 2 <= 0.9 * limit]
                if took > limit:
                    smaller = [size for size in fitting if size >= least] or [size for size in sizes if size >= least][
                        :1
                    ]
                    plan = plan_transfer(self.learned, left, pace, smaller)
            return dataclasses.asdict(plan) | {"mode": pace.mode.notes()}

        decided = self._once("transfer", make)
        self._mode = Mode(**decided["mode"])
        return TransferPlan(**{field.name: decided[field.name] for field in dataclasses.fields(TransferPlan)})

    def _transfer(self, network: Adapted, backbone: Backbone, plan: TransferPlan, share: float) -> None:
        """A head on features that are computed once, then fine-tuning for a share of the time that is left."""
        mode = self._mode
        assert mode is not None
        parts = backbone.parts(network.network)
        start = plan.start if len(parts) > 1 else 0
        rest: nn.Module = Rest(*parts[start:]) if start else network
        kept: list[KeptFeatures] = []

        def features() -> KeptFeatures:
            if not kept:
                beginning = network.before(nn.Sequential(*parts[:start]))
                kept.append(
                    kept_features(beginning, self.learned, plan.copies, seed=self.seed, mode=mode, device=self.device)
                )
            return kept[0]

        def fit() -> None:
            head = network.network.get_submodule(backbone.head)
            if start:
                probe_kept(rest, head, features(), mode=mode, device=self.device)
            else:
                probe(network, backbone.head, self.learned, mode=mode, device=self.device)

        began = self.clock()
        self.watch.say(
            f"{backbone.name} at {plan.size} pixels: "
            + (f"the first {start} of {len(parts)} parts stay as they are." if start else "all of it is trained.")
        )
        self._weights("probe", network, fit)
        self._phase("probe", began)
        self._step("head on fixed features", network)

        def part() -> tuple[nn.Module, Task]:
            return rest, features() if start else self.learned

        before, accuracy = copy.deepcopy(network.state_dict()), self._value
        self._train("fine-tuning", network, share * (self.end - self.clock()), None, True, part)
        self._step("fine-tuned", network)
        metric = self.task.metric
        if metric.oriented(self._value) < metric.oriented(accuracy):
            network.load_state_dict(before)
            self._step("fine-tuning undone", network)

    _mode: Mode | None = None
    """In which a backbone is trained."""

    def _measure(
        self,
        cost: Cost,
        network: nn.Module,
        architecture: Architecture,
        setting: Setting,
        protocol: Protocol = FULL,
    ) -> Measurement:
        """The cost of a network as it is: latency is that of its deployed form, all others follow its structure."""
        if isinstance(cost, Latency) and type(cost).measure is Latency.measure:
            shape = self.task.input_shape
            deployed = form(self.task.deploy(copy.deepcopy(network)), shape)

            def once() -> Measurement:
                return measure_module(
                    deployed,
                    shape,
                    runtime=cost.runtime,
                    batch=cost.batch,
                    threads=cost.threads,
                    precision=cost.precision,
                    device=self.device,
                    protocol=protocol,
                )

            return until_trusted(once) if protocol is FULL else once()
        return (
            until_trusted(lambda: cost.measure(architecture, setting))
            if not cost.exact
            else cost.measure(architecture, setting)
        )

    def _smaller(self, network: nn.Module, space: TrainedSpace, architecture: Architecture) -> nn.Module:
        from archscout.networks.cutting import cut

        groups = list(space.groups.values())
        whole = copy.deepcopy(network)
        if isinstance(whole, Adapted):
            whole.network = cut(whole.network, groups, space.cut_of(architecture))
            return whole
        return cut(whole, groups, space.cut_of(architecture))

    def _cut(
        self,
        network: nn.Module,
        space: TrainedSpace,
        setting: Setting,
        costs: Mapping[str, Cost],
        limits: Mapping[str, float],
        key: str,
    ) -> dict[str, Any]:
        """What is cut: the architecture as text, its harm, the order of units, and how each choice was rated."""
        start = self.clock()
        held = self.task.valid if len(self.task.valid) else self.task.train
        calibration, _ = self.task.tensors(held.head(CALIBRATION), self.device)

        def rate() -> dict[str, Any]:
            x, y = self.task.tensors(self.task.train.head(4 * CALIBRATION), self.device)
            rating.order_by_importance(network, space, self.task, x, y, 16)
            harms = rating.harms(network, space, calibration)
            self.watch.say(f"{sum(len(row) - 1 for row in harms.values())} cuts are rated.")
            return {"order": space.order, "harms": {name: row.tolist() for name, row in harms.items()}}

        rated = self._once("rated", rate)
        space.order.update(rated["order"])
        harms = {name: np.array(row) for name, row in rated["harms"].items()}

        def make() -> dict[str, Any]:
            known = rating.accounts(network, space, calibration[:1])

            def measure(architecture: Architecture) -> dict[str, float]:
                smaller = self._smaller(network, space, architecture)
                # A second measurement differs: what is chosen keeps the limit with a margin.
                return {
                    text: self._measure(cost, smaller, architecture, setting, QUICK).at_most / cost.margin
                    for text, cost in costs.items()
                }

            chosen = plan(network, space, known, harms, limits, measure, calibration, seed=self.seed)
            return {
                "architecture": chosen.architecture.text,
                "harm": chosen.harm,
                "rated": chosen.rated,
            }

        cutting: dict[str, Any] = self._once(key, make)
        self._phase("choosing what to cut", start)
        return cutting

    def _train(
        self,
        phase: str,
        network: nn.Module,
        seconds: float,
        teacher: nn.Module | None,
        labels: bool,
        part: Callable[[], tuple[nn.Module, Task]] | None = None,
    ) -> None:
        """Fine-tune a network, or a part of it that has a task of its own; what comes of it is kept."""
        start = self.clock()

        def note(row: dict[str, float]) -> None:
            metric = row.get(f"valid_{self.task.metric}")
            self.watch.update(phase, row["epoch"], None, metric, max(0.0, self.end - self.clock()))
            self._spent()

        def make() -> None:
            trained, task = (network, self.learned) if part is None else part()
            outcome = fine_tune(
                trained, task, seconds - (self.clock() - start), seed=self.seed, clock=self.clock, teacher=teacher,
                labels=labels, least=1 if part is None else 0, mode=self._mode, folder=self.files / phase,
                device=self.device, on_epoch=note,
            )  # fmt: skip
            write_json(self.files / f"{phase}-curve.json", [dict(row) for row in outcome.curve])

        self._weights(phase, network, make)
        self._curve = self._recall(f"{phase}-curve") or []
        self._phase(phase, start)

    _curve: Sequence[Mapping[str, float]] = ()
    _value: float = math.nan

    def _step(self, what: str, network: nn.Module) -> None:
        """Note what the network is worth on the validation split after a step."""
        network.eval()
        valid = self.learned.valid
        outputs = predict(network, self.learned, valid, device=self.device)
        self._value = self.task.measure(outputs, torch.as_tensor(valid.y))
        self.steps.append(
            {"step": what, f"valid_{self.task.metric}": self._value, "seconds": self.clock() - self.began}
        )
        self.watch.say(f"{what}: {self.task.metric} {self._value:.4g} on validation.")

    def _deliver(
        self,
        space: TrainedSpace,
        network: nn.Module,
        architecture: Architecture,
        value: float,
        curve: Sequence[Mapping[str, float]],
        costs: Mapping[str, Cost],
        limits: Mapping[str, float],
        measured: Mapping[str, Measurement],
        original: Mapping[str, Measurement],
        cutting: Mapping[str, Any],
        name: str,
        budget: str,
        source: Source,
    ) -> Result:
        setting = Setting(space, self.task.sealed(), seed=self.seed, device=self.device)
        by_key = {costs[text].key: measurement for text, measurement in measured.items()}
        whole = {costs[text].key: measurement for text, measurement in original.items()}
        for text in REPORTED:
            cost: Cost = create("cost", text)
            if cost.key not in by_key:
                by_key[cost.key] = self._measure(cost, network, architecture, setting)
            if cost.key not in whole:
                same = architecture == space.widest
                whole[cost.key] = by_key[cost.key] if same else cost.measure(space.widest, setting)
        trial = Trial(
            number=0, architecture=architecture, canonical=space.canonical(architecture), estimator="trained",
            fidelity=len(curve), status="completed", value=self.task.metric.oriented(value), seconds=0.0,
            curve=tuple(dict(row) for row in curve), seed=self.seed,
        )  # fmt: skip
        constraints = [Constraint(text, costs[text].key, limit) for text, limit in limits.items()]
        shown = panels(space, architecture, whole, by_key, self.steps, self.task.metric)
        extra = {
            "run": name, "method": "shrink", "estimator": "trained", "objectives": [str(self.task.metric)],
            "constraints": [{"name": c.cost, "key": c.key, "limit": c.limit} for c in constraints],
            "budget": budget, "epochs": len(curve), "conditions": conditions(1, self.device), "finalists": [],
            "pareto": [], "trials": 1, "failed_trials": 0, "scored": int(cutting.get("rated", 0)), "failures": [],
            "rejected": 0, "feasibility": None, "seconds": self.seconds,
            "notes": {"panels": [panel.as_json() for panel in shown]},
            "original": {
                "network": source.name,
                "costs": {key: measurement.value for key, measurement in whole.items()},
                "steps": self.steps,
                "whole": space.channels.whole,
                "cuts": cuts(space, architecture),
                "harm": cutting.get("harm"),
            },
        }  # fmt: skip
        result = package(self.folder, space, self.task, trial, network.eval(), by_key, self.seed, extra, None)
        shutil.rmtree(self.files, ignore_errors=True)
        return result


def _kept(measured: Mapping[str, Measurement], limits: Mapping[str, float]) -> bool:
    """Whether every limit is kept, as sure as measurements are."""
    return all(measured[text].at_most <= limit for text, limit in limits.items())


def _outputs_differ(network: nn.Module, space: TrainedSpace) -> bool:
    ours = {name: tensor.shape for name, tensor in rating.inner(network).state_dict().items()}
    return ours != {name: tensor.shape for name, tensor in space.module.state_dict().items()}


def limit_of(cost: Cost, text: str, limit: str, original: float) -> float:
    """A limit in the cost's unit: absolute, or a share of what the original costs."""
    if match := re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*%\s*", limit):
        share = float(match[1]) / 100
        if share <= 0:
            raise UsageError(f"the limit {text}={limit} must be above zero.")
        return share * original
    return cost.quantity(limit, text)
