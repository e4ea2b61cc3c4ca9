"""What all methods have in common that search by scores of untrained networks; each says what is scored, and how.

Propose architectures (at random, as mutants of the best, by a policy), score them, and train what comes out first:
alone, from its own initialisation, and in full. Scores are kept in the run, so that a resumed search pays none twice.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.estimator import Setting
from archscout.core.fresh import fresh
from archscout.core.method import Method, Run
from archscout.core.offspring import mutant
from archscout.core.task import Task
from archscout.core.trial import Trial
from archscout.estimators.zero_cost.ranks import among, log_ranks_among
from archscout.methods.strategy import affordable, check_trains, ranked

SEARCH_SHARE = 0.6
"""Of a time budget, for everything before the full training of what was picked."""

CHUNK, FIRST_CHUNK = 32, 8
"""Architectures that are scored at once, at most, and at first, as long as nobody knows what one takes."""

OFFSPRING = 8
"""Children that evolution makes at once: the published code makes one, which would leave workers without a job."""

BEGIN = 11
"""Random architectures before evolution begins; in the code of Zen-NAS, changes of one architecture given by hand."""

_TRIES = 20
"""Proposals for each new network that is wanted, before a space counts as exhausted."""

Rule = Callable[[np.ndarray], np.ndarray]
"""From scores (architectures x scores) to one number an architecture, higher is better; NaN where it is undefined."""

Offspring = Callable[[np.random.Generator, int], Iterator[Architecture]]
"""Candidates made of what has been scored, by a random stream, where so many new ones are wanted."""


class TrainingFree(Method):
    """Base of the methods that pick by scores and train what they picked.

    Args:
        finalists: picks that are trained in full, the best of which wins; 1 as published.
    """

    simulates: ClassVar[bool] = False

    def __init__(self, finalists: int = 1) -> None:
        if type(finalists) is not int or finalists < 1:
            raise UsageError(f"the finalists of a method must be a whole number above zero, not {finalists!r}.")
        self.finalists = finalists

    @abstractmethod
    def find(self, run: Run) -> list[Architecture]:
        """Architectures that keep every limit, the best first."""

    def search(self, run: Run) -> list[Trial]:
        check_trains(run, self.name)
        candidates = self.find(run)
        trials: list[Trial] = []
        for start in range(0, len(candidates), self.finalists):
            some = candidates[start : start + self.finalists]
            more = run.evaluate(some, run.estimator, fidelity=run.epochs, phase="final training")
            trials += more
            # Where a network cannot be trained the next ones take its place, as long as the budget lasts.
            if any(trial.defined for trial in trials) or len(more) < len(some):
                break
        return ranked(run, trials)


class BestOf(TrainingFree):
    """The best by scores of so many random architectures.

    Args:
        scores: names of estimators.
        samples: architectures that are scored.
        keep: the best by score that are trained for a tenth of the epochs, by which they are ordered anew; 1: none.
        finalists: see `TrainingFree`.
    """

    def __init__(self, scores: Sequence[str], samples: int, keep: int = 1, finalists: int = 1) -> None:
        super().__init__(finalists)
        self.scores = tuple(scores)
        self.samples, self.keep = whole(samples, "samples"), whole(keep, "keep")

    def rule(self, values: np.ndarray) -> np.ndarray:
        """One number an architecture, of its scores."""
        return first(values)

    def find(self, run: Run) -> list[Architecture]:
        scored = Scored(run, self.scores)
        scored.sample(self.samples)
        in_order = scored.best_first(self.rule(scored.values))
        return briefly_trained(run, in_order[: self.keep], self.finalists) + in_order[self.keep :]


class Scored:
    """Every network that a search has looked at, each once, with its scores, in the order of asking."""

    def __init__(self, run: Run, scores: Sequence[str]) -> None:
        self.run, self.scores = run, tuple(scores)
        self.architectures: list[Architecture] = []
        self.place: dict[str, int] = {}
        self.reasons: dict[str, str] = {}
        self._rows: list[list[float]] = []
        self._seen: set[str] = set()
        self._until = time_for_search(run)

    def __len__(self) -> int:
        return len(self.architectures)

    @property
    def values(self) -> np.ndarray:
        """Architectures x scores; NaN where a score is undefined."""
        return np.asarray(self._rows, dtype=float).reshape(-1, len(self.scores))

    def extend(self, candidates: Iterable[Architecture], count: int) -> int:
        """Score the first `count` networks that are new and keep every limit.

        Returns:
            How many there were: fewer where the candidates or the time for the search ended.
        """
        before = len(self)
        new = map(self.run.space.simplify, fresh(self.run.space, candidates, self._seen))
        while (missing := before + count - len(self)) > 0:
            room = min(missing, self._affordable())
            batch = list(itertools.islice(new, room))
            if not batch:
                break
            self._score(self.run.admit(batch, len(batch)))
        return len(self) - before

    def sample(self, count: int) -> int:
        """Score so many random architectures; mutants of known ones among them where few keep the limits."""
        return self.extend(self._draws(self.run.rng("sample", len(self)), count), count)

    def best_first(self, merits: np.ndarray) -> list[Architecture]:
        """All architectures whose number (one each) is defined, the best first.

        Raises `ArchscoutError` where there is none.
        """
        defined = [place for place in range(len(self)) if np.isfinite(merits[place])]
        self.run.note(
            "training_free",
            {
                "scores": list(self.scores),
                "architectures": len(self),
                "undefined": dict(zip(self.scores, np.isnan(self.values).sum(axis=0).tolist(), strict=True)),
            },
        )
        if not defined:
            reason = next(iter(self.reasons.values()), "no architecture that was tried keeps the limits")
            raise ArchscoutError(
                f"none of {len(self)} architectures has a value of {', '.join(self.scores)}: {reason.rstrip('.')}; "
                "search by another method, or in another space."
            )
        order = sorted(defined, key=lambda place: (-merits[place], place))
        return [self.architectures[place] for place in order]

    def _score(self, architectures: Sequence[Architecture]) -> None:
        columns = self.run.score(architectures, self.scores)
        for architecture, *trials in zip(architectures, *columns, strict=True):
            self.place[trials[0].canonical] = len(self.architectures)
            self.architectures.append(architecture)
            self._rows.append([trial.value for trial in trials])
            self.reasons |= {trial.estimator: trial.reason for trial in trials if trial.reason}

    def _draws(self, rng: np.random.Generator, count: int) -> Iterator[Architecture]:
        space, share = self.run.space, self.run.share
        if share < 0.2:
            yield from space.extremes()
        for _ in range(int(_TRIES * count / max(share, 0.01))):
            if share < 0.2 and self.architectures and rng.random() < 0.7:
                yield space.mutate(self.architectures[int(rng.integers(len(self)))], rng)
            else:
                yield space.sample(rng)

    def _affordable(self) -> int:
        """How many may be scored next: all that are asked for, or what the time for the search still pays for."""
        if self._until is None:
            return CHUNK

        def decide() -> int:
            each = sum(self.run.expected_seconds(score, None) for score in self.scores)
            left = self.run.seconds_left() - float(self._until or 0.0)
            if not self.architectures:
                return FIRST_CHUNK
            return int(np.clip(left * self.run.workers / max(each, 1e-6), 0, CHUNK)) if left > 0 else 0

        return int(self.run.decide(f"{'+'.join(self.scores)} after {len(self._seen)}", decide))


# -- what methods are made of -----------------------------------------------------------------------------------------


def first(values: np.ndarray) -> np.ndarray:
    """The first score as it is."""
    return values[:, 0]


def log_ranks(values: np.ndarray) -> np.ndarray:
    """The sum over scores of log(rank / m) among the m candidates (Lee, Ham 2024, arXiv 2403.19232).

    An undefined score ranks lowest; where all are, so is the sum.
    """
    return np.where(np.isnan(values).all(axis=1), np.nan, log_ranks_among(values))


def rank_sum(values: np.ndarray) -> np.ndarray:
    """The sum over scores of the rank among the candidates; undefined ones as in `log_ranks`."""
    return np.where(np.isnan(values).all(axis=1), np.nan, among(values).sum(axis=1))


def evolve(scored: Scored, rule: Rule, steps: int, population: int) -> None:
    """The evolution of Zen-NAS (Lin et al. 2021, arXiv 2102.01063), until `steps` networks are scored.

    A parent is drawn uniformly among the `population` best so far, and two of its choices are changed.
    """
    scored.sample(min(BEGIN, steps))

    def mutants(rng: np.random.Generator, wanted: int) -> Iterator[Architecture]:
        merits = np.nan_to_num(rule(scored.values), nan=-np.inf)
        living = [scored.architectures[place] for place in np.argsort(-merits, kind="stable")[:population]]
        for _ in range(_TRIES * wanted if living else 0):
            yield mutant(scored.run.space, living, rng, lambda _: 2)

    breed(scored, mutants, steps)


def breed(scored: Scored, offspring: Offspring, most: int) -> None:
    """Score the offspring of what has been scored, some at once, until `most` networks are; random ones where
    no offspring is new."""
    while len(scored) < most:
        wanted = min(OFFSPRING, most - len(scored))
        children = offspring(scored.run.rng("evolve", len(scored)), wanted)
        # In a small space all that is near may be known: then new blood, until nothing is new.
        if not scored.extend(children, wanted) and not scored.sample(wanted):
            break


def briefly_trained(run: Run, architectures: list[Architecture], finalists: int) -> list[Architecture]:
    """The same architectures, best first by a training of a tenth of the epochs.

    Those for whose training the budget does not pay, beside the full trainings at the end, come after the others.
    """
    epochs = run.fidelity(max(1, round(run.epochs / 10)))

    def paid_for() -> int:
        if math.isfinite(run.trials_left()):
            return int(min(len(architectures), run.trials_left() - finalists))
        left = run.seconds_left() - 2 * run.expected_seconds(run.estimator, run.epochs)
        return min(len(architectures), affordable(run, epochs, left))

    if len(architectures) < 2 or epochs == run.epochs:
        return architectures
    count = run.decide("brief trainings", paid_for)
    if count < 2:
        return architectures
    trials = run.evaluate(architectures[:count], run.estimator, fidelity=epochs, phase="brief training")
    best = [trial.architecture for trial in sorted((t for t in trials if t.defined), key=lambda trial: trial.rank)]
    return best + [architecture for architecture in architectures if architecture not in best]


def setting_of(run: Run, name: str) -> Setting:
    """Where a method that looks at networks itself does so. Raises `UsageError` in a table search without data."""
    task: Task | None = run.task
    if task is None:
        raise UsageError(f"method '{name}' looks at untrained networks on data: say which, with --data.")
    return Setting(run.space, task.sealed(), seed=run.seed, device=run.device)


def time_for_search(run: Run) -> float | None:
    """The seconds that are to be left when scoring ends; None where the budget is not in time."""
    left = run.seconds_left()
    decided = run.decide("search until", lambda: left * (1 - SEARCH_SHARE) if math.isfinite(left) else None)
    return None if decided is None else float(decided)


def whole(value: int, what: str, least: int = 1) -> int:
    """A count as a user may give it. Raises `UsageError` for one that is too small."""
    if type(value) is not int or value < least:
        raise UsageError(f"'{what}' of a method must be a whole number of {least} or more, not {value!r}.")
    return value
