"""A search whose evaluations are made elsewhere: a program asks what to try, and tells what came of it.

The run's folder has `run.json` (what is asked for: space, strategy, seed, objectives) and `trials.json`, a list of all
that was asked for or told, in order. Every answer follows from these two, so that a program may ask and tell from any
process, at any time; what has been asked for and not told is under way, and is not proposed twice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archscout.core import options, seeds
from archscout.core.architecture import Architecture
from archscout.core.errors import ArchscoutError, DataError, UsageError
from archscout.core.files import read_json, well_formed, write_json
from archscout.core.registry import create
from archscout.core.space import Space
from archscout.core.strategy import Strategy
from archscout.core.trial import History, Pending, Trial
from archscout.search.continuing import RUN, claim
from archscout.search.start import Source, read_start
from archscout.store.folder import run_folder
from archscout.store.lock import run_lock

ASKED = "a search whose evaluations are made elsewhere"
TRIALS = "trials.json"
TRIES = 100
"""Proposals in a row that bring nothing new, after which there is nothing left to ask for."""

PATIENCE = 60.0
"""Seconds that a question or an answer waits for those of other programs, which take moments."""

_RESTORE = "restore it from a backup, or begin another run."
_KEYS = {"trial", "architecture", "value", "costs", "failed"}
_DEFAULTS: dict[str, Any] = {"strategy": "surrogate", "seed": 0, "objectives": []}


def ask(
    folder: str | Path,
    *,
    space: str | Space | None = None,
    strategy: str | Strategy | None = None,
    seed: int | None = None,
    objectives: str | Sequence[str] = (),
    start: Source | None = None,
    count: int = 1,
) -> list[dict[str, Any]]:
    """What to try next: `{"trial": number, "architecture": text}`, so many.

    The first time, `space` must be given; later all that is given must be as it was.

    Args:
        folder: of the run; made if need be.
        space: a registered name, or the object of one.
        strategy: a registered strategy, likewise; `surrogate` if not given.
        seed: one seed, and the same answers told in the same order, give the same proposals.
        objectives: keys of the costs to trade against the value, for strategies that take them.
        start: what is proposed before all else (`archscout.search.start`); the first time.
        count: how many, to be evaluated side by side.

    Raises:
        UsageError: a wrong name, another run's folder, a first question without a space.
        ArchscoutError: nothing in the space is left to ask for.
    """
    count = options.whole(count, "the number of proposals", 1, 1000)
    folder = options.path(folder, "the run")
    given = {
        "space": None if space is None else options.name_of(space, "the space", Space),
        "strategy": None if strategy is None else options.name_of(strategy, "the strategy", Strategy),
        "seed": None if seed is None else options.seed(seed),
        "objectives": options.several(objectives, "the objectives") or None,
    }
    given = {key: value for key, value in given.items() if value is not None}
    known = _identity(folder)
    if known is None and space is None:
        raise UsageError(f"there is no run '{folder.name}' to ask: begin one by naming a space (--space).")
    asked = (known or _DEFAULTS) | given
    searched, proposing = _searched(asked)  # an unknown name is told of before anything is written
    if start is not None:
        asked["start"] = [architecture.text for architecture in read_start(start, searched).architectures]
    run_folder(folder.parent, folder.name)
    with run_lock(folder, patience=PATIENCE):
        claim(folder, ASKED, asked, "give another name of a run")
        rows = _read(folder)
        proposals = []
        for _ in range(count):
            proposal = _propose(searched, proposing, int(asked["seed"]), rows, asked.get("start", ()))
            proposals.append({"trial": len(rows), "architecture": proposal.text})
            rows.append({"architecture": proposal.text, "status": "asked"})
        write_json(folder / TRIALS, rows)
    return proposals


def tell(folder: str | Path, answers: Any) -> dict[str, Any]:
    """Take what came of trials; all of it, or nothing where a part of it is wrong.

    Args:
        folder: of a run that has been asked.
        answers: one mapping, or several: `trial` and `value` (higher is better), perhaps `costs` by key; or `trial` and
            `failed`, the reason. With `architecture` in place of `trial`, something that was not asked for: a strategy
            learns from it as from its own.

    Returns how many trials there are, how many of them are under way, and the best.

    Raises `UsageError` for a run that nobody asked, an unknown trial, one that was told before, or no finite value.
    """
    folder = options.path(folder, "the run")
    identity = _identity(folder)
    if identity is None:
        raise UsageError(f"there is no run '{folder.name}' to tell: ask first (archscout ask RUN --space NAME).")
    searched, _ = _searched(identity)
    with run_lock(folder, patience=PATIENCE):
        rows = _read(folder)
        for answer in answers if isinstance(answers, list | tuple) else [answers]:
            _take(rows, answer, searched, folder.name)
        write_json(folder / TRIALS, rows)
    finished = [row for row in rows if row["status"] == "completed"]
    best = max(finished, key=lambda row: row["value"], default=None)
    return {
        "trials": len(rows),
        "completed": len(finished),
        "under_way": sum(row["status"] == "asked" for row in rows),
        "best": best and {"architecture": best["architecture"], "value": best["value"], "costs": best["costs"]},
    }


def parse_answers(text: str) -> Any:
    """The answers in a JSON text. Raises `UsageError`."""
    try:
        return json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f'{options.shown(text)} is not JSON ({error}): write it as \'{{"trial": 0, "value": 0.9}}\'.'
        ) from error


def _identity(folder: Path) -> dict[str, Any] | None:
    if not (folder / RUN).is_file():
        return None
    noted = read_json(folder / RUN, _RESTORE)
    if not isinstance(noted, dict) or noted.get("kind") != ASKED:
        raise UsageError(f"'{folder}' is not {ASKED}: give another name of a run.")
    with well_formed(folder / RUN, _RESTORE):
        identity = dict(noted["identity"])
        return identity | {key: identity[key] for key in ("space", *_DEFAULTS)}


def _searched(identity: Mapping[str, Any]) -> tuple[Space, Strategy]:
    name = options.text(identity["strategy"], "the strategy")
    options.seed(identity["seed"])
    space = create("space", options.text(identity["space"], "the space"))
    return space, create("strategy", name, objectives=tuple(identity["objectives"]))


def _read(folder: Path) -> list[dict[str, Any]]:
    if not (folder / TRIALS).is_file():
        return []
    rows = read_json(folder / TRIALS, _RESTORE)
    if not isinstance(rows, list) or not all(map(_is_trial, rows)):
        raise DataError(f"'{folder / TRIALS}' is damaged (no list of trials): {_RESTORE}")
    return rows


def _is_trial(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("architecture"), str):
        return False
    if row.get("status") == "completed":
        costs = row.get("costs", {})
        numbers = [row.get("value"), *(costs.values() if isinstance(costs, dict) else [None])]
        return all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers)
    return row.get("status") in ("asked", "failed")


def _propose(
    space: Space, strategy: Strategy, seed: int, rows: Sequence[Mapping[str, Any]], start: Sequence[str]
) -> Architecture:
    """The next proposal: one whose network has not been asked for, of the start or else of the strategy's."""
    evaluated, waiting = [], []
    for number, row in enumerate(rows):
        architecture = space.parse(row["architecture"])
        canonical = space.canonical(architecture)
        if row["status"] == "asked":
            waiting.append(Pending(architecture, canonical))
        else:
            evaluated.append(
                Trial(
                    number, architecture, canonical, "told", None, row["status"], row.get("value", math.nan),
                    row.get("costs", {}), reason=row.get("failed", ""),
                )
            )  # fmt: skip
    history = History(evaluated, waiting)
    known = history.seen | {pending.canonical for pending in waiting}
    for architecture in map(space.parse, start):
        if space.canonical(architecture) not in known:
            return architecture
    for attempt in range(TRIES):
        rng = seeds.stream(seed, "propose", strategy.name, len(rows), attempt)
        proposal = space.simplify(strategy.propose(space, history, rng))
        if space.canonical(proposal) not in known:
            return proposal
    raise ArchscoutError(
        f"space '{space.name}' has nothing new to ask for after {len(rows)} trials: tell what is under way, or end."
    )


