"""Imports of published tables, each made once."""

import functools
from pathlib import Path

import pytest

from archscout.tables import published
from archscout.tables.table import Table


@pytest.fixture(scope="session")
def imported(published_data: Path, tmp_path_factory: pytest.TempPathFactory):
    """Makes the table of a kind out of a file of the benchmark data."""

    @functools.cache
    def make(kind: str, file: str) -> Table:
        if not (published_data / file).is_file():
            pytest.skip(f"the licence of table '{kind}' allows no sample; set ARCHSCOUT_SHARED_DATA to the whole ones")
        return published.read(kind, published_data / file).write(tmp_path_factory.mktemp(kind) / "t.parquet")

    return make
