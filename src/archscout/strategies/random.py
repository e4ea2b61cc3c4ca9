"""Random search: the control that every other strategy must beat (Li, Talwalkar 2019, arXiv 1902.07638)."""

from __future__ import annotations

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.registry import register
from archscout.core.space import Space
from archscout.core.strategy import Strategy, unseen
from archscout.core.trial import History


@register("strategy", "random")
class RandomSearch(Strategy):
    """Samples of the space, without repeating a network while new ones are easily found."""

    def __init__(self) -> None:
        self.name = "random"

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        return unseen(lambda: space.sample(rng), space, history)
