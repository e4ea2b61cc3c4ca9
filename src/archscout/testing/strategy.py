"""What every strategy promises, as tests."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod

import hypothesis.strategies as st
import numpy as np

from archscout.core.architecture import Architecture
from archscout.core.choice import Choice, Continuous, Option
from archscout.core.registry import create
from archscout.core.seeds import stream
from archscout.core.space import Space
from archscout.core.strategy import AskTell, Strategy
from archscout.core.trial import History, Status, Trial
from archscout.testing.check import for_all

STATUSES: tuple[Status, ...] = ("completed", "completed", "completed", "failed", "rejected")


class StrategyConformance(ABC):
    """The contract of a `Strategy`. Inherit it and give the strategy.

    >>> class TestMine(StrategyConformance):              # doctest: +SKIP
    ...     def strategy(self): return MyStrategy()
    """

    examples = 25
    """Histories that each test makes up."""

    @abstractmethod
    def strategy(self) -> Strategy:
        """A new strategy, as a search would make it."""

    def space(self) -> Space:
        """A space to propose from; this one has conditional choices."""
        space: Space = create("space", "mobile:stages=2,depth=2")
        return space

    def test_proposals_are_in_the_space(self) -> None:
        space, strategy = self.space(), self.strategy()

        @for_all(self.examples, histories(space), st.integers(0, 2**32))
        def check(history: History, seed: int) -> None:
            proposal = strategy.propose(space, history, stream(seed))
            assert isinstance(proposal, Architecture)
            assert proposal in space

    def test_a_proposal_depends_on_its_arguments_alone(self) -> None:
        space, strategy = self.space(), self.strategy()

        # Not by Hypothesis: what remembers earlier calls would fail in another way each time that it is shrunk.
        for seed in range(self.examples):
            history, other = (made_up(space, 2 * seed + extra, seed + extra) for extra in (0, 5))
            first = strategy.propose(space, history, stream(seed))
            strategy.propose(space, other, stream(seed + 1))
            assert strategy.propose(space, history, stream(seed)) == first, "it remembers an earlier call"
            assert self.strategy().propose(space, history, stream(seed)) == first, "a new one answers differently"
            assert self.strategy().propose(self.space(), History(history), stream(seed)) == first

    def test_the_global_random_state_is_left_alone(self) -> None:
        space, strategy = self.space(), self.strategy()
        history = trials(space, 12)
        before = np.random.get_state(legacy=True)
        proposal = strategy.propose(space, history, stream(0))
        after = np.random.get_state(legacy=True)
        assert str(before) == str(after)
        assert strategy.propose(space, history, stream(0)) == proposal

    def test_the_history_is_not_changed(self) -> None:
        space, strategy = self.space(), self.strategy()
        history = trials(space, 12)
        before, seen = list(history), set(history.seen)
        strategy.propose(space, history, stream(0))
        assert list(history) == before
        assert history.seen == seen

    def test_it_starts_from_nothing(self) -> None:
        space, strategy = self.space(), self.strategy()
        proposals = {strategy.propose(space, History(), stream(seed)) for seed in range(20)}
        assert all(proposal in space for proposal in proposals)

    def test_it_lives_with_failures_only(self) -> None:
        space, strategy = self.space(), self.strategy()
        for status in dict.fromkeys(STATUSES):
            history = History(dataclasses.replace(t, status=status, value=math.nan) for t in trials(space, 40))
            for seed in range(5):
                assert strategy.propose(space, history, stream(seed)) in space

    def test_it_can_be_asked_and_told(self) -> None:
        space, strategy = self.space(), self.strategy()
        loops = [AskTell(strategy, space, seed=3), AskTell(self.strategy(), space, seed=3)]
        asked: list[list[Architecture]] = [[], []]
        for loop, proposals in zip(loops, asked, strict=True):
            for number in range(30):
                proposal = loop.ask()
                proposals.append(proposal)
                loop.tell(trial(space, number, proposal))
        assert asked[0] == asked[1]
        assert len(set(asked[0])) > 1, "it proposes one architecture again and again"

    def test_the_lag_is_a_positive_number(self) -> None:
        assert isinstance(self.strategy().lag, int)
        assert self.strategy().lag > 0


def trial(space: Space, number: int, architecture: Architecture) -> Trial:
    """A completed trial; the first options of all choices are the best."""
    good = [1 - _place(c, architecture[c.name]) for c in space.choices if c.name in architecture]
    costs = {"params": 1000.0 * len(architecture)}
    canonical = space.canonical(architecture)
    return Trial(number, architecture, canonical, "test", None, "completed", sum(good) / len(good), costs, 0.1)


def _place(choice: Choice, value: Option) -> float:
    """Where a value lies among those of its choice, from 0 to 1."""
    return choice.share(value) if isinstance(choice, Continuous) else choice.index(value) / len(choice.options)


def trials(space: Space, count: int) -> History:
    """So many completed trials of random architectures."""
    return History(trial(space, n, space.sample(stream(n, "conformance", "trials"))) for n in range(count))


def made_up(space: Space, count: int, seed: int) -> History:
    """So many trials of every status and value, some architectures more than once."""
    rng = stream(seed, "conformance", "history")
    history = History()
    for number in range(count):
        best = trial(space, number, space.sample(stream(int(rng.integers(40)), "conformance", "trials")))
        status = STATUSES[int(rng.integers(len(STATUSES)))]
        values = (best.value, 0.5, 0.0, -1e9, math.nan, math.inf) if status == "completed" else (math.nan,)
        costs = best.costs if rng.random() < 0.5 else {}
        value = values[int(rng.integers(len(values)))]
        history.append(dataclasses.replace(best, status=status, value=value, costs=costs))
    return history


def histories(space: Space) -> st.SearchStrategy[History]:
    """A Hypothesis strategy: histories as `made_up` makes them."""
    return st.builds(lambda count, seed: made_up(space, count, seed), st.integers(0, 60), st.integers(0, 2**32))
