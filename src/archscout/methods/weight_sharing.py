"""What all methods with shared weights have in common; each of them says only what its phases are and how it derives.

Train the supernet (and the distribution over architectures), derive candidates that keep every limit, train these alone
and in full: a network that was cut out of a supernet is a start, not a result.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from archscout.core import options
from archscout.core.architecture import Architecture
from archscout.core.errors import UsageError
from archscout.core.evolution import Score, evolve
from archscout.core.fresh import fresh
from archscout.core.method import Method, Run
from archscout.core.seeds import derive as derive_seed
from archscout.core.space import Space
from archscout.core.trial import Trial
from archscout.methods.strategy import check_trains, ranked
from archscout.supernets.derive import likeliest
from archscout.supernets.distributions import Distribution, is_product
from archscout.supernets.evaluate import losses, mixable
from archscout.supernets.importance import ArchitectureCost, hinge
from archscout.supernets.phases import Phase, Row, Settings, Trained, fit
from archscout.supernets.supernet import Supernet

SUPERNET_SHARE, INHERITED_SHARE = 0.5, 0.3
"""Of a time budget: for training the supernet; of what is left then, for looking at inherited scores."""

LEAST_STEPS, PROBE_STEPS = 20, 3
SKIPS_TAKE_OVER = 0.5
"""From this share of choices on that would become plain connections, the search warns."""


Learns = Literal["weights", "samples", "gates", "mixture"]


class WeightSharing(Method):
    """Base of the methods with shared weights.

    Args:
        steps: of training the supernet; fewer where a time budget does not pay for them.
        batch: examples a step.
        finalists: derived architectures that are trained in full, the best of which wins.
    """

    simulates: ClassVar[bool] = False

    learns: Learns = "weights"
    """What the method asks of a space: nothing; that options can be chosen freely; that they can be mixed, too; or that
    they can be mixed, and the space derives an architecture from the mixture where they cannot be chosen freely."""

    def __init__(self, steps: int = 2000, batch: int = 64, finalists: int = 3) -> None:
        if type(finalists) is not int or finalists < 1:
            raise UsageError(f"the finalists of a method must be a whole number above zero, not {finalists!r}.")
        self.settings = Settings(steps=steps, batch_size=batch)
        self.finalists = finalists

    @abstractmethod
    def phases(self, run: Run, supernet: Supernet, steps: int) -> list[Phase]:
        """How the supernet is trained in so many steps."""

    def supernet(self, run: Run, seed: int) -> Supernet:
        """The supernet, untrained."""
        return Supernet(run.space, run.task, seed=seed)

    def derive(self, run: Run, supernet: Supernet, trained: Trained) -> list[Architecture]:
        """Candidates that keep every limit, best first: by default the most probable ones."""
        return likeliest(trained.distribution, run.admit, self.finalists, run.rng("derive"))

    def search(self, run: Run) -> list[Trial]:
        check_trains(run, self.name)
        run.folder  # noqa: B018 - refused here, before anything is built, where no weights can be kept
        with one_thread():
            supernet, trained = self._train(run)
            run.show("derivation", 0)
            candidates = self.derive(run, supernet, trained)
        run.note("weight_sharing", _note(run, trained, candidates))
        return ranked(run, run.evaluate(candidates, run.estimator, fidelity=run.epochs, phase="final training"))

    def _train(self, run: Run) -> tuple[Supernet, Trained]:
        seed = derive_seed(run.seed, "supernet", self.name)
        supernet = self.supernet(run, seed)
        self._check(supernet)
        steps = int(run.decide("supernet steps", lambda: self._affordable(run, seed)))
        warned = False

        def watch(number: int, row: Row | None) -> None:
            nonlocal warned
            run.show("supernet training", number, steps)
            if row is not None and not warned and (row["skips"] or 0.0) >= SKIPS_TAKE_OVER:
                warned = True
                run.say(skip_warning(row))

        trained = fit(
            supernet,
            Distribution(run.space),
            self.phases(run, supernet, steps),
            self._settings(steps),
            seed=seed,
            device=run.device,
            file=run.folder / f"supernet-{steps}.safetensors",
            watch=watch,
        )
        return supernet, trained

    def _check(self, supernet: Supernet) -> None:
        """Raises `UsageError` for a space that this method cannot search."""
        name = supernet.space.name
        derives = self.learns == "mixture" and type(supernet.space).strongest is not Space.strongest
        if self.learns != "weights" and not derives and not is_product(supernet.space):
            raise UsageError(
                f"method '{self.name}' learns a probability for each option alone, and not every combination of them "
                f"is an architecture of space '{name}': take spos, random_sharing or bn_nas."
            )
        if self.learns in ("gates", "mixture") and not mixable(supernet):
            raise UsageError(
                f"method '{self.name}' mixes options, and choices of space '{name}' decide what is connected to what: "
                "take fp_nas, parsec, spos or random_sharing."
            )

    def _settings(self, steps: int) -> Settings:
        return Settings(steps=steps, batch_size=self.settings.batch_size)

    def _affordable(self, run: Run, seed: int) -> int:
        """The steps that the supernet's share of a time budget pays for, by what the first ones of each phase take."""
        left = run.seconds_left() * SUPERNET_SHARE
        if math.isinf(left):
            return self.settings.steps
        run.show("supernet training", 0)
        supernet, distribution = self.supernet(run, seed), Distribution(run.space)
        phases, step = self.phases(run, supernet, self.settings.steps), 0.0
        for phase in phases:
            # The first step includes what is done once.
            first = fit(supernet, distribution, [phase], self._settings(1), seed=seed, device=run.device)
            phase = replace(phase, convert=None)
            trained = fit(
                supernet, first.distribution, [phase], self._settings(PROBE_STEPS), seed=seed, device=run.device
            )
            distribution = trained.distribution
            step += phase.share / sum(each.share for each in phases) * trained.seconds / PROBE_STEPS
        return int(min(self.settings.steps, max(LEAST_STEPS, left / step)))


