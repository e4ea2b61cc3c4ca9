"""Many networks trained at once, each as if it were alone.

Networks so small that the calling of operators takes most of their time are laid side by side
(`archscout.networks.stacked`), and every operator runs once for all that use it. Each keeps its own initial weights,
order of examples, augmentation, statistics of batch normalisation, optimiser state, length of gradient and best epoch,
so that what comes out is what `trainer.train` makes of each one, up to the rounding of sums. One that diverges does not
touch the others.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from archscout.core.errors import UsageError
from archscout.core.seeds import derive
from archscout.core.task import Split, Task
from archscout.networks.stacked import Stack, Unstackable, stack
from archscout.training import checkpoint as checkpoints
from archscout.training.contexts import evaluation, norm_momentum
from archscout.training.optimizers import make_optimizer, restore_optimizer
from archscout.training.recipe import Recipe
from archscout.training.speed import Mode, choose, laid_out
from archscout.training.trainer import (
    CHECKED_STEPS,
    CHECKPOINT,
    CHECKPOINT_SECONDS,
    Outcome,
    Row,
    train,
)

LEAST = 3
"""Fewer networks than these are no faster together."""

MOST = 32
"""Networks in one stack, at most: beyond that calls cost next to nothing, and feature maps leave the caches."""

ELEMENTS = 2**21
"""Numbers in the largest feature map of a stack, at most, for the same reason."""

EVALUATED = 128
"""Examples that a stack answers for at once."""


def train_many(
    networks: Sequence[nn.Module],
    task: Task,
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    device: str = "cpu",
    folder: Path | None = None,
    measured: Mapping[str, Split] | None = None,
) -> list[Outcome]:
    """Train networks in place, many at once; each ends with the weights of its best epoch, as `trainer.train` has it.

    Those that cannot be laid side by side are trained one by one. Which ones are trained together follows from their
    order alone.

    Args:
        networks: as built; they are moved to the device.
        task: see `trainer.train`.
        recipe: see `trainer.train`.
        seeds: of each network; equal seeds mean equal batches.
        device: where to train.
        folder: where checkpoints are written after each epoch (of a second and more), and from which an interrupted
            training continues.
        measured: further splits to measure after each epoch; the rows of the curve get `<name>_loss` and
            `<name>_<metric>`.

    Returns:
        An outcome a network; `seconds` is its share of the time.

    Raises:
        UsageError: if a checkpoint in `folder` is of another training.
    """
    outcomes: list[Outcome] = []
    size = _largest_stack(networks[0].to(device), task, recipe) if networks else 1
    for start in range(0, len(networks), size):
        some = [network.to(device) for network in networks[start : start + size]]
        own = None if folder is None else folder / str(start)
        outcomes += _together(some, task, recipe, seeds[start : start + size], device, own, measured or {})
    return outcomes


def stack_size(networks: Sequence[nn.Module], task: Task, recipe: Recipe) -> int:
    """How many networks like these are best trained together; 1 where they cannot be laid side by side."""
    size = _largest_stack(networks[0], task, recipe)
    if size < LEAST:
        return 1
    device = next((p.device for p in networks[0].parameters()), "cpu")
    try:
        stack(networks, task.tensors(task.train.head(2), device)[0])
    except Unstackable:
        return 1
    return size


def _largest_stack(network: nn.Module, task: Task, recipe: Recipe) -> int:
    """How many networks like this one fit into one stack."""
    largest = 1

    def look(_: nn.Module, __: Any, output: Any) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel())  # of one example

    hooks = [module.register_forward_hook(look) for module in network.modules() if not module._modules]
    try:
        x, _ = task.tensors(task.train.head(1), next((p.device for p in network.parameters()), "cpu"))
        with evaluation(network):
            network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return max(1, min(MOST, ELEMENTS // (largest * recipe.batch_size)))


def _together(
    networks: Sequence[nn.Module],
    task: Task,
    recipe: Recipe,
    seeds: Sequence[int],
    device: str,
    folder: Path | None,
    measured: Mapping[str, Split],
) -> list[Outcome]:
    started = time.perf_counter()
    x, y = task.tensors(task.train, device)
    try:
        if len(networks) < LEAST:
            raise Unstackable("they are too few.")
        stacked = stack(networks, x[:2])
    except Unstackable:
        return [
            train(network, task, recipe, seed=seed, device=device, folder=None if folder is None else folder / str(i),
                  measured=measured)
            for i, (network, seed) in enumerate(zip(networks, seeds, strict=True))
        ]  # fmt: skip
    path = None if folder is None else folder / CHECKPOINT
    checkpoint = None if path is None else checkpoints.read(path, device)
    with norm_momentum(stacked, recipe.norm_momentum):
        mode = _mode(stacked, task, recipe, x, y, checkpoint)
    with laid_out(stacked, mode.memory_format), norm_momentum(stacked, recipe.norm_momentum):
        run = _Run(stacked, task, recipe, seeds, device, x, y, mode, measured)
        before = 0.0 if path is None or checkpoint is None else run.restore(path, *checkpoint)
        kept = time.perf_counter()
        while run.epoch < recipe.epochs and run.going:
            run.advance(lambda: (before + time.perf_counter() - started) / len(networks))
            now = time.perf_counter()
            if path is not None and (run.epoch == recipe.epochs or now - kept >= CHECKPOINT_SECONDS):
                run.keep(path, before + now - started)
                kept = now
        stacked.unload(run.best)
        outcomes = run.outcomes()
    seconds = (before + time.perf_counter() - started) / len(networks)
    return [dataclasses.replace(outcome, seconds=seconds) for outcome in outcomes]


def _mode(stacked: Stack, task: Task, recipe: Recipe, x: Tensor, y: Tensor, checkpoint: tuple[Any, Any] | None) -> Mode:
    """The mode in which the training of a stack was begun; for one that begins, the fastest."""
    if checkpoint is not None and "mode" in checkpoint[1]:
        return Mode(**checkpoint[1]["mode"])
    batches = math.ceil(len(x) / recipe.batch_size)
    size = math.ceil(len(x) / batches)
    return choose(
        stacked,
        stacked.inputs(x[:size]),
        lambda network, x: _losses(task, network(x), y[None, : len(x)], recipe.label_smoothing).sum(),
        steps=recipe.epochs * batches,
        precision=recipe.precision,
        layout=recipe.layout,
    )


def _losses(task: Task, outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """The loss of each network, from their outputs and the targets for each or for all (1 x N)."""
    targets = targets.expand(len(outputs), *targets.shape[1:])
    each: Tensor = torch.vmap(lambda o, y: task.loss(o, y, smoothing))(outputs, targets)
    return each


class _Run:
    """A training of a stack under way: what changes from epoch to epoch."""

    def __init__(
        self,
        stacked: Stack,
        task: Task,
        recipe: Recipe,
        seeds: Sequence[int],
        device: str,
        x: Tensor,
        y: Tensor,
        mode: Mode,
        measured: Mapping[str, Split],
    ) -> None:
        self.stack, self.task, self.recipe, self.seeds, self.device = stacked, task, recipe, list(seeds), device
        self.x, self.y, self.mode = x, y, mode
        self.splits = {
            name: task.tensors(split, device) for name, split in {"valid": task.valid, **measured}.items()
        }  # fmt: skip
        self.steps = math.ceil(len(x) / recipe.batch_size)
        self.weights = [(shared.whole, shared.owners.to(device)) for shared in stacked.shared
                        if isinstance(shared.whole, nn.Parameter) and shared.whole.requires_grad]  # fmt: skip
        self._alike: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = {}
        for weight, owners in self.weights:
            shape = (weight.shape[0] // len(owners), *weight.shape[1:])
            self._alike.setdefault(shape, []).append((weight, owners))
        self.optimizer = make_optimizer(stacked, task.outputs, recipe, mode)
        self.epoch = 0
        self.best = [shared.parts.clone() for shared in stacked.shared]
        self.curves: list[list[Row]] = [[] for _ in seeds]
        self.best_epochs = [0] * len(seeds)
        self.reasons = [""] * len(seeds)

    @property
    def going(self) -> bool:
        """Whether there is a network that has not diverged."""
        return not all(self.reasons)

    def advance(self, seconds: Callable[[], float]) -> None:
        """Train and evaluate for one epoch."""
        trained = self._train_epoch()
        measures = {name: self._measure(x, y) for name, (x, y) in self.splits.items()}
        self.epoch += 1
        metric = f"valid_{self.task.metric}"
        better = torch.zeros(len(self.seeds), dtype=torch.bool, device=self.device)
        for i, (curve, (train_loss, train_metric)) in enumerate(zip(self.curves, trained, strict=True)):
            if self.reasons[i]:
                continue
            valid_loss = measures["valid"][i][0]
            for name, loss in (("training", train_loss), ("validation", valid_loss)):
                if not self.reasons[i] and not math.isfinite(loss):
                    self.reasons[i] = f"the {name} loss was {loss} in epoch {self.epoch}"
            if self.reasons[i]:
                continue
            row: Row = {"epoch": self.epoch, "train_loss": train_loss, f"train_{self.task.metric}": train_metric}
            for name, values in measures.items():
                row[f"{name}_loss"], row[f"{name}_{self.task.metric}"] = values[i]
            row["learning_rate"] = self.optimizer.param_groups[0]["lr"]
            row["seconds"] = seconds()
            curve.append(row)
            best = curve[self.best_epochs[i] - 1]
            oriented = self.task.metric.oriented
            now, before = (oriented(row[metric]), -valid_loss), (oriented(best[metric]), -best["valid_loss"])
            if not self.best_epochs[i] or now > before:
                self.best_epochs[i] = self.epoch
                better[i] = True
        for shared, best_parts in zip(self.stack.shared, self.best, strict=True):
            chosen = better[shared.owners].view(-1, *[1] * (best_parts.ndim - 1))
            best_parts.copy_(torch.where(chosen, shared.parts, best_parts))

    def _train_epoch(self) -> list[tuple[float, float]]:
        """One pass over the training examples; the mean loss of each, as far as it is finite, and the metric."""
        recipe, task, optimizer = self.recipe, self.task, self.optimizer
        seeds = self.seeds[:1] if len(set(self.seeds)) == 1 else self.seeds
        generators = [Generator(self.device).manual_seed(derive(seed, "batches", self.epoch)) for seed in seeds]
        orders = [torch.randperm(len(self.x), generator=g, device=self.device) for g in generators]
        order = torch.stack(orders)
        losses: list[Tensor] = []
        answers: list[Tensor] = []
        self.stack.train()
        batches = order.tensor_split(self.steps, dim=1)
        for step, rows in enumerate(batches):
            rate = recipe.rate(self.epoch * self.steps + step, self.steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            parts = [self.x[row] for row in rows]
            if recipe.augment:
                parts = task.augment_each(parts, generators)
            x = self.stack.inputs(parts[0] if len(parts) == 1 else torch.stack(parts))
            with self.mode.autocast(self.device):
                outputs = self.stack(x)
                loss = _losses(task, outputs, self.y[rows], recipe.label_smoothing)
            optimizer.zero_grad()
            loss.sum().backward()  # type: ignore[no-untyped-call]
            if recipe.gradient_clip:
                self._clip(recipe.gradient_clip)
            optimizer.step()
            losses.append(loss.detach())
            answers.append(outputs.detach())
            if step % CHECKED_STEPS == 0 and not losses[-1].isfinite().any():
                break
        sizes = [rows.shape[1] for rows in batches]
        seen = torch.cat(answers, 1)
        targets = self.y[order[:, : seen.shape[1]]].expand(len(seen), -1)
        made = []
        for column, outputs, y in zip(torch.stack(losses, 1).tolist(), seen, targets, strict=True):
            # Alone it would have ended here; what came afterwards is nobody's.
            end = next((s + 1 for s in range(0, len(column), CHECKED_STEPS) if not math.isfinite(column[s])), None)
            loss_of_all = sum(n * value for n, value in zip(sizes, column[:end], strict=False)) / len(self.x)
            made.append((loss_of_all, task.measure(outputs, y)))
        return made

    def _clip(self, longest: float) -> None:
        """Shorten the gradient of each network whose norm is above `longest`, as `clip_grad_norm_` does."""
        squares = torch.zeros(len(self.seeds), dtype=torch.float64, device=self.device)
        for group in self._alike.values():
            # One call for all that have one shape: there are a hundred weights, but a dozen shapes.
            used = [(weight.grad, owners) for weight, owners in group if weight.grad is not None]
            if used:
                owners = torch.cat([owners for _, owners in used])
                parts = torch.unflatten(torch.cat([gradient for gradient, _ in used]), 0, (len(owners), -1))
                norms = torch.linalg.vector_norm(parts, dim=tuple(range(1, parts.ndim)))
                squares.index_add_(0, owners, norms.double().square())
        factors = (longest / (squares.sqrt() + 1e-6)).clamp(max=1.0)
        if bool((factors < 1).any()):
            for weight, owners in self.weights:
                if weight.grad is not None:
                    parts = torch.unflatten(weight.grad, 0, (len(owners), -1))
                    parts.mul_(factors[owners].to(parts.dtype).view(-1, *[1] * (parts.ndim - 1)))

    def _measure(self, x: Tensor, y: Tensor, mode: Mode | None = None) -> list[tuple[float, float]]:
        """Loss and metric of each network on a split."""
        with evaluation(self.stack), (mode or self.mode).autocast(self.device):
            outputs = torch.cat([self.stack(self.stack.inputs(part)) for part in torch.split(x, EVALUATED)], 1)
        if self.mode.mixed:
            outputs = outputs.float()
        losses = _losses(self.task, outputs, y[None], 0.0).tolist()
        return [(loss, self.task.measure(o, y)) for loss, o in zip(losses, outputs, strict=True)]

    def outcomes(self) -> list[Outcome]:
        metric = f"valid_{self.task.metric}"
        metrics = [curve[best - 1][metric] if best else math.nan
                   for curve, best in zip(self.curves, self.best_epochs, strict=True)]  # fmt: skip
        if self.mode.mixed:  # in single precision, as the networks will be used
            for shared, best_parts in zip(self.stack.shared, self.best, strict=True):
                shared.parts.copy_(best_parts)
            measured = self._measure(*self.splits["valid"], dataclasses.replace(self.mode, precision="float32"))
            metrics = [value if best else math.nan for best, (_, value) in zip(self.best_epochs, measured, strict=True)]
        return [
            Outcome(tuple(curve), best, value, 0.0, bool(reason), reason, self.mode)
            for curve, best, value, reason in zip(self.curves, self.best_epochs, metrics, self.reasons, strict=True)
        ]

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        return {"recipe": dataclasses.asdict(self.recipe), "seeds": self.seeds, "task": self.task.digest}

    def keep(self, path: Path, seconds: float) -> None:
        tensors = {f"network.{i}": shared.whole.detach() for i, shared in enumerate(self.stack.shared)}
        tensors |= {f"best.{i}": best for i, best in enumerate(self.best)}
        for position, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{position}.{name}": t for name, t in state.items() if isinstance(t, Tensor)}
        notes: dict[str, Any] = {
            "epoch": self.epoch,
            "seconds": seconds,
            "curves": self.curves,
            "best_epochs": self.best_epochs,
        }
        notes |= {"mode": self.mode.notes(), "reasons": self.reasons}
        checkpoints.write(path, tensors, {**self._identity(), **notes})

    def restore(self, path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> float:
        """Continue where the checkpoint ended; the seconds spent until then."""
        wholes = [shared.whole for shared in self.stack.shared]
        network, best = checkpoints.part(tensors, "network"), checkpoints.part(tensors, "best")
        same = {n: t.shape for n, t in network.items()} == {str(i): whole.shape for i, whole in enumerate(wholes)}
        if not same or any(notes.get(key) != value for key, value in self._identity().items()):
            raise UsageError(f"the checkpoint '{path}' is of another training: delete it, or choose another folder.")
        with torch.no_grad():
            for i, whole in enumerate(wholes):
                whole.copy_(network[str(i)])
                self.best[i].copy_(best[str(i)])
        restore_optimizer(self.optimizer, checkpoints.part(tensors, "optimizer"))
        self.epoch, self.curves = notes["epoch"], notes["curves"]
        self.best_epochs, self.reasons = notes["best_epochs"], notes["reasons"]
        return float(notes["seconds"])
