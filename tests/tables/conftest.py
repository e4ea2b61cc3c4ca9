"""The small table of `small.py`, for the tests of this folder."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from archscout.tables.table import Table


@pytest.fixture(scope="session")
def small() -> ModuleType:
    spec = importlib.util.spec_from_file_location("small_table", Path(__file__).with_name("small.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def table(small: ModuleType, tmp_path: Path) -> Table:
    return small.make(tmp_path / "small.parquet")
