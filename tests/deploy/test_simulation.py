"""The simulation against the integers that it stands for, and against batch normalisation of PyTorch."""

import pytest
import torch
from torch import Tensor, nn

from archscout.core.errors import UsageError
from archscout.deploy.program import Program
from archscout.deploy.quantise import Quantisation
from archscout.deploy.quantisers import LSQ, QUANTISERS, Fixed, LSQPlus
from archscout.deploy.reading import read
from archscout.deploy.simulation import Norm, Simulation, academic, simulate

SHAPE = (3, 8, 8)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.third = nn.Conv2d(8, 8, 1)
        self.last = nn.Linear(8 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = torch.relu(x + self.third(torch.relu(self.second(x))))
        return self.last(nn.functional.max_pool2d(x, 4).flatten(1))


@pytest.fixture(scope="module")
def program() -> Program:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return read(Residual(), SHAPE)


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(32, *SHAPE, generator=torch.Generator().manual_seed(1))


def steps_apart(simulation: Simulation, x: Tensor) -> Tensor:
    quantised = simulation.integers()
    grid = quantised.grids[quantised.program.output]
    with torch.no_grad():
        return (grid.quantise(simulation(x)) - quantised.integers(x)).abs()


@pytest.mark.parametrize("scheme", ["microcontroller", "academic", "vitis-like"])
@pytest.mark.parametrize("name", QUANTISERS)
def test_it_answers_as_its_integers_do(program: Program, x: Tensor, scheme: str, name: str) -> None:
    kind = QUANTISERS[name]
    simulation = simulate(program, x, Quantisation(scheme, 4, 8), weights=kind, activations=kind).eval()
    apart = steps_apart(simulation, x)
    # A tie that is rounded the other way moves what comes after it.
    assert int(apart.max()) <= 3
    assert float(apart.double().mean()) < 0.5


def test_it_still_does_after_a_step(program: Program, x: Tensor) -> None:
    simulation = simulate(program, x, Quantisation("snpe-like", 4, 4), weights=LSQPlus, activations=LSQPlus)
    target = program.run(x)
    optimizer = torch.optim.SGD(simulation.parameters(), lr=0.05)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = (simulation(x) - target).pow(2).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0], "both grids and weights learn"
    assert int(steps_apart(simulation.eval(), x).max()) <= 1


@pytest.mark.parametrize("fold", ["running", "batch"])
def test_a_norm_changes_nothing_at_first(program: Program, x: Tensor, fold: str) -> None:
    how = Quantisation("academic", 8, 8)
    plain, with_norms = (simulate(program, x, how, fold=each) for each in ("merged", fold))
    assert len(with_norms.norms) == 3, "one a convolution"
    for simulation in (plain, with_norms):
        simulation.drop = 1.0
    with torch.no_grad():
        assert torch.allclose(plain(x), with_norms(x), atol=0.02), "in training"
        assert torch.allclose(plain.eval()(x), with_norms.eval()(x), atol=0.01)


def test_batch_statistics_are_those_of_batch_normalisation(x: Tensor) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6, momentum=0.1)).train()
        network(x)  # statistics of some use
    other = 2 * x[:8] + 1
    program = read(network.eval(), SHAPE)
    simulation = simulate(program, x, Quantisation(), fold="batch").train()
    simulation.drop = 1.0
    simulation.of_weights["1"].forward = lambda weight: weight  # type: ignore[method-assign] - no rounding
    norm = simulation.norms["1"]
    assert isinstance(norm, Norm)
    reference = nn.BatchNorm2d(6, momentum=0.1)
    with torch.no_grad():
        sums = nn.functional.conv2d(other, simulation.weights["1"])
        reference.running_mean.copy_(norm.mean)
        reference.weight.copy_(norm.gain)
        reference.bias.copy_(norm.shift)
        expected = reference(sums)
        answered = simulation(other)
    assert torch.allclose(answered, expected, atol=1e-3)
    assert torch.allclose(norm.mean, reference.running_mean, atol=1e-5)
    simulation.freeze()
    before = norm.mean.clone()
    with torch.no_grad():
        simulation(other)
    assert torch.equal(norm.mean, before)


def test_the_academic_track_leaves_values_between_layers(program: Program, x: Tensor) -> None:
    how = Quantisation("academic", 2, 2)
    simulation = simulate(program, x, how, track="academic", weights=LSQ, activations=LSQ).eval()
    bits = {o.output: (academic(program, how).of(o)) for o in program.operators}
    layers = [o.output for o in program.operators if o.weight is not None]
    assert [bits[v].weights.bits for v in layers] == [8, 2, 2, 8]
    sums = next(o for o in program.operators if o.kind == "add")
    y = simulation.calculate(sums, [torch.randn(2, 8, 8, 8), torch.randn(2, 8, 8, 8)])
    assert len(y.unique()) > 256, "a sum is not brought to a grid"
    with torch.no_grad():
        assert not torch.allclose(simulation(x), program.run(x), atol=1e-2), "inputs of layers are"
    with pytest.raises(UsageError, match=r"academic track .* no integers"):
        simulation.integers()


def test_inputs_keep_their_range(program: Program, x: Tensor) -> None:
    simulation = simulate(program, x, Quantisation(), weights=LSQ, activations=LSQ)
    assert type(simulation.of_values["0"]) is Fixed


@pytest.mark.parametrize(("wrong", "said"), [({"track": "paper"}, "no track 'paper'"), ({"fold": "none"}, "'none'")])
def test_wrong_choices_are_named(program: Program, x: Tensor, wrong: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        simulate(program, x, Quantisation(), **wrong)