def _take(rows: list[dict[str, Any]], answer: Any, space: Space, run: str) -> None:
    """Enter one answer. Raises `UsageError`."""
    if not isinstance(answer, Mapping):
        raise UsageError(f'{options.shown(answer)} is no answer: tell {{"trial": 0, "value": 0.9}}, or a list of such.')
    surplus = sorted(map(str, set(answer) - _KEYS))
    if surplus:
        raise UsageError(f"an answer has no '{surplus[0]}': use {', '.join(sorted(_KEYS))}.")
    if ("trial" in answer) == ("architecture" in answer) or ("value" in answer) == ("failed" in answer):
        raise UsageError(
            f"{options.shown(json.dumps(dict(answer), default=str))} does not say which trial came to what: give "
            "'trial' or 'architecture', and 'value' or 'failed'."
        )
    outcome: dict[str, Any] = {"status": "failed"}
    if "failed" in answer:
        outcome["failed"] = options.text(answer["failed"], "the reason of a failure")
    else:
        outcome = {"status": "completed", "value": options.number(answer["value"], "the value of a trial")}
    costs = options.mapping(answer.get("costs"), "the costs of a trial", '{"params": 100000}')
    outcome["costs"] = {str(key): options.number(cost, f"the cost '{key}'") for key, cost in costs.items()}
    if "architecture" in answer:
        text = options.text(answer["architecture"], "an architecture")
        rows.append({"architecture": space.parse(text).text, "by": "outside", **outcome})
        return
    try:
        number = options.whole(answer["trial"], "a trial", 0, len(rows) - 1)
    except UsageError as error:
        there = f"0 to {len(rows) - 1}" if rows else "none"
        given = options.shown(answer["trial"])
        raise UsageError(f"run '{run}' has no trial {given}; its trials are {there}.") from error
    if rows[number]["status"] != "asked":
        raise UsageError(f"trial {number} of run '{run}' has been told before ({rows[number]['status']}).")
    rows[number] |= outcome