# -- what methods are made of -----------------------------------------------------------------------------------------


def check(method: str, **settings: float) -> None:
    """Settings as a user may give them: counts, `warm_up` (a share of the steps), `strength` (of a term of the loss).

    Raises `UsageError` for a count below one, a share that leaves nothing, and a number that is not above zero.
    """
    for name, value in settings.items():
        what = f"the {name} of method '{method}'"
        if name == "warm_up" and not 0 <= options.number(value, what) < 1:
            raise UsageError(f"{what} must be a share of the steps, at least 0 and below 1, not {value:g}.")
        if name == "strength" and options.number(value, what) < 0:
            raise UsageError(f"{what} must not be below zero, as {value:g} is.")
        if name in ("warm_up", "strength"):
            continue
        if isinstance(value, int):
            options.whole(value, what, 1)
        elif options.number(value, what) <= 0:
            raise UsageError(f"{what} must be above zero, not {value:g}.")


def adam_rate(reach: float, steps: int, every: int = 1) -> float:
    """The rate with which Adam can move a logit by `reach` in a whole search.

    Published rates belong to searches of tens of thousands of steps; what carries over is rate times steps.
    """
    return reach * every / max(1, steps)


def excess(run: Run) -> ArchitectureCost | None:
    """By how much architectures break the limits, each in units of itself, summed; None where there are none.

    Limits are aimed at from a little below, for some of what is sampled is above its mean.
    """
    if not run.constraints:
        return None

    def cost(architectures: Sequence[Architecture]) -> list[float]:
        rows = run.screened(architectures)
        parts = [hinge([row[c.key] for row in rows], c.limit * 0.98) for c in run.constraints]
        return [sum(each) for each in zip(*parts, strict=True)]

    return cost


def relative(run: Run) -> ArchitectureCost | None:
    """The costs of architectures, each in units of its limit, the largest of them; None where there are no limits."""
    if not run.constraints:
        return None

    def cost(architectures: Sequence[Architecture]) -> list[float]:
        rows = run.screened(architectures)
        return [max(row[c.key] / c.limit for c in run.constraints) for row in rows]

    return cost


