"""Pictures, and what makes the mask of each: what every form of masks is read as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image

from archscout.tasks.contents import Source

Paint = Callable[[tuple[int, int]], Image.Image]
"""Makes the mask of a picture of a height and width; raises `BadPicture`."""


@dataclass
class Pairs:
    """Pictures of a split and what makes their masks."""

    sources: list[Source] = field(default_factory=list)
    paints: list[Paint] = field(default_factory=list)
