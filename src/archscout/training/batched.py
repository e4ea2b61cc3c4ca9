"""Many networks trained at once, each as if it were alone.

Networks so small that the calling of operators takes most of their time are laid side by side
(`archscout.networks.stacked`), and every operator runs once for all that use it. Each keeps its own initial weights,
order of examples, augmentation, statistics of batch normalisation, optimiser state, length of gradient and best epoch,
so that what comes out is what `trainer.train` makes of each one, up to the rounding of sums. One that diverges does not
touch the others.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from archscout.core.task import Split, Task
from archscout.networks.stacked import Stack, Unstackable, stack
from archscout.training import checkpoint as checkpoints
from archscout.training.contexts import evaluation, hookable, norm_momentum, own_randomness
from archscout.training.course import CHECKPOINT, Course, Data, Examples, Outcome, mixed
from archscout.training.objective import Objective
from archscout.training.recipe import Recipe
from archscout.training.speed import Mode, choose, laid_out
from archscout.training.trainer import load_start, train, weights_digest

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
    start: Mapping[str, Tensor] | None = None,
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
        start: weights that all start from, see `trainer.train`.

    Returns:
        An outcome a network; `seconds` is its share of the time.

    Raises:
        UsageError: if a checkpoint in `folder` is of another training.
    """
    outcomes: list[Outcome] = []
    size = _largest_stack(networks[0].to(device), task, recipe) if networks else 1
    for first in range(0, len(networks), size):
        some = [network.to(device) for network in networks[first : first + size]]
        own = None if folder is None else folder / str(first)
        outcomes += _together(some, task, recipe, seeds[first : first + size], device, own, measured or {}, start)
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
    if recipe.sparsity or recipe.bits:
        return 1  # what is chosen in each step is chosen for a network alone
    largest = 1

    def look(_: nn.Module, __: Any, output: Any) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel())  # of one example

    hooks = [module.register_forward_hook(look) for module in hookable(network) if not module._modules]
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
    start: Mapping[str, Tensor] | None,
) -> list[Outcome]:
    started = time.perf_counter()
    data = Data(task, recipe, device, measured)
    try:
        if len(networks) < LEAST:
            raise Unstackable("they are too few.")
        if start is not None:
            for network in networks:
                load_start(network, start)
        stacked = stack(networks, data.fitted.x[:2])
    except Unstackable:
        return [
            train(network, task, recipe, seed=seed, device=device, folder=None if folder is None else folder / str(i),
                  measured=measured, start=start)
            for i, (network, seed) in enumerate(zip(networks, seeds, strict=True))
        ]  # fmt: skip
    path = None if folder is None else folder / CHECKPOINT
    checkpoint = None if path is None else checkpoints.read(path, device)
    with own_randomness(device), norm_momentum(stacked, recipe.norm_momentum):
        if checkpoint is not None and "mode" in checkpoint[1]:
            mode = Mode(**checkpoint[1]["mode"])
        else:
            y = data.fitted.y[: data.batch_size][None]
            mode = choose(
                stacked,
                stacked.inputs(data.fitted.x[: data.batch_size]),
                lambda network, x: _losses(task, network(x), y[:, : len(x)], recipe.label_smoothing).sum(),
                steps=recipe.epochs * data.steps,
                precision=recipe.precision,
                layout=recipe.layout,
            )
        with laid_out(stacked, mode.memory_format):
            course = _Many(
                stacked,
                task,
                recipe,
                seeds,
                device,
                data,
                mode,
                Objective(),
                {"start": start and weights_digest(start)},
            )
            before = 0.0 if path is None or checkpoint is None else course.restore(path, *checkpoint)
            course.run(path, before, started)
            course.load_best()
            outcomes = course.outcomes()
    stacked.unload(list(course.best.values()))
    seconds = (before + time.perf_counter() - started) / len(networks)
    return [dataclasses.replace(outcome, seconds=seconds) for outcome in outcomes]


