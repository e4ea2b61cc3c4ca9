"""The tables that come with the package; beside each in `data/` lies a card that says how it was made."""

from __future__ import annotations

from pathlib import Path

from archscout.core.registry import register
from archscout.tables.table import Table

DATA = Path(__file__).parent / "data"


@register("table", "nasbench201-digits")
def nasbench201_digits() -> Table:
    """Cells of NAS-Bench-201 (width 8, 1 a stage) really trained on handwritten digits; comes with the package."""
    return Table.open(DATA / "nasbench201-digits.parquet")


@register("table", "nasbench201-fashion")
def nasbench201_fashion() -> Table:
    """The same cells trained on Fashion-MNIST at 14 x 14 pixels, which is harder; a sample; comes with the package."""
    return Table.open(DATA / "nasbench201-fashion.parquet")
