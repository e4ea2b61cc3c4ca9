"""How the trainings of a table began: its curves as far as they are known below full training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from archscout.estimators.curves.base import Curve, CurveReader, Curves
from archscout.estimators.curves.features import reader
from archscout.tables.table import Table

FIDELITIES = 8
"""After how many epochs, at most, curves are looked at."""


class Beginnings:
    """The curves of a table, one row a network, as far as they are known below full training."""

    def __init__(self, table: Table, metric: str) -> None:
        about = table.metric(metric)
        splits = {m: table.metric(m) for m in (*table.metrics, *table.curves)}
        mine = {m: what for m, what in splits.items() if what.dataset == about.dataset}

        def first(split: str, kind: str) -> str | None:
            return next((m for m, what in mine.items() if (what.split, what.kind) == (split, kind)), None)

        names = {
            "valid": first("valid", about.kind) or metric,
            "train_loss": first("train", "loss"),
            "valid_loss": first("valid", "loss"),
        }
        self.full = about.epochs or max(table.fidelities(metric), default=0)
        self.curves: dict[str, Curve] = {}
        for measure, name in names.items():
            epochs = [] if name is None else [e for e in table.fidelities(name) if e < self.full]
            if name is None or not epochs:
                continue
            values = np.stack([np.asarray(table.values(name, epochs=e), dtype=np.float64) for e in epochs], axis=1)
            sign = -1.0 if measure == "valid" and not table.metric(name).higher else 1.0
            self.curves[measure] = Curve(np.asarray(epochs), sign * values)

    def of(self, read: CurveReader) -> dict[int, Curve]:
        """What a reader may look at after some epochs; nothing where the table has no such measure."""
        curve = self.curves.get(read.measure)
        if curve is None or (read.every and not curve.whole):
            return {}
        return {e: curve.until(e) for e in _some(curve.epochs.tolist())}

    def for_features(self, features: Sequence[str]) -> dict[int, Curves]:
        """The same for several readers at once; what is asked of all after the same epochs."""
        needed = [reader(name) for name in features]
        measures = {"valid" if read is None else read.measure for read in needed}
        if not measures <= set(self.curves) or any(
            read is not None and read.every and not self.curves[read.measure].whole for read in needed
        ):
            return {}
        if not measures:
            return {}
        common = set.intersection(*(set(self.curves[measure].epochs.tolist()) for measure in measures))
        return {e: {m: self.curves[m].until(e) for m in measures} for e in _some(sorted(common))}


def _some(epochs: list[int]) -> list[int]:
    """At most `FIDELITIES` of them, close together at the beginning."""
    if len(epochs) <= FIDELITIES:
        return epochs
    return sorted({epochs[round(place)] for place in np.geomspace(1, len(epochs), FIDELITIES) - 1})
