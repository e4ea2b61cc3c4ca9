"""Whether a run that is there already is gone on with: the same one is, another one is refused in a sentence.

A run's folder says in `run.json` what it is the run of, from before the first second is spent; what a search was asked
lies with its trials, in the store. So `train` and `search`, or searches that keep their trials in different stores,
never overwrite each other's results.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from archscout.core.budget import Budget
from archscout.core.errors import ArchscoutError, UsageError
from archscout.core.files import write_json
from archscout.core.identity import differences, sentence, set_aside
from archscout.core.progress import Progress
from archscout.search.run import CALIBRATION
from archscout.store.lease import run_lease
from archscout.store.lock import run_lock
from archscout.store.store import Store

RUN = "run.json"
STORE = "search.sqlite"
"""The store in a run's folder, where no other is named."""

SEARCH, SINGLE, SIMULATION = "a search", "the training of one architecture", "a search of a table"

_ANOTHER = "give another --name, or --fresh to set it aside"
_MADE_WITH = ("space", "space_parts", "task", "data", "seed", "recipe")
"""What evaluations depend on: with another of these, nothing that was paid for is of use."""

_REFUSED = "refused"
_KEPT = ("feasibility", "indicators")
"""Decisions, by the beginning of their keys, that were measured and hang on no budget."""


def claim(folder: Path, kind: str, identity: Mapping[str, Any], advice: str = _ANOTHER) -> bool:
    """Take a folder, which is locked, for a run; whether it has been this run's before.

    Raises `UsageError` where it is that of another run, with the advice.
    """
    note = folder / RUN
    if note.is_file():
        before = _read(note)
        if before["kind"] != kind:
            raise UsageError(f"'{folder}' is the run of {before['kind']}, not of {kind}: {advice}.")
        differing = differences(before["identity"], identity)
        if differing:
            raise UsageError(f"run '{folder.name}' was started with {sentence(differing)}: {advice}.")
        return True
    if kind != SEARCH and (folder / STORE).is_file():
        raise UsageError(f"'{folder}' is the run of {SEARCH}, not of {kind}: {advice}.")
    if (folder / "metrics.json").is_file() and not (folder / STORE).is_file():
        raise UsageError(f"'{folder}' has a result in it that does not say what it is of: {advice}.")
    write_json(note, {"kind": kind, "identity": dict(identity)})
    return False


@contextmanager
def claimed(folder: Path, kind: str, identity: Mapping[str, Any]) -> Iterator[bool]:
    """Lock a folder and `claim` it while the block runs; it is free again where the block fails without a result."""
    with run_lock(folder):
        there = claim(folder, kind, identity)
        try:
            yield there
        except ArchscoutError:
            if not (folder / "metrics.json").is_file():
                (folder / RUN).unlink(missing_ok=True)
            raise


def go_on(store: Store, name: str, config: Mapping[str, Any], watch: Progress) -> None:
    """Begin a search in a store, or see that the one that is there may go on as it is asked now.

    A larger budget goes on from what was paid for. So does one that ended without a result, whatever of it is corrected
    but what evaluations depend on. Raises `UsageError` for anything else.
    """
    stored = store.begin(name, config)
    changed = {key for key in {*stored, *config} if stored.get(key) != config.get(key)}
    notes = store.notes(name)
    if changed and not _may_change(store, name, stored, config, changed, notes):
        old, new = str(stored.get("budget")), str(config.get("budget"))
        if changed == {"budget"}:
            raise UsageError(
                f"run '{name}' has had a budget of {old}, and {new} is no more than that: give more to go on with it, "
                f"or {_ANOTHER.removeprefix('give ')}."
            )
        differing = differences({**stored, "budget": new if grows(old, new) else old}, config)
        raise UsageError(
            f"run '{name}' was started with {sentence(differing)}: repeat its own command to go on with it, {_ANOTHER}."
        )
    if changed & set(_MADE_WITH):
        store.clear(name)
    if changed:
        measured = _KEPT if stored.get("maximum") == config.get("maximum") else _KEPT[1:]
        store.configure(name, config, [key for key in store.decisions(name) if not key.startswith(measured)])
        store.note(name, "finished", False)
        if store.count(name):
            watch.say(f"run '{name}' goes on from {store.count(name)} evaluations that were paid for.")
    if notes.get(_REFUSED):
        store.note(name, _REFUSED, False)


@contextmanager
def refusals_noted(store: Store, name: str) -> Iterator[None]:
    """Remember of a search that ends without a result that it did, so that what was wrong may be corrected."""
    try:
        yield
    except ArchscoutError:
        with suppress(ArchscoutError):
            store.note(name, _REFUSED, True)
        raise


def start_afresh(folder: Path, name: str, store: str | Path | None, watch: Progress) -> None:
    """Set the run of this name aside, if there is one: its folder, and what the store has of it, get another name."""
    with ExitStack() as stack:
        place = folder / STORE if store is None else store
        opened = None
        if store is not None or (folder / STORE).is_file():
            opened = stack.enter_context(Store.open(place))
        known = [] if opened is None else opened.runs()
        if name not in known and not any(not path.name.startswith(".") for path in folder.glob("*")):
            return
        stack.enter_context(run_lock(folder))
        aside = set_aside(folder, taken=known)
        (aside / ".lock-holder").unlink(missing_ok=True)
        if opened is not None and name in known:
            with run_lease(opened, name):
                opened.rename(name, aside.name)
    watch.say(f"what was run '{name}' is run '{aside.name}' now.")


def _may_change(
    store: Store,
    name: str,
    stored: Mapping[str, Any],
    config: Mapping[str, Any],
    changed: set[str],
    notes: Mapping[str, Any],
) -> bool:
    if changed == {"budget"} and grows(str(stored["budget"]), str(config["budget"])):
        return True
    if notes.get("finished"):
        return False
    # Timing alone is no loss, and may have told that data or space are too large.
    if all(trial.phase == CALIBRATION for trial in store.trials(name)):
        return bool(notes.get(_REFUSED)) or not store.costs(name)
    return bool(notes.get(_REFUSED)) and not changed & set(_MADE_WITH)


def grows(old: str, new: str) -> bool:
    """Whether one budget, as it is written, holds another and more."""
    try:
        before, now = Budget.parse(old), Budget.parse(new)
    except UsageError:
        return False
    return now.seconds >= before.seconds and now.trials >= before.trials


def _read(note: Path) -> dict[str, Any]:
    try:
        written = json.loads(note.read_text(encoding="utf-8"))
        return {"kind": str(written["kind"]), "identity": dict(written["identity"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"'{note}' is damaged, which says what the run is of: {_ANOTHER}.") from error
