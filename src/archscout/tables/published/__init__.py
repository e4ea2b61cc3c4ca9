"""Readers of published tables, one file a kind: `read(file)` makes a `Draft` of it."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from archscout.core.errors import UsageError, nearest
from archscout.tables.draft import Draft


def kinds() -> dict[str, str]:
    """Each kind and what it reads, as the first line of its module says."""
    by_name = {}
    for module in pkgutil.iter_modules(__path__):
        summary = (importlib.import_module(f"{__name__}.{module.name}").__doc__ or "").partition("\n")[0]
        by_name[module.name] = summary
    return by_name


def read(kind: str, file: str | Path) -> Draft:
    """Read a published file. Raises `UsageError` for an unknown kind, `DataError` for a file that is not of it."""
    known = [module.name for module in pkgutil.iter_modules(__path__)]
    if kind not in known:
        raise UsageError(f"there is no kind of table '{kind}': {nearest(kind, [*known, 'generic'])}")
    return importlib.import_module(f"{__name__}.{kind}").read(Path(file))  # type: ignore[no-any-return]
