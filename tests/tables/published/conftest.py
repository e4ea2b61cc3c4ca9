"""Imports of published tables, each made once."""

import functools
from pathlib import Path

import pytest

from archscout.tables import published
from archscout.tables.table import Table


@pytest.fixture(scope="session")
def imported(shared_data: Path, tmp_path_factory: pytest.TempPathFactory):
    """Makes the table of a kind out of a file of the benchmark data."""

    @functools.cache
    def make(kind: str, file: str) -> Table:
        return published.read(kind, shared_data / file).write(tmp_path_factory.mktemp(kind) / "t.parquet")

    return make
