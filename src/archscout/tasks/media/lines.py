"""Lines of text: pictures of one height, each as wide as its text, padded on the right."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from archscout.core.cores import usable_cores
from archscout.core.task import Split
from archscout.tasks import transcripts
from archscout.tasks.contents import Source
from archscout.tasks.decode import LINE, BadPicture, header, quiet
from archscout.tasks.media.images import Images, resize
from archscout.tasks.media.medium import Decoded
from archscout.tasks.pictures import Watch
from archscout.tasks.targets import Targets

HEIGHT = 32
"""Pixels, unless a size is asked for: enough for letters with marks above and tails below."""

WIDEST = 4096
SHIFT = 2


class Lines(Images):
    """Lines as N x height x width x C, grey unless colour is asked for.

    The parameter `size` is the height; the width is that of the widest line.
    """

    name = "lines"
    noun = "line"
    nouns = "lines"
    OPTIONS = ("size", "background", "channels", "cache")
    KINDS: ClassVar[Mapping[str, str]] = {"lines": "text lines"}

    def __init__(self, source: str, options: Mapping[str, Any], shape: tuple[int, int] | None = None) -> None:
        super().__init__(source, {key: value for key, value in options.items() if key != "size"})
        self.height: int | None = options.get("size")
        self.reading = replace(self.reading, fit=LINE, channels=options.get("channels") or 1)

    def fitted(self, x: np.ndarray) -> np.ndarray:
        """Arrays have one width already."""
        tall, wide = x.shape[1:3]
        if self.height is None or self.height == tall:
            return x
        return resize(x, replace(self.reading, fit="stretch", shape=(self.height, _width(tall, wide, self.height))))

    def decoded(
        self,
        encoded: Mapping[str, Sequence[Source]],
        bad: Sequence[tuple[str, str]],
        *,
        skip_bad: bool,
        watch: Watch | None,
    ) -> Decoded:
        with quiet(), ThreadPoolExecutor(usable_cores()) as pool:
            looks = pool.map(_size, (source for part in encoded.values() for source in part))
            sizes = sorted({size for size in looks if size is not None})
        height = self.height or HEIGHT
        widths = [_width(*size, height) for size in sizes] or [height]
        width = 8 * math.ceil(min(max(widths), WIDEST) / 8)
        self.reading = replace(self.reading, shape=(height, width))
        decoded = super().decoded(encoded, bad, skip_bad=skip_bad, watch=watch)
        if sizes != [(height, width)]:
            decoded.notices.insert(
                0,
                f"the lines are {min(widths)} to {max(widths)} pixels wide at {height} of height: all are brought to "
                f"that height, and to {width} of width by going on with their background (size=N for another height).",
            )
        return decoded

    def fields(self, targets: Targets, data: Mapping[str, Split], encoded: bool) -> dict[str, Any]:
        """Lines are not mirrored; some places more than the longest transcript needs leave room for where it stands."""
        needed = max(transcripts.places(part.y) for part in data.values())
        height, width, channels = data["train"].x.shape[1:]
        return {
            "input_shape": (channels, height, width),
            "places": max(needed + needed // 4, math.ceil(width / 8)),
            "shift": SHIFT,
            "flip": False,
            "fit": LINE,
            "background": self.reading.background,
            "span": (0.0, 255.0) if encoded else None,
        }


def _width(tall: int, wide: int, height: int) -> int:
    return max(1, round(wide * height / tall))


def _size(source: Source) -> tuple[int, int] | None:
    try:
        return header(source)[0]
    except BadPicture:
        return None
