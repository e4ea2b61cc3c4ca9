"""The limits of a search on a table, whose costs are columns: what a network costs, and whether it keeps them."""

from __future__ import annotations

from collections.abc import Sequence

from archscout.core import options
from archscout.core.cost import Constraint
from archscout.core.errors import UsageError
from archscout.tables.table import Table


class Limits:
    """Constraints and objectives by the columns of a table. Raises `UsageError` for what is none of them."""

    def __init__(self, table: Table, constraints: Sequence[Constraint], objectives: Sequence[str]) -> None:
        self.table = table
        self.constraints, self.objectives = _several(constraints), tuple(objectives)
        self._columns = {key: table.values(key) for key in (*(c.key for c in self.constraints), *self.objectives)}

    def costs(self, canonical: str) -> dict[str, float]:
        """What a network costs, as far as it is limited or to be lowered."""
        if not self._columns:
            return {}
        number = self.table.numbers[canonical]
        return {key: column[number] for key, column in self._columns.items()}

    def keeps(self, number: int) -> bool:
        """Whether the network of this number in the table breaks no constraint."""
        return all(self._columns[c.key][number] <= c.limit for c in self.constraints)

    def share(self) -> float:
        """The share of the table that keeps all constraints. Raises `UsageError` where nothing does."""
        numbers = range(len(self.table.numbers))
        keeping = sum(map(self.keeps, numbers)) / max(1, len(numbers)) if self.constraints else 1.0
        if not keeping:
            limits = ", ".join(str(constraint) for constraint in self.constraints)
            raise UsageError(f"no network of table '{self.table.name}' meets {limits}: raise the limit.")
        return keeping


def _several(constraints: Sequence[Constraint] | Constraint) -> tuple[Constraint, ...]:
    """One constraint alone is one of them."""
    given = (constraints,) if isinstance(constraints, Constraint) else constraints
    if not options.listed(given):
        raise UsageError(f"the constraints must be several Constraint, not {options.shown(constraints)}.")
    given = tuple(given)
    for each in given:
        if not isinstance(each, Constraint):
            raise UsageError(f"a constraint must be a Constraint (cost, key, limit), not {options.shown(each)}.")
    return given
