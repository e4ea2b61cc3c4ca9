"""Another table to learn from: what `flan` and `fourier` know before they see what is asked of them."""

from __future__ import annotations

import numpy as np

from archscout.core.errors import DataError
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.tables.load import load


def networks_of(source: str, metric: str, name: str, most: int, least: int) -> tuple[Space, list[str], np.ndarray]:
    """Random networks of a table, the same each time: their space, their texts and their values, higher is better.

    Args:
        source: the table's name, or a file.
        metric: what their value is; the table's default metric if empty.
        name: of the estimator that learns from them.
        most: how many are taken.
        least: how many there must be.

    Raises `UsageError` for what is no table or metric, `DataError` where fewer have a value, or all the same.
    """
    table = load(source)
    about = table.metric(metric or None)
    values = np.asarray(table.values(about.name), dtype=np.float64) * (1 if about.higher else -1)
    known = np.flatnonzero(np.isfinite(values))
    if len(known) < least or np.ptp(values[known]) == 0:
        raise DataError(
            f"{name} cannot learn from table '{source}': {len(known)} networks have a '{about.name}', and at least "
            f"{least} with different values are needed."
        )
    rows = known[stream(0, name, "source", table.name).permutation(len(known))[:most]]
    return table.space, [table.architectures[table.first_rows[row]] for row in rows], values[rows]
