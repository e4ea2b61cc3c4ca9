"""Rounding that is learned after training, part by part, so that each part answers as it did: no labels are needed.

- AdaRound (Nagel et al. 2020, arXiv 2004.10568): layer by layer, values between them as they are.
- BRECQ (Li et al. 2021, arXiv 2102.05426): block by block. A block is what lies between two places where the network is
  one value wide, so that a residual block is one; plain squared error, not weighted by gradients.
- QDrop (Wei et al. 2022, arXiv 2203.05740): as BRECQ, with values on their grid but for a random half of the numbers;
  their scales are learned too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.optim import Adam

from archscout.core.seeds import derive
from archscout.deploy.program import Operator, Program, calculate
from archscout.deploy.quantisers import LSQ, Fixed, Quantiser, SoftRounding
from archscout.deploy.simulation import Simulation
from archscout.training.optimizers import descend

_HELD = 2**25
"""Numbers of the largest value that are held at once."""


@dataclass(frozen=True)
class Reconstruction:
    """How rounding is learned.

    Args:
        blocks: whether parts are blocks, or single layers.
        drop: the share of numbers of values that are left as they are; 1 for all.
        steps: of the optimiser for each part.
        batch: examples a step.
        rate: the learning rate of what says up or down (Adam).
        scale_rate: that of the scales of values.
        hardness: how much it counts that each weight goes up or down for good, once `warm_up` of the steps are over, in
            units of the error of rounding to nearest, for each weight.
    """

    blocks: bool = False
    drop: float = 1.0
    steps: int = 300
    batch: int = 32
    rate: float = 3e-2
    scale_rate: float = 1e-3
    hardness: float = 3.0
    warm_up: float = 0.2

    @property
    def activations(self) -> type[Quantiser]:
        return Fixed if self.drop == 1 else LSQ


RECONSTRUCTIONS: Mapping[str, Reconstruction] = {
    "adaround": Reconstruction(),
    "brecq": Reconstruction(blocks=True),
    "qdrop": Reconstruction(blocks=True, drop=0.5),
}


def parts(program: Program, blocks: bool) -> list[tuple[Operator, ...]]:
    """The operators in order: each alone, or together from one place where a single value lives to the next."""
    if not blocks:
        return [(operator,) for operator in program.operators]
    whole: list[tuple[Operator, ...]] = []
    open_part: list[Operator] = []
    alive = {0}
    for operator, dead in zip(program.operators, program.dead_after(), strict=True):
        open_part.append(operator)
        alive = (alive | {operator.output}) - set(dead)
        if alive <= {operator.output}:
            whole.append(tuple(open_part))
            open_part = []
    return [*whole, *([tuple(open_part)] if open_part else [])]


def reconstruct(simulation: Simulation, examples: Tensor, how: Reconstruction, *, seed: int = 0) -> None:
    """Learn the rounding of a simulation whose weights have `SoftRounding`, in place.

    Args:
        simulation: as made by `archscout.deploy.simulation.simulate`.
        examples: stored inputs, some hundreds.
        how: which parts, and how long.
        seed: of the batches, and of the numbers that are dropped.
    """
    program = simulation.program
    most = max(how.batch, _HELD // max(math.prod(shape) for shape in program.shapes.values()))
    generator = torch.Generator().manual_seed(derive(seed, "reconstruction"))
    simulation.generator = generator
    dead = dict(zip((o.output for o in program.operators), program.dead_after(), strict=True))
    given = program.normalised(examples[:most])
    with torch.no_grad():
        simulation.drop = how.drop if how.drop == 1 else 0.0
        exact, rounded = {0: given}, {0: simulation.quantised_value(0, given)}
    for part in parts(program, how.blocks):
        inputs = {v: (exact[v], rounded[v]) for o in part for v in o.inputs if v in exact}
        with torch.no_grad():
            for operator in part:
                exact[operator.output] = calculate(operator, [exact[v] for v in operator.inputs])
        soft = [own for o in part if isinstance(own := _rounding(simulation, o), SoftRounding)]
        if soft:
            simulation.drop = how.drop
            _learn(simulation, part, inputs, exact[part[-1].output], soft, how, generator)
        with torch.no_grad():
            simulation.drop = how.drop if how.drop == 1 else 0.0
            for operator in part:
                rounded[operator.output] = simulation.calculate(operator, [rounded[v] for v in operator.inputs])
                for value in dead[operator.output]:
                    del exact[value], rounded[value]
    simulation.drop = 0.0


def _rounding(simulation: Simulation, operator: Operator) -> object:
    key = str(operator.output)
    return simulation.of_weights[key] if key in simulation.of_weights else None  # noqa: SIM401 - no dict


def _learn(
    simulation: Simulation,
    part: Sequence[Operator],
    inputs: Mapping[int, tuple[Tensor, Tensor]],
    target: Tensor,
    soft: Sequence[SoftRounding],
    how: Reconstruction,
    generator: torch.Generator,
) -> None:
    keys = [str(simulation.source(o.output)) for o in part]
    values = [simulation.of_values[key] for key in dict.fromkeys(keys) if key in simulation.of_values]
    scales = [] if how.drop == 1 else [p for value in values for p in value.parameters()]
    groups = [{"params": [own.v for own in soft], "lr": how.rate}, {"params": scales, "lr": how.scale_rate}]
    optimizer = Adam([group for group in groups if group["params"]])
    count = sum(own.v.numel() for own in soft)
    unit = _nearest_error(simulation, part, inputs, target, soft).clamp(min=1e-12) / count
    warm = round(how.warm_up * how.steps)

    def loss(rows: Tensor, step: int) -> Tensor:
        outputs = {v: _mixed(pair, rows, how.drop, generator) for v, pair in inputs.items()}
        for operator in part:
            outputs[operator.output] = simulation.calculate(operator, [outputs[v] for v in operator.inputs])
        # In units of what rounding to nearest does for each weight, so that `hardness` means the same everywhere.
        value = (outputs[part[-1].output] - target[rows]).pow(2).mean() / unit
        if step >= warm:
            beta = 2 + 9 * (1 + math.cos(math.pi * (step - warm) / max(1, how.steps - warm)))
            value = value + how.hardness * torch.stack([own.hardness(beta) for own in soft]).sum()
        return value

    for step in range(how.steps):
        rows = torch.randint(len(target), (min(how.batch, len(target)),), generator=generator)
        descend(optimizer, partial(_backward, loss, rows, step))
    for own in soft:
        own.harden()


def _nearest_error(
    simulation: Simulation,
    part: Sequence[Operator],
    inputs: Mapping[int, tuple[Tensor, Tensor]],
    target: Tensor,
    soft: Sequence[SoftRounding],
) -> Tensor:
    """The mean squared error of a part where all of its weights are rounded to nearest, values as they are."""
    begun, drop = [own.v.detach().clone() for own in soft], simulation.drop
    simulation.drop = 1.0
    with torch.no_grad():
        for own in soft:
            own.harden()
        values = {v: exact for v, (exact, _) in inputs.items()}
        for operator in part:
            values[operator.output] = simulation.calculate(operator, [values[v] for v in operator.inputs])
        for own, before in zip(soft, begun, strict=True):
            own.v.copy_(before)
    simulation.drop = drop
    return (values[part[-1].output] - target).pow(2).mean()


def _backward(loss: Callable[[Tensor, int], Tensor], rows: Tensor, step: int) -> None:
    loss(rows, step).backward()  # type: ignore[no-untyped-call]


def _mixed(pair: tuple[Tensor, Tensor], rows: Tensor, drop: float, generator: torch.Generator) -> Tensor:
    """The inputs of a part: rounded before it, and where numbers are dropped, partly exact."""
    exact, rounded = pair[0][rows], pair[1][rows]
    if drop == 1:
        return rounded
    return torch.where(torch.rand(exact.shape, generator=generator) < drop, exact, rounded)
