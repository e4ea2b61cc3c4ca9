"""Rounding that is learned: against rounding to nearest, against trying all of it, and the parts of known networks."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from archscout.deploy.program import Program
from archscout.deploy.quantise import Quantisation, quantise
from archscout.deploy.quantisers import LSQ, SoftRounding
from archscout.deploy.reading import read
from archscout.deploy.simulation import simulate
from archscout.training.reconstruction import RECONSTRUCTIONS, parts, reconstruct


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second, self.third = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1)
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = torch.relu(x + self.third(torch.relu(self.second(x))))
        return self.last(x.mean((2, 3)))


@pytest.fixture(scope="module")
def program() -> Program:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return read(Residual(), (3, 6, 6))


def draw(*shape: int, seed: int = 1) -> Tensor:
    # Neighbouring channels are alike, as in images: only then is there something to learn about rounding.
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator)
    return x + 2 * torch.randn(shape[0], 1, *shape[2:], generator=generator) + 1


def test_blocks_are_what_lies_between_narrow_places(program: Program) -> None:
    assert [[o.kind for o in part] for part in parts(program, True)] == [
        ["conv"], ["conv", "conv", "add"], ["mean"], ["linear"],
    ]  # fmt: skip
    assert all(len(part) == 1 for part in parts(program, False))
    assert [o for part in parts(program, True) for o in part] == list(program.operators)


@pytest.mark.parametrize("name", RECONSTRUCTIONS)
def test_it_is_nearer_than_rounding_to_nearest(program: Program, name: str) -> None:
    examples, unseen = draw(96, 3, 6, 6), draw(64, 3, 6, 6, seed=2)
    how, plan = Quantisation("academic", 3, 8, bias_correction=False), replace(RECONSTRUCTIONS[name], steps=100)
    simulation = simulate(program, examples, how, weights=SoftRounding, activations=plan.activations)
    grids = {v: simulation.of_weights[str(v)].grid().scale for v in simulation.start.layers}
    reconstruct(simulation, examples, plan)
    learned, plain = simulation.integers(), quantise(program, examples, how)
    exact = program.run(unseen)
    errors = [float((quantised.run(unseen) - exact).pow(2).mean()) for quantised in (plain, learned)]
    assert errors[1] < 0.7 * errors[0]
    for value, layer in learned.layers.items():
        weight = next(o for o in program.operators if o.output == value).weight
        assert torch.equal(layer.grid.scale, grids[value])
        off = layer.weight - weight / layer.grid.scale
        inside = (layer.weight > layer.grid.low) & (layer.weight < layer.grid.high)
        assert bool((off.abs()[inside] <= 1 + 1e-6).all()), "up or down, and nothing else"


def test_of_one_small_layer_it_is_near_the_best_of_all_roundings() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        program = read(nn.Sequential(nn.Conv2d(8, 1, 1)), (8, 4, 4))
    examples = draw(64, 8, 4, 4)
    how = Quantisation("academic", 3, 8, bias_correction=False)
    plan = replace(RECONSTRUCTIONS["adaround"], steps=150)
    simulation = simulate(program, examples, how, weights=SoftRounding)
    own = simulation.of_weights["1"]
    assert isinstance(own, SoftRounding)
    scale, target = float(own.scale()), program.run(examples)
    weight, bias = program.operators[0].weighted()

    def error(up: Tensor) -> float:
        rounded = (own.down + up).clamp(own.low, own.high) * scale
        return float((nn.functional.conv2d(examples, rounded, bias) - target).pow(2).mean())

    all_errors = sorted(error(torch.tensor(c).view_as(weight)) for c in itertools.product((0.0, 1.0), repeat=8))
    near = error((weight / scale - own.down).round())
    reconstruct(simulation, examples, plan)
    learned = error((own.up() > 0.5).float())
    assert learned < near, "rounding each to nearest is not the best"
    assert learned <= all_errors[3], "of 256"


def test_the_same_seed_gives_the_same_integers(program: Program) -> None:
    examples, plan = draw(32, 3, 6, 6), replace(RECONSTRUCTIONS["qdrop"], steps=5)

    def learned(seed: int) -> dict[int, Tensor]:
        simulation = simulate(program, examples, Quantisation("academic", 3, 4), weights=SoftRounding, activations=LSQ)
        reconstruct(simulation, examples, plan, seed=seed)
        assert simulation.drop == 0
        return {v: grid.scale for v, grid in simulation.integers().grids.items()}

    first, again, other = learned(0), learned(0), learned(1)
    assert all(torch.equal(first[v], again[v]) for v in first)
    assert any(not torch.equal(first[v], other[v]) for v in first), "scales of values are learned too"
