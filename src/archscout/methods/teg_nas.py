"""Reinforcement and evolution on trainability, expressivity and generalisation before training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from archscout.core import options
from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.method import Run
from archscout.core.registry import register
from archscout.methods.te_nas import TENAS
from archscout.methods.training_free import Scored, TrainingFree, breed, rank_sum, whole
from archscout.supernets.distributions import Distribution, is_product
from archscout.training.optimizers import descend

BUFFER, MOMENTUM = 10, 0.9
"""Architectures whose range a change is measured by; of the mean reward."""

TOP = 2
"""How many of the best of a tournament say how far an indicator tells them apart."""

_TRIES = 64


@register("method", "teg_nas")
class TEGNAS(TrainingFree):
    """TEG-NAS: a policy, or evolution, on three indicators before training (Chen et al. 2021, arXiv 2108.11939).

    The indicators are `te_nas_ntk` (trainability), `te_nas_regions` (expressivity) and `teg_mse` (generalisation).
    `search=reinforce`: options are drawn from a probability each; the reward is the sum over indicators of the change
    since the last architecture over their range in the last 10; REINFORCE with Adam and a moving mean as baseline.
    `search=evolution`: of a sample of the youngest the parent is the best by the one indicator that tells its two best
    furthest apart, relative to its range in the sample; one choice of it is changed, and the oldest dies. (A later
    revision of their code takes the smallest sum of ranks instead.) Picked is what has the best sum of ranks of all
    that were scored; their evolution picks by its rule of parents.
    `search=supernet`: options are pruned from a supernet as by `te_nas`, with the error as a third indicator.

    As in their code, all architectures are cut out of one supernet of random weights a repeat (`shared=true`); with
    `shared=false` each has weights of its own.

    Where an indicator is undefined it counts as the worst so far, as in their code. Trainability enters as the
    logarithm of the condition number, whose tail is heavy; their code takes the number itself.

    Args:
        search: `reinforce`, `evolution` or `supernet`.
        steps: architectures that are drawn, or born; published: 500, and 1,000 for evolution.
        rate: of Adam; published: 0.04 for NAS-Bench-201, 0.07 for DARTS.
        population: how many live; these are drawn at random before evolution begins.
        sample: contestants of each tournament.
        batch: examples of the two indicators that look at the tangent kernel.
        repeats: draws of weights and examples of each indicator.
        finalists: see `archscout.methods.training_free.TrainingFree`.
        shared: whether the weights are those of one supernet.
    """

    def __init__(
        self,
        search: str = "reinforce",
        steps: int = 500,
        rate: float = 0.04,
        population: int = 256,
        sample: int = 64,
        batch: int = 64,
        repeats: int = 3,
        finalists: int = 1,
        shared: bool = True,
    ) -> None:
        super().__init__(finalists)
        if search not in ("reinforce", "evolution", "supernet"):
            raise UsageError(f"method 'teg_nas' searches by reinforce, evolution or supernet, not '{search}'.")
        if not isinstance(shared, bool):
            raise UsageError(f"shared of method 'teg_nas' is true or false, not {shared!r}.")
        self.name = "teg_nas"
        if not options.number(rate, "the rate of method 'teg_nas'") > 0:
            raise UsageError(f"the rate of method 'teg_nas' must be above zero, not {rate:g}.")
        self.by, self.steps, self.rate = search, whole(steps, "steps"), rate
        self.population, self.sample = whole(population, "population"), whole(sample, "sample")
        self.batch, self.repeats = whole(batch, "batch"), whole(repeats, "repeats")
        weights = ",shared=true" if shared else ""
        self.scores = (
            f"te_nas_ntk:batch={batch},repeats={repeats}{weights}",
            f"te_nas_regions:repeats={repeats}{weights}",
            f"teg_mse:batch={batch},repeats={repeats}{weights}",
        )

    def find(self, run: Run) -> list[Architecture]:
        if self.by == "supernet":
            pruning = TENAS(batch=self.batch, repeats=self.repeats, generalisation=True)
            pruning.name = self.name
            return pruning.find(run)
        scored = Scored(run, self.scores)
        if self.by == "reinforce":
            self._reinforce(run, scored)
        else:
            self._evolve(run, scored)
        return scored.best_first(rank_sum(scored.values))

    def _reinforce(self, run: Run, scored: Scored) -> None:
        if not is_product(run.space):
            raise UsageError(
                f"a policy draws each option alone, and not every combination is an architecture of space "
                f"'{run.space.name}': take teg_nas:search=evolution."
            )
        policy = Distribution(run.space)
        start = run.rng("policy", "start")
        for logits in policy.logits:
            logits.data = torch.as_tensor(1e-3 * start.normal(size=len(logits)), dtype=logits.dtype)
        optimizer = torch.optim.Adam(policy.parameters(), lr=self.rate)
        visited: list[int] = []
        mean = weight = 0.0
        for step in range(self.steps):
            rng = run.rng("policy", step)
            drawn = run.admit((policy.sample(1, rng)[0] for _ in range(_TRIES)), 1)
            scored.extend(drawn, 1)
            place = scored.place.get(run.space.canonical(drawn[0])) if drawn else None
            if drawn and place is None:
                break  # the time for the search is over
            if place is None:
                continue  # all that was drawn breaks a limit
            visited.append(place)
            gained = reward(worst_filled(scored.values)[visited])
            mean, weight = (MOMENTUM * old + (1 - MOMENTUM) * new for old, new in ((mean, gained), (weight, 1.0)))
            loss = -policy.log_probability(drawn[0]) * (gained - mean / weight)
            descend(optimizer, loss.backward)
            run.show("policy", step + 1, self.steps)

    def _evolve(self, run: Run, scored: Scored) -> None:
        scored.sample(self.population)

        def children(rng: np.random.Generator, wanted: int) -> Iterator[Architecture]:
            values = worst_filled(scored.values)[-self.population :]
            oldest = len(scored) - len(values)
            living = scored.architectures[oldest:]
            for _ in range(_TRIES if living else 0):
                contestants = rng.choice(len(living), min(self.sample, len(living)), replace=False)
                yield run.space.mutate(living[contestants[parent(values[contestants])]], rng)

        breed(scored, children, len(scored) + self.steps)


def reward(values: np.ndarray) -> float:
    """The sum over indicators of the last change, over the range of the last ones (visits x indicators)."""
    if len(values) < 2:
        return 0.0
    recent = values[-BUFFER:]
    return float(((values[-1] - values[-2]) / (np.ptp(recent, axis=0) + 1e-6)).sum())


def parent(values: np.ndarray) -> int:
    """The place of the parent in a tournament (contestants x indicators): see `TEGNAS`."""
    ordered = np.sort(values, axis=0)[::-1]
    best = ordered[0] - ordered[min(TOP, len(ordered)) - 1]
    spread = np.ptp(values, axis=0)
    apart = np.where(spread > 0, best / np.where(spread > 0, spread, 1.0), -1.0)
    return int(values[:, int(apart.argmax())].argmax())


def worst_filled(values: np.ndarray) -> np.ndarray:
    """With the least of each column where a value is undefined; 0 in a column without any value."""
    defined = np.isfinite(values)
    worst = np.where(defined, values, np.inf).min(axis=0, initial=np.inf)
    return np.where(defined, values, np.where(np.isfinite(worst), worst, 0.0))
