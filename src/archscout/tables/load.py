"""A table by its name, or from a Parquet file."""

from __future__ import annotations

from pathlib import Path

from archscout.core import options, registry
from archscout.core.errors import UsageError, nearest
from archscout.tables.table import Table


def load(name_or_path: str | Path) -> Table:
    """The table of a registered name, or that in a Parquet file.

    Raises `UsageError` for what is neither, `DataError` for a file that is no table.

    >>> load("nasbench201.parquet").name                  # doctest: +SKIP
    'nasbench201'
    """
    path = options.path(name_or_path, "the table")
    text = str(name_or_path)
    if registry.parse_name(text.partition(":")[0])[0] in registry.names("table"):
        return registry.create("table", text)  # type: ignore[no-any-return]
    if path.is_file() or path.suffix:
        return Table.open(path)
    raise UsageError(
        f"there is no table or file {options.shown(text)}: {nearest(text, registry.names('table'))} "
        "('archscout table import' makes a file of a published table)."
    )
