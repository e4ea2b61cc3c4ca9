"""Zero-cost scores: what one is, and how several of them are asked in passes that they share.

A score is one file with one class, a `Score`. It asks a `Subject` (one architecture) for what it needs, and whatever
several scores ask for is made once: the network, the batch, the forward pass. What a score wants to see of the forward
pass it declares as `watches`, the backward passes that it wants in `uses`, so that one pass serves them all.
`archscout.estimators.zero_cost.subject` has the rules that make scores comparable and repeatable.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.cache import Cache
from archscout.core.errors import UsageError
from archscout.core.estimator import Estimator, Setting
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.trial import Estimate
from archscout.estimators.zero_cost.subject import Asked as Asked
from archscout.estimators.zero_cost.subject import Batch as Batch
from archscout.estimators.zero_cost.subject import Subject as Subject
from archscout.estimators.zero_cost.subject import draw as draw
from archscout.estimators.zero_cost.subject import prepared as prepared
from archscout.estimators.zero_cost.watching import Watcher


def score(
    architectures: Sequence[Architecture], names: Sequence[str], setting: Setting, *, batch: int | None = None
) -> dict[str, list[Estimate]]:
    """Estimates by several estimators, zero-cost ones in passes that they share.

    Args:
        architectures: of the setting's space.
        names: registered names, perhaps with parameters (`naswot:batch=64`).
        setting: its seed decides the weights and the batch.
        batch: examples a score looks at, where its name does not say; by its own choice where None.

    Returns:
        For each name one estimate an architecture, in order. `seconds` is what the score would have taken alone: a pass
        that several share counts for each of them.

    Raises:
        UsageError: an unknown name or parameter.
    """
    defaults = {} if batch is None else {"batch": batch}
    estimators: dict[str, Estimator] = {name: create("estimator", name, **defaults) for name in names}
    ensembles = {name: estimator for name, estimator in estimators.items() if isinstance(estimator, Ensemble)}
    for ensemble in ensembles.values():
        estimators |= {
            name: create("estimator", name, **defaults) for name in ensemble.members if name not in estimators
        }
    scores = {name: estimator for name, estimator in estimators.items() if isinstance(estimator, Score)}
    columns = dict(zip(scores, together(list(scores.values()), architectures, setting), strict=True))
    for name, ensemble in ensembles.items():
        columns[name] = ensemble.merge([columns[member] for member in ensemble.members], setting, batch)
    return {
        name: columns[name] if name in columns else estimators[name].estimate(architectures, setting) for name in names
    }


class Score(Estimator):
    """A zero-cost score: a number that a network has before any training."""

    watches: ClassVar[tuple[type[Watcher], ...]] = ()
    """What it wants to see of the forward pass of a batch of `batch` examples."""

    uses: ClassVar[frozenset[str]] = frozenset()
    """The backward passes of that batch that it wants, of: "loss", "channels", "jacobian"."""

    batch: int = 0
    """How many training examples it looks at; 0 where it needs none."""

    @abstractmethod
    def score(self, subject: Subject) -> float:
        """The value for one architecture. Raises `UndefinedScore`, saying why, where there is none."""

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        return together([self], architectures, setting)[0]


class Ensemble(Estimator):
    """One score of several: where an architecture stands in each, among a fixed sample of the space.

    What published rules compute among the candidates at hand is computed here against `reference` architectures drawn
    by the setting's seed, so that a value does not depend on what else is asked.
    """

    needs = frozenset({"inputs", "targets", "gradients"})

    members: tuple[str, ...] = ()
    """Names of the scores."""

    reference: int = 64
    """How many architectures of the space are the measure."""

    @abstractmethod
    def combine(self, values: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """One value a row of `values` (architectures x members), given those of the reference; NaN is worst."""

    def estimate(
        self, architectures: Sequence[Architecture], setting: Setting, *, fidelity: int | None = None
    ) -> list[Estimate]:
        columns = score(architectures, self.members, setting)
        return self.merge([columns[member] for member in self.members], setting, None)

    def merge(self, columns: Sequence[Sequence[Estimate]], setting: Setting, batch: int | None) -> list[Estimate]:
        """The estimates, from those of the members (one column a member)."""
        if not columns[0]:
            return []
        values = np.array([[estimate.value for estimate in column] for column in columns]).T
        combined = self.combine(values, _reference_values(self.members, self.reference, setting, batch))
        estimates = []
        for row, value, known in zip(zip(*columns, strict=True), combined, np.isfinite(values).any(1), strict=True):
            reason = "" if known else f"every member is undefined: {row[0].reason}"
            seconds = sum(estimate.seconds for estimate in row)
            estimates.append(Estimate(float(value) if known else math.nan, seconds, reason=reason))
        return estimates


_references = Cache[np.ndarray](size=16)


def _reference_values(members: tuple[str, ...], count: int, setting: Setting, batch: int | None) -> np.ndarray:
    """What the members say of the reference sample (architectures x members); made once a process."""

    def values() -> np.ndarray:
        rng = stream(setting.seed, "ensemble", "reference")
        architectures = [setting.space.sample(rng) for _ in range(count)]
        columns = score(architectures, members, setting, batch=batch)
        return np.array([[estimate.value for estimate in columns[member]] for member in members]).T

    key = (members, count, setting.space.digest, setting.task.digest, setting.seed, setting.device, batch)
    return _references.get(key, values)


def together(scores: Sequence[Score], architectures: Sequence[Architecture], setting: Setting) -> list[list[Estimate]]:
    """One list a score, one estimate an architecture; NaN with a reason where a score is undefined or not finite."""
    asked: dict[int, Asked] = {}
    for each in scores:
        batch = asked.setdefault(each.batch, Asked())
        batch.watchers += [kind for kind in each.watches if kind not in batch.watchers]
        batch.uses |= each.uses
    batches: dict[tuple[int, int], Batch] = {}
    rows = []
    for architecture in architectures:
        subject = Subject(architecture, setting, asked, batches)
        rows.append([subject.ask(each.name, each.score) for each in scores])
    return [[row[column] for row in rows] for column in range(len(scores))]


def check_batch(size: int, name: str) -> int:
    """A batch size as a user may give it. Raises `UsageError` for one below 2, for scores that compare examples."""
    if not isinstance(size, int) or size < 2:
        raise UsageError(f"the batch of estimator '{name}' must be a whole number of at least 2, not {size}.")
    return size
