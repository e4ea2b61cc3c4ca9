"""Kernel densities of good and of bad trials: the model of BOHB (Falkner, Klein, Hutter 2018, arXiv 1807.01774)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Continuous, Option
from archscout.core.errors import UsageError
from archscout.core.registry import register
from archscout.core.space import Space
from archscout.core.strategy import Strategy, unseen
from archscout.core.trial import History, Trial

LEAST_WIDTH = 0.05
"""Of a kernel, where all good trials agree: so that what they have not tried stays possible."""


@register("strategy", "kernel_density")
class KernelDensity(Strategy):
    """Proposes what is likely among the good trials and unlikely among the bad ones (the model of BOHB).

    Over all choices together, as a sum of products over trials (a multivariate variant of the tree-structured Parzen
    estimator, Bergstra et al. 2011): a kernel takes the option of its trial with a probability of 1 - b, and each of
    the others with an equal part of b (Aitchison, Aitken 1976). Candidates are mutants of good trials, and the one with
    the greatest ratio of densities is tried. A choice that is not active in a trial counts as uniform in it.

    Args:
        good: share of the trials that are good, by which at least one more than there are choices are.
        candidates: that are drawn for each proposal.
        random: share of the proposals that are uniform samples.
        wider: factor of the widths by which candidates are drawn.
    """

    def __init__(self, good: float = 0.15, candidates: int = 64, random: float = 1 / 3, wider: float = 3.0) -> None:
        if not 0 < good < 1 or candidates < 1 or not 0 <= random <= 1 or wider <= 0:
            raise UsageError(
                "strategy 'kernel_density' needs a share of good trials between 0 and 1, 1 candidate or more, a share "
                f"of random ones from 0 to 1 and a factor above 0, not good={good}, candidates={candidates}, "
                f"random={random}, wider={wider}."
            )
        self.name = "kernel_density"
        self.good, self.candidates, self.random, self.wider = good, candidates, random, wider

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Architecture:
        defined = sorted((trial for trial in history if trial.defined), key=lambda trial: trial.rank)
        least = len(space.choices) + 1
        if len(defined) < least + 2 or rng.random() < self.random:
            return unseen(lambda: space.sample(rng), space, history)
        count = max(least, int(self.good * len(defined)))
        good, bad = defined[:count], defined[-max(least, len(defined) - count) :]
        densities = [_Density(space, some) for some in (good, bad)]
        drawn = [self._around(space, good, densities[0].widths, rng) for _ in range(self.candidates)]
        drawn = [one for one in drawn if space.canonical(one) not in history.seen] or drawn
        ratio = densities[0].log(drawn) - densities[1].log(drawn)
        return drawn[int(np.argmax(ratio))]

    def _around(
        self, space: Space, good: Sequence[Trial], widths: np.ndarray, rng: np.random.Generator
    ) -> Architecture:
        """One of the good trials with as many choices changed as the wider kernels would change.

        By mutations, for not every assignment is an architecture, nor in a table.
        """
        one = good[int(rng.integers(len(good)))].architecture
        changed = rng.random(len(widths)) < np.minimum(1.0, self.wider * widths) / 2
        for _ in range(max(1, int(changed.sum()))):
            one = space.mutate(one, rng)
        return one


class _Density:
    """The kernel density of some trials over the choices of a space.

    `widths` are those of the choices: 1.06 times the standard deviation of the options' numbers times n^(-1 / (4 + d)),
    as in the released code, so that a choice in which good trials agree is hardly changed. A real number, brought to
    the interval from 0 to 1, has normal kernels that are cut off at its ends.
    """

    def __init__(self, space: Space, trials: Sequence[Trial]) -> None:
        self.space = space
        self.real = np.asarray([isinstance(choice, Continuous) for choice in space.choices])
        self.sizes = np.asarray([1 if isinstance(c, Continuous) else len(c.options) for c in space.choices])
        self.known = self._places([trial.architecture for trial in trials])
        spread = np.asarray([column[column >= 0].std() if (column >= 0).any() else 1.0 for column in self.known.T])
        widest = np.where(self.real, 1.0, (self.sizes - 1) / self.sizes)  # a wider one would repel
        reference = 1.06 * spread * len(trials) ** (-1 / (4 + len(self.sizes)))
        self.widths = np.minimum(np.maximum(reference, LEAST_WIDTH), widest)

    def log(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """The logarithm of the density at each: (N,)."""
        places = self._places(architectures)[:, None, :]
        same, other = 1 - self.widths, self.widths / np.maximum(self.sizes - 1, 1)
        uniform = (places < 0) | (self.known < 0)
        kernels = np.where(places == self.known, same, other)
        if self.real.any():
            kernels = np.where(self.real, self._normal(places), kernels)
        kernels = np.where(uniform, 1 / self.sizes, kernels)
        products = np.log(np.maximum(kernels, 1e-12)).sum(axis=2)
        return np.asarray(np.logaddexp.reduce(products, axis=1) - np.log(len(self.known)))

    def _normal(self, places: np.ndarray) -> np.ndarray:
        """The density of a normal kernel about each trial, of what of it lies between 0 and 1."""
        width = np.maximum(self.widths, LEAST_WIDTH)
        inside = ndtr((1 - self.known) / width) - ndtr(-self.known / width)
        height = np.exp(-(((places - self.known) / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi))
        return np.asarray(height / np.maximum(inside, 1e-12))

    def _places(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """The number of the option that each takes at each choice, or where between the ends; -1 where not active."""
        return np.asarray(
            [[_place(c, one[c.name]) if c.name in one else -1 for c in self.space.choices] for one in architectures]
        )


def _place(choice: Choice, value: Option) -> float:
    return choice.share(value) if isinstance(choice, Continuous) else choice.index(value)
