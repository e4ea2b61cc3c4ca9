"""A scale on which accuracies are easier to learn: half of it ranks, half of it the values themselves."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm, rankdata

SHARE = 0.5
"""Weight of the standardised values beside that of the normal scores of their ranks, which is 1."""


class Scale:
    """A rising map between values and a scale on which they are close to normally distributed.

    Accuracies crowd at the top and have a long lower tail. Ranks (as normal scores) undo that but forget how far apart
    values are; so the sum of both is taken. Between the training values the map is linear, beyond them it goes on with
    its mean slope.
    """

    def __init__(self, y: np.ndarray) -> None:
        scores = norm.ppf((rankdata(y) - 0.5) / len(y)) + SHARE * (y - y.mean()) / y.std()
        self.values, first = np.unique(y, return_index=True)
        self.scores = scores[first]
        self.slope = (self.scores[-1] - self.scores[0]) / (self.values[-1] - self.values[0])

    def up(self, y: np.ndarray) -> np.ndarray:
        """From values to the scale."""
        return _along(y, self.values, self.scores, self.slope)

    def down(self, scores: np.ndarray) -> np.ndarray:
        """From the scale to values."""
        return _along(scores, self.scores, self.values, 1 / self.slope)


def _along(x: np.ndarray, knots: np.ndarray, heights: np.ndarray, slope: float) -> np.ndarray:
    inside = np.interp(x, knots, heights)
    return np.asarray(inside + slope * (np.minimum(x - knots[0], 0) + np.maximum(x - knots[-1], 0)))
