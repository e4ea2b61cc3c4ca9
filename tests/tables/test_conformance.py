"""The tables that come with the package, and a small one with missing values, keep the contract of tables."""

import pytest

from archscout.tables.load import load
from archscout.tables.table import Table
from archscout.testing import TableConformance


class TestShipped(TableConformance):
    @pytest.fixture(
        autouse=True, params=["nasbench201-fashion", pytest.param("nasbench201-digits", marks=pytest.mark.slow)]
    )
    def named(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param

    def table(self) -> Table:
        return load(self.name)


class TestSmall(TableConformance):
    @pytest.fixture(autouse=True)
    def stored(self, table: Table) -> None:
        self.path = table.path

    def table(self) -> Table:
        return Table.open(self.path)
