"""Any strategy as a method: it proposes, and what it proposes is trained for real; and a method from either name."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from archscout.core import options
from archscout.core.errors import UsageError, nearest
from archscout.core.estimator import TRAINING
from archscout.core.method import Method, Run
from archscout.core.registry import create, full_name, names, parse_name
from archscout.core.strategy import Strategy
from archscout.core.trial import Trial

FINALISTS = 4
AHEAD = 4
"""A lag of so many times the workers keeps them busy where some trainings take several times as long as others
(`benchmarks/strategies/busy.py`)."""
_SEARCH_SHARE = 0.6


class StrategyMethod(Method):
    """A strategy over the run's estimator.

    With real training every trial is a fully trained network, and the best ones are the finalists. With a cheap
    estimator the strategy gets 60 % of a time budget, and the best by the estimator are then trained.
    """

    def __init__(self, strategy: Strategy) -> None:
        self.name = strategy.name
        self.strategy = strategy

    def search(self, run: Run) -> list[Trial]:
        tell_idle(run, self.name, self.strategy.lag)
        if run.trains:
            return ranked(run, run.follow(self.strategy, run.estimator, fidelity=run.epochs, phase="search"))
        seconds = run.seconds_left() * _SEARCH_SHARE
        deadline = run.decide("search seconds", lambda: seconds if math.isfinite(seconds) else None)
        trials = run.follow(
            self.strategy, run.estimator, phase="search", seconds=math.inf if deadline is None else deadline
        )
        best = [trial.architecture for trial in ranked(run, trials)[: 2 * FINALISTS]]
        return ranked(run, run.evaluate(best, TRAINING, fidelity=run.epochs, phase="final training"))


def tell_idle(run: Run, text: str, lag: int, times: int = AHEAD) -> None:
    """Say where a lag leaves workers with nothing to do, and what to ask for: `times` as much as there are workers."""
    if run.workers > lag:
        run.say(
            f"at most {lag} of {run.workers} workers are busy at once, so that their number changes nothing; for "
            f"another search, in which all are: --method {with_lag(text, times * run.workers)}."
        )


def with_lag(text: str, lag: int) -> str:
    """The text of a strategy with another lag.

    >>> with_lag("evolution:population=20,lag=8", 128)
    'evolution:lag=128,population=20'
    """
    name, parameters = parse_name(text)
    return full_name(name, parameters | {"lag": lag})


def _strategy(text: str, objectives: tuple[str, ...]) -> Strategy:
    """A strategy by name; every one takes a `lag`, by which its proposals may be ahead of what it knows."""
    name, parameters = parse_name(text)
    lag = parameters.pop("lag", None)
    strategy: Strategy = create(
        "strategy", full_name(name, parameters) if lag is not None else text, objectives=objectives
    )
    if lag is not None:
        object.__setattr__(strategy, "lag", options.whole(lag, f"the lag of '{name}'", least=1))
        object.__setattr__(strategy, "name", with_lag(strategy.name, strategy.lag))
    return strategy


def resolve_method(method: str | Method | Strategy, objectives: Sequence[str]) -> Method:
    """A registered method, or a registered strategy over the run's estimator; or an object of these, as it is.

    Raises `UsageError`.
    """
    if isinstance(method, Method):
        return method
    if isinstance(method, Strategy):
        return StrategyMethod(method)
    text = options.text(method, "the method")
    name = text.partition(":")[0]
    if name in names("method"):
        made: Method = create("method", text)
        return made
    if name in names("strategy"):
        return StrategyMethod(_strategy(text, tuple(objectives)))
    if name in names("estimator"):
        raise UsageError(
            f"'{name}' is an estimator, not a search: a search by a predictor is surrogate:predictor=NAME, one by "
            "scores guided:scores=NAME; 'archscout study estimators' compares estimators."
        )
    raise UsageError(f"there is no method '{name}': {nearest(name, [*names('method'), *names('strategy')])}")


def check_trains(run: Run, name: str) -> None:
    """Raises `UsageError` where the run's estimator trains nothing, for methods that end in training."""
    if not run.trains:
        raise UsageError(
            f"method '{name}' ends in real training: estimator '{run.estimator}' trains nothing; "
            "leave --estimator out, or take a strategy such as evolution."
        )


def ranked(run: Run, trials: list[Trial]) -> list[Trial]:
    """The defined trials, best first: by value, or by Pareto front and crowding where there are several objectives."""
    defined = [trial for trial in trials if trial.defined]
    if run.objectives:
        from archscout.strategies.pareto import order, points

        return [defined[i] for i in order(points(defined, run.objectives))] if defined else []
    return sorted(defined, key=lambda trial: trial.rank)


def affordable(run: Run, epochs: int, seconds: float) -> int:
    """How many networks can be trained at once for so many epochs within these seconds."""
    if not run.expected_seconds(run.estimator, epochs):
        return int(1000 * max(0.0, seconds))
    most = 1
    while run.expected_seconds(run.estimator, epochs, most) <= seconds:
        most *= 2
    return bisect_right(range(1, most), seconds, key=lambda n: run.expected_seconds(run.estimator, epochs, n))