def _losses(task: Task, outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """The loss of each network, from their outputs and the targets for each or for all (1 x N)."""
    targets = targets.expand(len(outputs), *targets.shape[1:])
    try:
        each: Tensor = torch.vmap(lambda o, y: task.loss(o, y, smoothing))(outputs, targets)
    except (RuntimeError, ValueError, TypeError):
        # A loss that picks examples by a mask, or looks at a number, is not for many networks at once.
        each = torch.stack([task.loss(o, y, smoothing) for o, y in zip(outputs, targets, strict=True)])
    return each


class _Many(Course):
    """The course of a stack."""

    def __init__(self, stacked: Stack, *arguments: Any) -> None:
        self.stack = stacked
        self._answered: list[tuple[Tensor, Tensor]] = []
        super().__init__(stacked, *arguments)
        self.weights = [(shared.whole, shared.owners.to(self.device)) for shared in stacked.shared
                        if isinstance(shared.whole, nn.Parameter) and shared.whole.requires_grad]  # fmt: skip
        self._alike: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = {}
        for weight, owners in self.weights:
            shape = (weight.shape[0] // len(owners), *weight.shape[1:])
            self._alike.setdefault(shape, []).append((weight, owners))

    def state(self) -> dict[str, Tensor]:
        return {str(i): shared.whole.detach() for i, shared in enumerate(self.stack.shared)}

    def inputs(self, x: Tensor) -> Tensor:
        return self.stack.inputs(x)

    def draw(self, rows: Sequence[Tensor], generators: Sequence[Generator]) -> Examples:
        chosen = torch.stack(list(rows))
        x, y = (torch.unflatten(part[chosen.flatten()], 0, chosen.shape) for part in self.data.fitted)  # M x N x ...
        if self.recipe.augment:
            x, y = (torch.stack(some) for some in self.transforming.transform_each(list(x), list(y), generators))
        return Examples(self.stack.inputs(x if len(x) > 1 else x[0]), y)

    def losses(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.stack(x)
        return _losses(self.task, outputs, y, self.recipe.label_smoothing), outputs

    def answered(self, outputs: Any, y: Tensor) -> None:
        # Together, in the end: a meter for each network would call as many operators as it saves.
        self._answered.append((outputs, y))

    def train_metrics(self) -> list[float]:
        outputs, targets = (torch.cat(parts, 1) for parts in zip(*self._answered, strict=True))
        self._answered = []
        targets = targets.expand(len(outputs), *targets.shape[1:])
        return [self.task.measure(*each) for each in zip(outputs, targets, strict=True)]

    def clip(self, longest: float) -> None:
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

    def measure(self, examples: Examples, mode: Mode) -> list[tuple[float, float]]:
        x, y = examples.x, examples.y[:]
        with evaluation(self.stack), mode.autocast(self.device):
            outputs = torch.cat([self.stack(self.stack.inputs(part)) for part in torch.split(x, EVALUATED)], 1)
        if mode.mixed:
            outputs = outputs.float()
        losses = _losses(self.task, outputs, y[None], 0.0).tolist()
        return [(loss, self.task.measure(o, y)) for loss, o in zip(losses, outputs, strict=True)]

    def snapshot(self) -> dict[str, Tensor]:
        # By parts, because a counter, which the stack holds once, counts to another best epoch for each network.
        return {str(i): shared.parts.clone() for i, shared in enumerate(self.stack.shared)}

    def keep_best(self, better: Sequence[bool]) -> None:
        chosen = torch.tensor(better, device=self.device)
        for shared, best in zip(self.stack.shared, self.best.values(), strict=True):
            own = chosen[shared.owners].view(-1, *[1] * (best.ndim - 1))
            best.copy_(torch.where(own, mixed(best, shared.parts, self.share), best))

    def load_best(self) -> None:
        for shared, best in zip(self.stack.shared, self.best.values(), strict=True):
            if shared.whole.ndim:
                shared.parts.copy_(best)
