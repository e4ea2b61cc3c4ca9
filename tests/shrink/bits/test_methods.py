"""Choices of bits: costs and losses against real integers, and methods against every combination."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from archscout.core.errors import DataError, UsageError
from archscout.deploy.program import Program
from archscout.deploy.quantise import Quantisation, quantise
from archscout.shrink.bits.hessian import Loss, layer_bytes, weighted
from archscout.shrink.bits.limits import bit_operations, read_table, table_latency, weight_bytes
from archscout.shrink.bits.methods import METHODS, mixed
from archscout.shrink.bits.problem import BitProblem, Choice

HOW = Quantisation(bias_correction=False)


FEWER = {"evaluations": 60}
OPTIONS: dict[str, dict[str, int]] = {"genetic": FEWER, "reinforcement": FEWER}


def problem_of(program: Program, examples: Tensor, loss: Loss, bits: tuple[int, ...], **shares: float) -> BitProblem:
    """With limits as shares of what 8 bits take: `weight_bytes`, `bit_operations`."""
    makers = {"weight_bytes": weight_bytes, "bit_operations": bit_operations}
    full = {"weight_bytes": sum(layer_bytes(o, 8) for o in weighted(program)), "bit_operations": 64 * program.macs}
    limits = [makers[name](program, share * full[name]) for name, share in shares.items()]
    return BitProblem(program, examples, loss, HOW, limits, bits=bits)


@pytest.fixture(scope="module")
def of_bytes(program: Program, examples: Tensor, loss: Loss) -> BitProblem:
    """81 choices."""
    return problem_of(program, examples, loss, (2, 4, 8), weight_bytes=0.6)


@pytest.fixture(scope="module")
def of_both(program: Program, examples: Tensor, loss: Loss) -> BitProblem:
    """128 choices."""
    return problem_of(program, examples, loss, (3, 8), weight_bytes=0.7, bit_operations=0.5)


def choices(problem: BitProblem) -> list[Choice]:
    return list(itertools.product(range(len(problem.bits)), repeat=len(problem.places)))


def test_activations_are_chosen_where_a_limit_depends_on_them(of_bytes: BitProblem, of_both: BitProblem) -> None:
    assert len(of_bytes.places) == 4
    assert len(of_both.places) == 4 + 3, "the input of the network has the bits of pixels"


@pytest.mark.parametrize("bias_correction", [False, True])
def test_losses_and_costs_are_those_of_the_integers(
    bias_correction: bool, of_both: BitProblem, examples: Tensor, loss: Loss
) -> None:
    rng, how = np.random.default_rng(0), Quantisation(bias_correction=bias_correction)
    problem = BitProblem(of_both.program, examples, loss, how, of_both.limits, bits=of_both.bits)
    for _ in range(4):
        choice = tuple(int(k) for k in rng.integers(2, size=7))
        quantised = quantise(problem.program, examples, problem.quantisation(choice))
        exact, rounded = quantised.run(examples), problem.outputs(choice)
        step = float(quantised.grids[problem.program.output].scale)
        # Halves are rounded otherwise here and there.
        assert float((exact - rounded).abs().mean()) < 0.6 * step
        assert problem.cost(problem.limits[0], choice) == quantised.weight_bytes
        assert problem.cost(problem.limits[1], choice) == quantised.bit_operations


def test_a_mixture_of_one_position_is_that_position(of_both: BitProblem) -> None:
    choice = (1, 1, 1, 1, 0, 1, 1)
    mixture = [torch.nn.functional.one_hot(torch.tensor(k), 2).float() for k in choice]
    step = float(of_both.fixed[of_both.program.output].scale)
    torch.testing.assert_close(of_both.outputs(mixture), of_both.outputs(choice), atol=3 * step, rtol=0)


@pytest.mark.parametrize("name", ["of_bytes", "of_both"])
def test_what_is_settled_is_the_best_of_all_combinations(name: str, request: pytest.FixtureRequest) -> None:
    problem: BitProblem = request.getfixturevalue(name)
    rng = np.random.default_rng(0)
    possible = [choice for choice in choices(problem) if problem.keeps(choice)]
    assert 0 < len(possible) < len(choices(problem))
    for _ in range(3):
        harms = [np.sort(rng.exponential(1, len(problem.bits)))[::-1] for _ in problem.places]
        harm = {choice: sum(h[k] for h, k in zip(harms, choice, strict=True)) for choice in possible}
        settled = problem.settle(harms)
        assert harm[settled] == pytest.approx(min(harm.values()))


def test_what_is_rolled_back_keeps_the_limits_and_is_no_lower_than_needed(of_both: BitProblem) -> None:
    for choice in choices(of_both)[::7]:
        lowered = of_both.rolled_back(choice)
        assert of_both.keeps(lowered)
        assert all(after <= before for after, before in zip(lowered, choice, strict=True))
        assert lowered == choice or not of_both.keeps(choice)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["of_bytes", "of_both"])
def test_methods_against_every_combination(method: str, name: str, request: pytest.FixtureRequest) -> None:
    """Every choice is measured: what a method takes is among the best within the limits."""
    problem: BitProblem = request.getfixturevalue(name)
    truth = {choice: problem.loss_of(choice) for choice in choices(problem) if problem.keeps(choice)}
    known, problem.known = problem.known, {}
    chosen = METHODS[method](problem, 0, **OPTIONS.get(method, {}))  # type: ignore[call-arg]
    problem.known = known
    rank = sum(value < truth[chosen] for value in truth.values()) / len(truth)
    assert rank <= (0.3 if method in ("differentiable", "fractional") else 0.1), (chosen, truth[chosen])
    if method == "exhaustive":
        assert truth[chosen] == min(truth.values())


def test_uniform_bits_are_taken_where_they_lose_less(program: Program, examples: Tensor, loss: Loss) -> None:
    limits = [weight_bytes(program, 0.6 * sum(layer_bytes(o, 8) for o in weighted(program)))]
    problem = BitProblem(program, examples, loss, HOW, limits)
    how = mixed(program, examples, loss, HOW, limits, method="fractional")
    lost = float(loss(quantise(program, examples, how).run(examples)))
    assert lost <= 1.05 * problem.loss_of(problem.uniform())
    assert quantise(program, examples, how).weight_bytes <= limits[0].most


@pytest.mark.parametrize("method", ["genetic", "reinforcement"])
def test_one_seed_gives_one_choice(method: str, of_bytes: BitProblem) -> None:
    chosen = []
    for _ in range(2):
        of_bytes.known = {}
        METHODS[method](of_bytes, 3, evaluations=24)  # type: ignore[call-arg]
        chosen.append(list(of_bytes.known))
    assert chosen[0] == chosen[1], "the same ones are measured in the same order"


def test_latency_by_a_table(program: Program, examples: Tensor, loss: Loss, tmp_path: Path) -> None:
    """Of hardware that is no faster with 4 bits than with 8, 4 bits are chosen for nothing."""
    file = tmp_path / "table.csv"
    rows = [f"{layer},{w},{a},{1 if w == 2 else 3}" for layer in range(1, 5) for w in (2, 4, 8) for a in (8,)]
    file.write_text("layer,weight_bits,activation_bits,ms\n" + "\n".join(rows), encoding="utf-8")
    limit = table_latency(program, read_table(file), 10)
    problem = BitProblem(program, examples, loss, HOW, [limit], bits=(2, 4, 8))
    for method in ("hawq", "genetic", "fractional"):
        chosen = METHODS[method](problem, 0, **OPTIONS.get(method, {}))  # type: ignore[call-arg]
        assert problem.cost(limit, chosen) <= 10
        assert all(position == 2 for position in chosen[4:]), "activations of other bits are not in the table"
    file.write_text("layer,weight_bits,activation_bits,ms\n1,8,8,fast", encoding="utf-8")
    with pytest.raises(DataError, match=r"line 2 of .* is no latency of a layer"):
        read_table(file)
    with pytest.raises(UsageError, match="nothing of layer 2 of 4"):
        table_latency(program, {(0, 8, 8): 1.0}, 10)


def test_limits_that_cannot_be_kept_are_told(program: Program, examples: Tensor, loss: Loss) -> None:
    with pytest.raises(UsageError, match=r"the weights take [\d,]+ bytes with the fewest bits"):
        BitProblem(program, examples, loss, HOW, [weight_bytes(program, 100)])
    with pytest.raises(UsageError, match="bits are chosen within a limit"):
        BitProblem(program, examples, loss, HOW, [])
    with pytest.raises(UsageError, match="no method 'hawk' to choose bits: did you mean 'hawq'"):
        mixed(program, examples, loss, HOW, [weight_bytes(program, 1000)], method="hawk")
    with pytest.raises(UsageError, match="too many to measure each"):
        mixed(program, examples, loss, HOW, [bit_operations(program, 60 * program.macs)], method="exhaustive")
