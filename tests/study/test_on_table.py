"""A search of a table with a folder: its limits have the units of their costs, and odd tables are told of."""

from pathlib import Path

import pytest

from archscout.core.registry import create
from archscout.study.on_table import _limit, search_table
from archscout.tables.metric import Metric
from archscout.tables.table import Table, write


@pytest.fixture
def table(tmp_path: Path) -> Table:
    forms = {
        f"|{one}~0|+|none~0|{other}~1|+|none~0|none~1|skip_connect~2|"
        for one in ("skip_connect", "nor_conv_3x3", "avg_pool_3x3")
        for other in ("skip_connect", "nor_conv_1x1")
    }
    columns = {
        "architecture": sorted(forms), "valid": [91.0, 92.0, 93.0, 94.0, 95.0, 96.0],
        "params": range(6), "latency_ms": range(6), "peak_memory_bytes": range(6),
    }  # fmt: skip
    metrics = [Metric("valid"), *(Metric(name, "cost") for name in ("params", "latency_ms", "peak_memory_bytes"))]
    return write(tmp_path / "t.parquet", "nasbench201", columns, metrics, default="valid")


@pytest.mark.parametrize(
    ("cost", "limit", "amount"),
    [("params", "2k", 2e3), ("latency", ".005s", 5.0), ("peak_memory", "90 KiB", 92_160.0), ("latency_ms", "5ms", 5.0)],
)
def test_a_limit_has_the_units_of_its_cost(table: Table, cost: str, limit: str, amount: float) -> None:
    assert _limit(table, cost, limit).limit == amount
    if cost != "latency_ms":
        assert create("cost", cost).quantity(limit, cost) == amount


def test_percentages_in_place_of_fractions_are_told_of(table: Table, tmp_path: Path) -> None:
    said: list[str] = []

    class Listening:
        say = staticmethod(said.append)
        update = close = staticmethod(lambda *arguments: None)

    search_table(table, method="random", budget="3trials", out=tmp_path, progress=Listening())  # type: ignore[arg-type]
    assert any("accuracies above 1, which are no fractions: see 'archscout table check'" in line for line in said)
