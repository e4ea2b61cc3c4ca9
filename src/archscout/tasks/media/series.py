"""Series: arrays of numbers over time, of one length."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from archscout.core.errors import DataError
from archscout.core.task import Split
from archscout.tasks import checks
from archscout.tasks.contents import Series as Given
from archscout.tasks.media.medium import Decoded, Medium
from archscout.tasks.pictures import Watch, refused
from archscout.tasks.targets import Targets

COVERED = 0.95
"""The share of series that is not cut, where lengths differ and none is asked for."""


class Series(Medium):
    """Series as N x channels x length, float32."""

    name = "series"
    noun = "series"
    nouns = "series"
    OPTIONS = ("length",)
    KINDS: ClassVar[Mapping[str, str]] = {
        "classification": "series classification",
        "ordinal": "ordinal series",
        "regression": "series regression",
    }

    def taken(self, x: np.ndarray, called: str, rate: int | None) -> list[Given]:
        """The series of an array: N x length, or N x channels x length. Raises `DataError` for others."""
        if x.ndim not in (2, 3) or x.dtype.kind not in "buif":
            raise DataError(f"{called} is {x.dtype} of shape {x.shape}: series are N x channels x length numbers.")
        if 0 in x.shape:
            raise DataError(f"{called} has shape {x.shape}: an empty data set cannot be learned from.")
        return [Given(f"row {row} of {called}", series[None] if series.ndim == 1 else series)
                for row, series in enumerate(x)]  # fmt: skip

    def decoded(
        self,
        encoded: Mapping[str, Sequence[Any]],
        bad: Sequence[tuple[str, str]],
        *,
        skip_bad: bool,
        watch: Watch | None,
    ) -> Decoded:
        """Series of one length: longer ones lose their end, the last value of shorter ones is repeated."""
        given: list[Given] = [series for part in encoded.values() for series in part]
        channels = given[0].values.shape[0]
        wrong = [_fault(series, channels) for series in given]
        faults = [(series.name, fault) for series, fault in zip(given, wrong, strict=True) if fault]
        left_out = refused([*bad, *faults], len(given) + len(bad), skip_bad, "series")
        lengths = np.asarray([series.values.shape[1] for series, fault in zip(given, wrong, strict=True) if not fault])
        length = self.options.get("length") or int(
            np.sort(lengths)[min(len(lengths) - 1, math.ceil(COVERED * len(lengths)) - 1)]
        )
        notices = []
        if (lengths != length).any():
            cut, padded = int((lengths > length).sum()), int((lengths < length).sum())
            notices.append(
                f"the series have {lengths.min()} to {lengths.max()} values: all are brought to {length}, {cut:,} by "
                f"cutting the end and {padded:,} by repeating the last value (length=N for another length)."
            )
        examples, rows, start = {}, {}, 0
        for split, part in encoded.items():
            good = [row for row in range(len(part)) if not wrong[start + row]]
            rows[split] = np.asarray(good, np.int64)
            examples[split] = np.empty((len(good), channels, length), np.float32)
            for place, row in enumerate(good):
                values = part[row].values[:, :length]
                examples[split][place] = np.pad(values, ((0, 0), (0, length - values.shape[1])), "edge")
            start += len(part)
        return Decoded(examples, rows, [*notices, *left_out])

    def alike(self, x: Mapping[str, np.ndarray]) -> None:
        checks.varied(x, self.source, "series")

    def fields(self, targets: Targets, data: Mapping[str, Split], encoded: bool) -> dict[str, Any]:
        """Where numbers are asked for, series are not changed: what is measured may change with them."""
        _, channels, length = data["train"].x.shape
        still = targets.kind == "regression"
        return {
            "input_shape": (channels, length),
            "shift": 0 if still else length // 20,
            "hidden": 0 if still else length // 10,
        }


def _fault(series: Given, channels: int) -> str:
    """What is wrong with a series, as the predicate of a sentence; empty where nothing is."""
    values = series.values
    if values.shape[0] != channels:
        return f"has {values.shape[0]} channels where the first has {channels}"
    if values.shape[1] == 0:
        return "has no values"
    unusual = ~(np.abs(values.astype(np.float64)) <= checks.MOST)
    if unusual.any():
        channel, place = (int(where) for where in np.argwhere(unusual)[0])
        return f"has no finite number at place {place}" + (f" of channel {channel}" if channels > 1 else "")
    return ""
