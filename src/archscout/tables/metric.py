"""What a column of a table holds."""

from __future__ import annotations

from dataclasses import dataclass

from archscout.core.errors import UsageError, nearest

HIGHER = {"accuracy": True, "score": True, "loss": False, "seconds": False, "cost": False}
"""The kinds of metrics, and whether a higher value is better."""


@dataclass(frozen=True)
class Metric:
    """What a column holds.

    Args:
        name: of the column.
        kind: `accuracy` (a fraction), `loss`, `seconds` (of training), `cost` (lower is better) or `score` (higher is).
        dataset: what was trained on, or what the seconds are of; empty where there is only one.
        split: `train`, `valid` or `test`.
        epochs: of training, where that is known; for a curve its length.
        higher: whether a higher value is better; by the kind where not given.
    """

    name: str
    kind: str = "accuracy"
    dataset: str = ""
    split: str = ""
    epochs: int | None = None
    higher: bool | None = None

    def __post_init__(self) -> None:
        if self.kind not in HIGHER:
            raise UsageError(f"metric '{self.name}' cannot be of kind '{self.kind}': {nearest(self.kind, HIGHER)}")
        if self.higher is None:
            object.__setattr__(self, "higher", HIGHER[self.kind])

    @property
    def measure(self) -> tuple[str, str, str]:
        """What several fidelities of one measure have in common."""
        return self.dataset, self.split, self.kind
