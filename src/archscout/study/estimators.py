"""Compares estimators on a table: what each tells of networks that it has not seen, after how much spent.

The protocol is that of White, Zela, Ru, Liu, Hutter (2021, arXiv 2104.01177): an estimator is judged by two budgets,
what it costs before the first answer (its initialisation: training the networks that it learns from, and fitting) and
what each answer costs (its query: a score, or the beginning of a training). Unlike there, no network that was learned
from, nor an isomorphic one, is among those that are predicted.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from archscout.core import options
from archscout.core.errors import UsageError
from archscout.core.seeds import derive, stream
from archscout.estimators.curves.features import finite
from archscout.estimators.predictors.tune import tune
from archscout.study.metrics import ERRORS, RANKING
from archscout.study.problem import Problem, learner, problem
from archscout.study.record import Record, carry_out
from archscout.study.score_columns import of_others
from archscout.tables.table import Table

SIZES = (5, 8, 14, 24, 42, 71, 121, 205, 347, 589, 1000)
"""How many networks are learned from, where nothing else is asked for: the sizes of the study of 2021."""

Row = dict[str, Any]
"""One measurement: `repeat`, `estimator`, `train` and `epochs` (0 where none), the metrics, and the four budgets:
`trained` networks, `simulated_seconds` (trainings, by the table), `fit_seconds` and `query_seconds` (of this machine;
the latter with what a query costs by the table, for one network), and the number of `queries`."""

COLUMNS: dict[str, type] = {
    **dict.fromkeys(("repeat", "train", "epochs", "undefined", "trained", "queries"), int), "estimator": str,
    **dict.fromkeys((*RANKING, *ERRORS, "simulated_seconds", "fit_seconds", "query_seconds"), float),
}  # fmt: skip
"""The types of what stands in a row."""


@dataclass(frozen=True)
class Plan:
    """What is compared, and how.

    Args:
        contenders: names of predictors, scores or curves (`archscout.study.problem`).
        sizes: how many networks are learned from.
        repeats: how often, each time with other networks.
        test: how many of the unseen architectures are predicted, at random; all if None.
        clean: whether networks that were learned from, and isomorphs, are left out of the predicted ones; papers leave
            them in.
        seed: of all random decisions.
        mutants: whether what is predicted are mutants of good architectures (`Problem.mutants`).
        epochs: after how many of them curves are looked at; after up to 8 numbers that the table has if None.
    """

    contenders: tuple[str, ...]
    sizes: tuple[int, ...]
    repeats: int = 20
    test: int | None = 1000
    clean: bool = True
    seed: int = 0
    mutants: bool = False
    epochs: tuple[int, ...] | None = None

    def looks(self, epochs: int) -> bool:
        """Whether so many epochs of a curve are looked at; 0 is for what looks at none."""
        return not epochs or self.epochs is None or epochs in self.epochs


def compare(
    table: Table,
    plan: Plan,
    folder: Path,
    *,
    metric: str | None = None,
    scores: Path | Sequence[Path] | None = None,
    workers: int = 0,
    fresh: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """Carry out a comparison, in `folder`; the same call again goes on where it was stopped.

    Args:
        table: the ground truth.
        plan: what is compared.
        folder: gets `rows.jsonl`, one line for each contender and repeat.
        metric: what is predicted; the table's default metric if not given.
        scores: files of `archscout score` with scores that the table does not have.
        workers: processes that share the jobs; 0 does them in this one. The rows do not depend on it, but their
            wall-clock does.
        fresh: whether a study that the folder holds is set aside, for this one to begin anew.
        progress: told how many jobs are done, of how many.
        say: told in a sentence what is predicted, where scores are sparse, and which of them are of other networks or
            data than the table.

    Returns:
        All rows, by contender, repeat and size.

    Raises:
        UsageError: fewer than 3 to learn from, more than half the table, unknown names, or a folder of another study.
    """
    plan, workers = _plain(plan), options.workers(workers)
    about = problem(table, plan.contenders, metric=metric, scores=scores)
    for sentence in of_others(table, scores):
        say(sentence)
    _check(plan, about)
    setting = {
        "study": "estimators", "table": about.table, "metric": about.metric, "architectures": len(about),
        "content": hashlib.sha256(about.truth.tobytes()).hexdigest()[:16], "sizes": list(plan.sizes), "test": plan.test,
        "clean": plan.clean, "seed": plan.seed,
    }  # fmt: skip
    if plan.mutants:
        setting["mutants"] = True
    if plan.epochs is not None:
        setting["epochs"] = list(plan.epochs)
    if about.sparse:
        # Other test sets: what was measured on these is not to be set beside what was not.
        setting["predicted"] = hashlib.sha256(about.asked.tobytes()).hexdigest()[:16]
        say(predicted(about))
    inputs = {name: about.inputs(name) for name in plan.contenders}
    with Record.open(folder, setting, fresh, inputs) as record:
        jobs = [(name, repeat) for repeat in range(plan.repeats) for name in plan.contenders]
        carry_out(record, jobs, (about, plan), measure, workers, progress, COLUMNS)
        return [row for job in sorted(jobs, key=lambda job: plan.contenders.index(job[0])) for row in record.done[job]]


def predicted(about: Problem) -> str:
    """In a sentence, what is predicted where scores are sparse."""
    few = ", ".join(f"{name}: {count:,}" for name, count in about.sparse.items())
    return (
        f"predicted are {int(about.asked.sum()):,} of {len(about):,} architectures, by all alike: those of which every "
        f"score has a value ({few})."
    )


def _plain(plan: Plan) -> Plan:
    """The plan in plain numbers and names. Raises `UsageError` where one is none."""
    return replace(
        plan,
        contenders=tuple(options.several(plan.contenders, "estimators")),
        sizes=options.wholes(plan.sizes, "a number of networks to learn from", 1),
        repeats=options.whole(plan.repeats, "the number of repeats", 1),
        test=None if plan.test is None else options.whole(plan.test, "the number of networks to predict", 2),
        clean=options.switch(plan.clean, "clean"),
        seed=options.seed(plan.seed),
        mutants=options.switch(plan.mutants, "mutants"),
        epochs=None if plan.epochs is None else options.wholes(plan.epochs, "a number of epochs", 1),
    )


def _check(plan: Plan, about: Problem) -> None:
    if not plan.contenders:
        raise UsageError("nothing is compared: name estimators (--with scout,random_forest).")
    if not plan.sizes or min(plan.sizes) < 3:
        raise UsageError("a predictor cannot learn from fewer than 3 networks: give larger --train-sizes.")
    if max(plan.sizes) > len(about) // 2:
        raise UsageError(
            f"{max(plan.sizes)} networks to learn from are more than half of the {len(about)} in table "
            f"'{about.table}': give --train-sizes up to {len(about) // 2}."
        )
    if plan.mutants and (plan.test is None or not plan.clean):
        raise UsageError("mutants are predicted in a number (--test 200), and never those that were learned from.")


def measure(payload: tuple[Problem, Plan], name: str, repeat: int) -> list[Row]:
    """The rows of one contender in one repeat: one a size for what learns, one an epoch count for curves, or both.

    What neither learns nor reads curves has one row.
    """
    about, plan = payload
    seed = derive(plan.seed, "study", repeat) % 2**31
    order = about.split(seed, len(about))
    mutants = None
    if plan.mutants:
        assert plan.test is not None
        order, mutants = about.mutants(seed, max(plan.sizes), plan.test)
    base = {"repeat": repeat, "estimator": name}
    if name in about.features:
        return [base | row for row in _learned(about, plan, name, seed, order, mutants)]
    test = _test(about, plan, order[: max(plan.sizes)], seed) if mutants is None else mutants
    truth = about.truth[test]
    if name in about.curves:
        return [
            base | _row(truth, values[test], epochs=epochs, query=_known_mean(about.queries[epochs][test]))
            for epochs, values in about.curves[name].items()
            if plan.looks(epochs)
        ]
    return [base | _row(truth, about.scores[name][test], query=about.score_seconds[name])]


def _learned(
    about: Problem, plan: Plan, name: str, seed: int, order: np.ndarray, mutants: np.ndarray | None
) -> list[Row]:
    from sklearn.base import clone

    estimator = learner(name)
    assert estimator is not None
    rows = []
    for size in plan.sizes:
        train = order[:size]
        test = _test(about, plan, train, seed) if mutants is None else mutants
        pool = order[::-1][: estimator.predictor.unlabelled]
        for epochs, begun in about.begun.get(name, {0: None}).items():
            if not plan.looks(epochs):
                continue
            predictor = clone(estimator.predictor).set_params(seed=derive(seed, name, size) % 2**31)
            if "widths" in predictor.get_params():
                predictor.set_params(widths=about.widths[name])
            matrix = about.features[name]
            if begun is not None:
                matrix = np.column_stack([matrix, finite(begun, begun[train])])
            start = perf_counter()
            if np.ptp(about.truth[train]) > 0:
                if estimator.tune:
                    tune(predictor, matrix[train], about.truth[train], estimator.tune)
                # What has no value but a begun training would have to be paid for.
                predictor.fit(matrix[train], about.truth[train], matrix[pool] if begun is None else None)
                fitted = perf_counter()
                said = np.asarray(predictor.predict(matrix[test]))
            else:  # a few networks of the same value teach nothing: a constant is all that can be said
                fitted = perf_counter()
                said = np.full(len(test), about.truth[train][0])
            each = (perf_counter() - fitted) / len(test) + about.score_seconds.get(name, 0.0)
            each += _known_mean(about.queries[epochs][test]) if epochs else 0.0
            rows.append(
                _row(
                    about.truth[test], said, train=size, epochs=epochs, query=each, fit=fitted - start, values=True,
                    simulated=len(train) * _known_mean(about.seconds[train]),
                )
            )  # fmt: skip
    return rows


def _test(about: Problem, plan: Plan, train: np.ndarray, seed: int) -> np.ndarray:
    """What is predicted: the same order for all contenders of a repeat."""
    unseen = about.unseen(train) if plan.clean else np.arange(len(about))
    unseen = unseen[about.asked[unseen]]
    if len(unseen) < 2:
        raise UsageError(f"table '{about.table}' has no network left to predict: give smaller --train-sizes.")
    if plan.test is None or plan.test >= len(unseen):
        return np.asarray(unseen)
    place = stream(seed, "study", "test").permutation(len(about))
    return np.asarray(unseen[np.argsort(place[unseen])[: plan.test]])


def _row(
    truth: np.ndarray, said: np.ndarray, *, train: int = 0, epochs: int = 0, simulated: float = 0.0, fit: float = 0.0,
    query: float = math.nan, values: bool = False,
) -> Row:  # fmt: skip
    row: Row = {"train": train, "epochs": epochs}
    row |= {name: metric(truth, said) for name, metric in RANKING.items()}
    row |= {name: metric(truth, said) if values else math.nan for name, metric in ERRORS.items()}
    return row | {
        "undefined": int((~np.isfinite(said)).sum()), "trained": train, "simulated_seconds": simulated,
        "fit_seconds": fit, "query_seconds": query, "queries": len(said),
    }  # fmt: skip


def _known_mean(values: np.ndarray) -> float:
    """The mean of what is known; NaN where nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan


def default_sizes(architectures: int) -> tuple[int, ...]:
    """The sizes of the study of 2021 that a table of so many architectures has room for."""
    return tuple(size for size in SIZES if size <= architectures // 2)
