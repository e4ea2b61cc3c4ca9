"""The tables that come with the package: sound, found by name, and true to what the trainer makes."""

import numpy as np
import pytest

from archscout.core.registry import names
from archscout.core.seeds import derive
from archscout.networks.pick import build
from archscout.tables.check import check
from archscout.tables.load import load
from archscout.tables.shipped import DATA
from archscout.tasks.load import load as load_task
from archscout.training.trainer import Recipe, train

SHIPPED = sorted(file.stem for file in DATA.glob("*.parquet"))


def test_every_file_has_a_name_and_a_card() -> None:
    assert SHIPPED == ["nasbench201-digits", "nasbench201-fashion"]
    assert set(SHIPPED) <= set(names("table"))
    assert all((DATA / f"{name}.md").is_file() for name in SHIPPED)
    assert sum(file.stat().st_size for file in DATA.iterdir()) < 6e6


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_sound(name: str) -> None:
    table = load(name)
    assert table.name == name
    assert not [finding for finding in check(table) if finding.wrong]
    assert len(table.first_rows) >= {"nasbench201-digits": 5260, "nasbench201-fashion": 300}[name]
    assert table.metric().split == "test"
    assert np.isfinite(table.column("macs")).all()


def test_networks_trained_again_learn_as_the_table_says() -> None:
    """Rounding parts two trainings after some dozens of steps, of some networks earlier: the first epoch mostly agrees.

    (In double precision trainings alone and many at once agree to the end: `tests/training/test_batched.py`.)
    """
    table = load("nasbench201-digits")
    task = load_task(table.task)
    rows = [row for row, seed in enumerate(table.texts("seed")) if seed == 0]  # type: ignore[comparison-overlap]
    seed = derive(0, "table", 0)
    epochs = table.metric().epochs
    assert epochs is not None
    differences = []
    for row in rows[:: len(rows) // 7][1:]:
        network = build(table.space, table.space.parse(table.architectures[row]), task, seed=seed)
        curve = train(network, task, Recipe.default(task, epochs), seed=seed, on_epoch=lambda line: True).curve
        differences.append(abs(curve[0]["train_loss"] - table.curve_matrix("train_loss_curve")[row, 0]))
        assert table.column("params")[row] == sum(p.numel() for p in network.parameters())
    assert np.median(differences) < 1e-3
    assert max(differences) < 0.1
