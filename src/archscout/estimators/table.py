"""A tabular benchmark as an estimator: what a training came to is looked up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.estimator import Estimator, Setting
from archscout.core.registry import register
from archscout.core.trial import Estimate
from archscout.tables.load import load
from archscout.tables.table import Table


@register("estimator", "table")
class TableLookup(Estimator):
    """Looks up in a table (table:name=NAME|FILE,metric=...) what a training came to, and how long it took.

    Args:
        name: a registered table, or a Parquet file.
        metric: one of its metrics; `Table.searched_metric` if not given. One of which less is better is negated.
        epochs: answer for trainings of so many; a fidelity that is asked for goes before it. Where the table does not
            know it, the longest training that it knows which is no longer answers; `extra["epochs"]` says which.

    `extra["simulated_seconds"]` is what the training took, where the table knows; the look-up itself takes no time.
    An architecture that the table does not have has no value.
    """

    def __init__(self, name: str, metric: str | None = None, epochs: int | None = None) -> None:
        self.name = "table"
        self.source, self.epochs = name, epochs
        about = self.table.searched(metric)
        self.metric = about.name
        if about.name in self.table.curves:
            raise UsageError(f"'{about.name}' of table '{name}' is a curve: name one of its metrics.")

    @cached_property
    def table(self) -> Table:
        """The table, opened."""
        return load(self.source)

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        known, asked = self.table.space.name.partition(":")[0], setting.space.name.partition(":")[0]
        if known != asked:
            raise UsageError(f"table '{self.table.name}' is of space '{known}', not of '{asked}': name another table.")
        epochs = self.table.fidelity(self.epochs if fidelity is None else fidelity, self.metric)
        return [self._estimate(architecture, epochs) for architecture in architectures]

    def _estimate(self, architecture: Architecture, epochs: int | None) -> Estimate:
        table = self.table
        if architecture not in table:
            return Estimate(math.nan, reason=f"table '{table.name}' does not have it.")
        value = table.value(architecture, self.metric, epochs=epochs)
        extra: dict[str, float] = {} if epochs is None else {"epochs": epochs}
        seconds = table.seconds(architecture, metric=self.metric, epochs=epochs)
        return Estimate(
            value=value if table.metric(self.metric).higher else -value,
            curve=table.history(architecture, metric=self.metric, epochs=epochs),
            extra=extra if math.isnan(seconds) else extra | {"simulated_seconds": seconds},
            reason=f"table '{table.name}' has no value of it." if math.isnan(value) else "",
        )
