"""POPNAS: growth, fronts and the time predictor, against brute force and closed forms."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import spearmanr

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.subspace import SubSpace
from archscout.estimators.predictors.training_time import TrainingTime
from archscout.methods.popnas import exploration, pareto_scan
from archscout.spaces.nasbench201 import CHOICES
from archscout.strategies.pareto import hypervolume
from archscout.study.simulated import simulate
from archscout.tables.metric import Metric
from archscout.tables.table import write

SPACE = create("space", "nasbench201")
PART = SubSpace(SPACE, dict.fromkeys(CHOICES, ("none", "nor_conv_3x3", "avg_pool_3x3")))
SECONDS = {"none": 0.0, "skip_connect": 0.0, "nor_conv_1x1": 2.0, "nor_conv_3x3": 8.0, "avg_pool_3x3": 1.0}


def seconds(architecture) -> float:
    """What a cell takes: a base, and so much for each live operation."""
    return 5 + sum(SECONDS[option] for option in SPACE.simplify(architecture).values())


def value(architecture) -> float:
    live = SPACE.simplify(architecture).values()
    return (
        0.5 + 0.05 * sum("conv" in option for option in live) + 0.02 * sum(option == "skip_connect" for option in live)
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    cells = list({SPACE.canonical(cell): SPACE.simplify(cell) for cell in PART}.values())
    columns = {
        "architecture": [cell.text for cell in cells],
        "valid": [value(cell) for cell in cells],
        "time": [seconds(cell) for cell in cells],
    }
    metrics = [Metric("valid", split="valid", epochs=9), Metric("time", kind="seconds", epochs=9)]
    return write(tmp_path_factory.mktemp("popnas") / "t.parquet", SPACE, columns, metrics, default="valid")


def live(cell) -> set[str]:
    return {name for name, option in SPACE.simplify(cell).items() if option != "none"}


def test_growth_reaches_every_cell_that_has_an_operation():
    space = SubSpace(SPACE, dict.fromkeys(CHOICES, ("none", "nor_conv_3x3")))
    reached = {}
    waiting = [SPACE.simplify(cell) for cell in space.grown()]
    while waiting:
        cell = waiting.pop()
        if cell.text not in reached:
            reached[cell.text] = cell
            for larger in map(SPACE.simplify, space.grown(cell)):
                assert live(cell) < live(larger)
                assert all(larger[name] == cell[name] for name in live(cell))
                waiting.append(larger)
    everything = {SPACE.simplify(cell).text for cell in space}
    assert everything - set(reached) == {SPACE.architecture(dict.fromkeys(CHOICES, "none")).text}


def test_a_part_grows_within_itself_and_other_spaces_are_refused():
    part = SubSpace(SPACE, {CHOICES[0]: ("none",)})
    assert all(cell in part for cell in part.grown())
    with pytest.raises(UsageError, match="do not grow block by block"):
        next(create("space", "mobile").grown())


def test_the_scan_gives_the_pareto_front():
    for seed in range(20):
        rng = stream(seed, "scan")
        values, costs = rng.integers(0, 9, 40), rng.integers(0, 9, (40, 2)).astype(float)
        order = np.argsort(-values, kind="stable")
        values, costs = values[order], costs[order]
        front = pareto_scan(costs, range(40), 40)
        better = np.concatenate([-values[:, None], costs], axis=1)
        dominated = [any((a <= b).all() and (a < b).any() for a in better) for b in better]
        assert {tuple(better[n]) for n in range(40) if not dominated[n]} <= {tuple(better[n]) for n in front}
        assert all(not dominated[n] or any(values[n] == values[m] for m in front if m != n) for n in front)
        assert pareto_scan(costs, range(40), 3) == front[:3]


def test_explorers_are_cells_of_what_the_front_does_not_use():
    def cell(**counts):
        return Counter({("operation", name): n for name, n in counts.items()} | {("input", "input"): 1})

    used = [cell(conv=4), cell(conv=3), cell(pool=1, conv=1), cell(pool=4), cell(pool=3)]
    costs = np.asarray([[5.0], [4.0], [3.0], [2.0], [1.0]])
    assert exploration(used, [0, 1], costs, 4) == [3, 4], "one pool is not enough"
    assert exploration(used, [0, 1], costs, 1) == [3]
    assert exploration(used, [0, 3], costs, 4) == [], "nothing is rare"


def test_times_of_operations_are_those_of_the_machine():
    cells = [SPACE.sample(stream(n, "times")) for n in range(300)]
    alone = [SPACE.architecture(dict.fromkeys(CHOICES, "none") | {"edge 0->3": op}) for op in SECONDS]
    timed = TrainingTime(SPACE).fit(alone + cells[:20], [seconds(cell) for cell in alone + cells[:20]])
    scores = dict(zip(timed.operations, timed.scores, strict=True))
    assert scores["nor_conv_3x3"] == 1
    assert scores["nor_conv_1x1"] == pytest.approx(2 / 8, abs=0.02)
    assert scores["avg_pool_3x3"] == pytest.approx(1 / 8, abs=0.02)
    truth = [seconds(cell) for cell in cells[20:]]
    assert spearmanr(timed.predict(cells[20:]), truth).statistic > 0.97


@pytest.mark.parametrize("time", ["true", "false"])
def test_it_grows_to_nearly_all_that_any_cell_could_cover(table, time):
    """Of accuracy and time, in steps of one block more; no cell is paid for twice."""
    method = f"popnas:keep=8,first=12,predictor=bayesian_ridge,time={time}"
    found = simulate(table, method, "200trials", 1)
    assert len({trial.canonical for trial in found.trials}) == len(found.trials)
    assert [row["blocks"] for row in found.notes["predictors by step"]] == [2, 3, 4]
    assert volume(trial.architecture for trial in found.trials) > 0.98 * volume(PART)
    again = simulate(table, method, "200trials", 1)
    assert [t.architecture for t in again.trials] == [t.architecture for t in found.trials]


def volume(cells) -> float:
    return hypervolume(np.asarray([[-value(cell), seconds(cell)] for cell in cells]), [0.0, 60.0])


def test_equal_values_and_small_budgets_are_lived_with(table, tmp_path):
    assert len(simulate(table, "popnas", "5trials").trials) == 5
    columns = {"architecture": [cell.text for cell in PART], "valid": [0.5] * PART.size()}
    flat = write(tmp_path / "flat.parquet", SPACE, columns, [Metric("valid", split="valid", epochs=9)], default="valid")
    assert len(simulate(flat, "popnas:keep=3,first=6", "40trials").trials) > 6


def test_impossible_settings_are_refused():
    with pytest.raises(UsageError, match="'keep' of a method must be a whole number of 1 or more, not 0"):
        create("method", "popnas:keep=0")
