"""Evolution with a predictor: three ways, exact costs, and less regret than random search."""

import numpy as np
import pytest

from archscout.core.errors import UsageError
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.study.simulated import simulate
from archscout.tables.metric import Metric
from archscout.tables.table import write

SPACE = create("space", "nasbench_macro")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Accuracy is a sum over layers, and a little over their pairs; a cost is a sum, too."""
    texts = [one.text for one in SPACE]
    options = np.asarray([[float(digit) for digit in text] for text in texts])
    rng = stream(0, "evolution")
    pairs = rng.normal(size=(8, 8))
    valid = (
        0.7 + 0.02 * (options - 1) @ rng.normal(size=8) + 0.0005 * ((options - 1) @ pairs * (options - 1)).sum(axis=1)
    )
    columns = {"architecture": texts, "valid": valid, "weight": 9 + options @ rng.random(8)}
    metrics = [Metric("valid", split="valid", epochs=9), Metric("weight", kind="cost")]
    return write(tmp_path_factory.mktemp("evolution") / "t.parquet", SPACE, columns, metrics, default="valid")


@pytest.mark.parametrize("control", ["preselection", "generation", "individual"])
def test_it_is_better_than_random_search(table, control):
    method = f"surrogate_evolution:control={control},population=10,children=40,predictor=bayesian_ridge"
    regrets = {
        name: np.mean([simulate(table, name, "40trials", seed).regret[-1] for seed in range(3)])
        for name in (method, "random")
    }
    assert regrets[method] < 0.7 * regrets["random"]


def test_costs_are_counted_and_not_predicted(table):
    method = "surrogate_evolution:population=10,children=40,predictor=bayesian_ridge"
    found = simulate(table, method, "60trials", 1, objectives=["weight"])
    assert len({t.canonical for t in found.trials}) == 60
    true = table.values("weight")
    exact = [float(true[table.numbers[t.canonical]]) for t in found.trials]
    assert [t.costs["weight"] for t in found.trials] == exact
    first, later = np.asarray(exact[:10]), np.asarray(exact[10:])
    assert later.min() < first.min(), "light ones are looked for"


def test_what_there_is_not_is_refused():
    with pytest.raises(UsageError, match="has no control 'none'"):
        create("method", "surrogate_evolution:control=none")