def cost_table(run: Run, samples: int = 200) -> tuple[dict[str, list[float]], float, float]:
    """A cost for each option of each choice, by least squares on sampled architectures, for the first limit.

    Returns:
        The table, the part that every architecture costs, and the limit.
    """
    limit = run.constraints[0]
    rng = run.rng("cost table")
    architectures = [run.space.sample(rng) for _ in range(samples)]
    costs = np.asarray([row[limit.key] for row in run.screened(architectures)])
    rows = np.asarray(run.space.encode(architectures), dtype=float)
    mean = costs.mean()
    # A little ridge: options of one choice sum to one, so that a constant may wander between them.
    solution = np.linalg.solve(rows.T @ rows + 1e-3 * np.eye(rows.shape[1]), rows.T @ (costs - mean))
    table, place = {}, 0
    for choice in run.space.choices:
        table[choice.name] = [float(v) for v in solution[place : place + len(choice.options)]]
        place += len(choice.options)
    return table, float(mean), limit.limit


def inherited(run: Run, supernet: Supernet, *, examples: int = 512, batch: int = 128) -> Score:
    """The score by inherited weights: minus the mean loss on validation examples, by their own statistics.

    The loss and not the accuracy, because on few examples accuracies tie.
    """
    x, y = run.task.tensors(run.task.valid.head(examples), run.device)
    # Equal parts, since the statistics of a small rest would be of another kind.
    count = max(1, round(len(x) / batch))
    batches = list(zip(x.tensor_split(count), y.tensor_split(count), strict=True))

    def score(architectures: Sequence[Architecture]) -> list[float]:
        mean_losses = torch.stack([losses(supernet, architectures, batch) for batch in batches]).mean(0)
        values: list[float] = (-mean_losses).tolist()
        return values

    return score


def affordable_scores(run: Run, score: Score, most: int) -> int:
    """How many architectures may get an inherited score: all of `most`, or what a share of a time budget pays for."""

    def decide() -> int:
        left = run.seconds_left() * INHERITED_SHARE
        if math.isinf(left):
            return most
        rng = run.rng("inherited probe")
        probes = [run.space.sample(rng) for _ in range(8)]
        before = run.seconds_left()
        score(probes)
        return int(min(most, max(20, left / max(1e-6, (before - run.seconds_left()) / len(probes)))))

    return int(run.decide("inherited scores", decide))


def evolved(
    run: Run, score: Score, count: int, most: int = 1000, first: Sequence[Architecture] = ()
) -> list[Architecture]:
    """The best `count` by a score, found by evolution within the limits, which begins with `first`."""
    most = affordable_scores(run, score, most)
    scored = evolve(run.space, score, run.admit, run.rng("evolution"), first=first, most=most)
    return [architecture for architecture, _ in scored[:count]]


def best_of(run: Run, score: Score, candidates: Iterator[Architecture], count: int, most: int) -> list[Architecture]:
    """The best `count` by a score among the first different `most` candidates that keep the limits."""
    admitted = run.admit(fresh(run.space, candidates, set()), affordable_scores(run, score, most))
    values = score(admitted) if admitted else []
    order = sorted(range(len(admitted)), key=lambda place: -values[place])
    return [admitted[place] for place in order[:count]]


def skip_warning(row: Row) -> str:
    """What is said when plain connections take over."""
    return (
        f"warning: after {row['step']} steps plain connections (skip) are the most probable option of "
        f"{row['skips']:.0%} of the choices that have one; such a search often ends in a shallow network "
        "(try rf_darts, gdas or fp_nas)."
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread: these networks are small, and the result must not depend on the number of processors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _note(run: Run, trained: Trained, derived: Sequence[Architecture]) -> dict[str, Any]:
    """For the report."""
    over: Callable[[Row], bool] = lambda row: (row["skips"] or 0.0) >= SKIPS_TAKE_OVER  # noqa: E731
    first = next((row for row in trained.history if over(row)), None)
    return {
        "steps": trained.history[-1]["step"],
        "paths": trained.history[-1]["paths"],
        "seconds": round(trained.seconds, 3),
        "candidates": [architecture.text for architecture in derived],
        "warning": None if first is None else skip_warning(first),
        "history": trained.history,
    }
