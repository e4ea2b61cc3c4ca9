"""What every store promises, as tests."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import cloudpickle
import hypothesis.strategies as st
import pytest

from archscout.core.cost import Measurement
from archscout.core.errors import ArchscoutError, UsageError
from archscout.store.store import Store, StoredTrial
from archscout.testing.check import for_all

BATCH = 7
"""Trials that the writing processes below commit together."""

_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
_whole = st.integers(-(2**63), 2**63 - 1)
_floats = st.floats().map(lambda x: x + 0.0)  # no promise is made of the sign of zero
_rows = st.dictionaries(_text, st.floats() | st.integers(), max_size=4)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


def stored_trials() -> st.SearchStrategy[StoredTrial]:
    """A Hypothesis strategy: any trial that a store must keep, the odd ones first of all."""
    return st.builds(
        StoredTrial,
        key=_text,
        number=_whole,
        architecture=_text,
        canonical=_text,
        estimator=_text,
        fidelity=st.none() | _whole,
        status=st.sampled_from(["completed", "failed", "rejected"]),
        value=_floats,
        costs=_rows,
        seconds=_floats,
        std=st.none() | st.floats(),
        curve=st.lists(_rows, max_size=3).map(tuple),
        phase=_text,
        reason=_text,
        seed=_whole,
        extra=st.dictionaries(st.text(max_size=10), _json, max_size=3),
    )


def plain_trial(number: int, **fields: Any) -> StoredTrial:
    """A trial of which only the number matters."""
    trial = StoredTrial(f"key {number}", number, f"a{number}", f"c{number}", "trained", 1, "completed", number / 8)
    return replace(trial, **fields)


class StoreConformance:
    """The contract of a `Store`. Inherit it; by default it is our own store in a new file.

    >>> class TestMine(StoreConformance):                 # doctest: +SKIP
    ...     def open(self, place): return MyStore(place)
    """

    examples = 25
    """Batches of trials that the test of the round trip writes."""

    kills = 3
    """How often a writing process is killed."""

    def place(self, folder: Path) -> str | Path:
        """Where a store may be made that does not exist yet; asked once a test."""
        return folder / "search.sqlite"

    def open(self, place: str | Path) -> Store:
        """The store at a place, made if it is not there."""
        return Store.open(place)

    @pytest.fixture
    def at(self, tmp_path: Path) -> str | Path:
        """The place of this test."""
        return self.place(tmp_path)

    @pytest.fixture
    def store(self, at: str | Path) -> Iterator[Store]:
        """A new store with the run `first`."""
        with self.open(at) as store:
            store.begin("first", {"seed": 0})
            yield store

    # -- runs -----------------------------------------------------------------------------------------------------

    def test_a_new_store_is_empty(self, at: str | Path) -> None:
        with self.open(at) as store:
            assert store.runs() == []

    def test_the_first_configuration_of_a_run_stays(self, store: Store) -> None:
        assert store.begin("second", {"budget": math.inf, "space": "x"}) == {"budget": math.inf, "space": "x"}
        assert store.begin("first", {"seed": 1}) == {"seed": 0}
        assert store.config("first") == {"seed": 0}
        assert store.runs() == ["first", "second"]

    def test_an_unknown_run_is_named(self, store: Store) -> None:
        calls: list[Callable[[], Any]] = [
            lambda: store.config("frist"),
            lambda: store.add("frist", [plain_trial(0)]),
            lambda: store.trials("frist"),
            lambda: store.count("frist"),
            lambda: store.decide("frist", "k", 1),
            lambda: store.decisions("frist"),
            lambda: store.add_costs("frist", "c", {"params": Measurement(1.0)}),
            lambda: store.costs("frist"),
            lambda: store.note("frist", "k", 1),
            lambda: store.notes("frist"),
            lambda: store.spend("frist", "p", 1.0),
            lambda: store.spent("frist"),
            lambda: store.delete("frist"),
            lambda: store.configure("frist", {}),
            lambda: store.rename("frist", "second"),
        ]
        for call in calls:
            with pytest.raises(UsageError, match=r"frist.*did you mean 'first'"):
                call()

    def test_deleting_a_run_takes_all_of_it_and_nothing_else(self, store: Store) -> None:
        for run in ("first", "other"):
            store.begin(run, {})
            store.add(run, [plain_trial(0), plain_trial(1)])
            store.add_costs(run, "c", {"params": Measurement(1.0)})
            store.decide(run, "k", run)
            store.note(run, "k", run)
            store.spend(run, "p", 1.0)
        store.delete("first")
        assert store.runs() == ["other"]
        assert (store.count("other"), store.decisions("other"), store.spent("other")) == (2, {"k": "other"}, {"p": 1.0})
        assert (store.notes("other"), len(store.costs("other"))) == ({"k": "other"}, 1)
        store.begin("first", {"again": True})
        assert (store.config("first"), store.trials("first"), store.costs("first")) == ({"again": True}, [], {})
        assert (store.decisions("first"), store.notes("first"), store.spent("first")) == ({}, {}, {})

    def test_a_run_is_renamed_with_all_that_belongs_to_it(self, store: Store) -> None:
        store.add("first", [plain_trial(0)])
        store.begin("other", {})
        with pytest.raises(UsageError, match="has a run 'other' already"):
            store.rename("first", "other")
        store.rename("first", "second")
        assert store.runs() == ["second", "other"]
        assert (store.config("second"), store.count("second")) == ({"seed": 0}, 1)
        assert store.begin("first", {"seed": 1}) == {"seed": 1}

    def test_a_run_goes_on_under_another_configuration_without_some_decisions(self, store: Store) -> None:
        store.add("first", [plain_trial(0)])
        for key in ("epochs", "feasibility", "stage"):
            store.decide("first", key, 1)
        store.configure("first", {"seed": 0, "budget": 2}, forget=("epochs", "stage", "never made"))
        assert store.begin("first", {}) == {"seed": 0, "budget": 2}
        assert (store.decisions("first"), store.count("first")) == ({"feasibility": 1}, 1)
        assert store.decide("first", "epochs", 2) == 2

    # -- trials ---------------------------------------------------------------------------------------------------

    def test_trials_come_back_as_they_were(self, store: Store) -> None:
        runs = iter(range(10**6))

        @for_all(self.examples, st.lists(stored_trials(), max_size=5, unique_by=lambda trial: trial.key))
        def check(trials: list[StoredTrial]) -> None:
            run = f"run {next(runs)}"
            store.begin(run, {})
            store.add(run, trials)
            expected = sorted(trials, key=lambda trial: trial.number)
            assert repr(store.trials(run)) == repr(expected)  # in a repr, a NaN is itself
            assert store.count(run) == len(trials)

    def test_a_reason_may_quote_anything(self, store: Store) -> None:
        store.add("first", [plain_trial(0, reason="bytes \udcff and \0 and \U0001f600")])
        assert store.trials("first")[0].reason == "bytes \\udcff and \\x00 and \U0001f600"

    def test_trials_come_in_the_order_of_their_numbers(self, store: Store) -> None:
        for number in (5, 1, 3, 0, 4, 2):
            store.add("first", [plain_trial(number)])
        assert [trial.number for trial in store.trials("first")] == [0, 1, 2, 3, 4, 5]

    def test_trials_are_counted_by_status(self, store: Store) -> None:
        store.add("first", [plain_trial(0), plain_trial(1, status="failed"), plain_trial(2, status="failed")])
        store.begin("other", {})
        assert [store.count("first", status) for status in ("completed", "failed", "rejected")] == [1, 2, 0]
        assert (store.count("first"), store.count("other")) == (3, 0)

    def test_a_key_is_stored_once_in_a_run(self, store: Store) -> None:
        store.begin("other", {})
        store.add("first", [plain_trial(0)])
        store.add("other", [plain_trial(0)])
        with pytest.raises(ArchscoutError, match="key 0"):
            store.add("first", [plain_trial(1), plain_trial(0), plain_trial(2)])
        with pytest.raises(ArchscoutError, match="key 3"):
            store.add("first", [plain_trial(3), plain_trial(3)])
        assert [trial.number for trial in store.trials("first")] == [0], "a batch is kept as a whole or not at all"

    def test_what_cannot_be_stored_stops_the_whole_batch(self, store: Store) -> None:
        with pytest.raises(UsageError, match="object"):
            store.add("first", [plain_trial(0), plain_trial(1, extra={"thing": object()})])
        with pytest.raises(ArchscoutError):
            store.add("first", [plain_trial(0), plain_trial(1, seed=2**70)])
        assert store.trials("first") == []

    # -- costs, decisions, notes, seconds -------------------------------------------------------------------------

    def test_the_first_measurement_stays(self, store: Store) -> None:
        store.add_costs("first", "c", {"latency_ms": Measurement(2.0, 0.1, {"p95": 3.0}), "params": Measurement(10)})
        store.add_costs("first", "c", {"latency_ms": Measurement(9.0), "macs": Measurement(math.nan, math.inf)})
        store.add_costs("first", "d", {})
        kept = {key: Measurement(**arguments) for key, arguments in store.costs("first").pop("c").items()}
        assert kept["latency_ms"] == Measurement(2.0, 0.1, {"p95": 3.0})
        assert kept["params"] == Measurement(10)
        assert math.isnan(kept["macs"].value)
        assert kept["macs"].spread == math.inf
        assert store.costs("first").keys() == {"c"}

    def test_decisions_are_made_once_and_notes_are_replaced(self, store: Store) -> None:
        @for_all(self.examples, _text, _json)
        def check(key: str, value: Any) -> None:
            known = store.decisions("first")
            expected = known.get(key, value)
            assert repr(store.decide("first", key, value)) == repr(expected)
            assert repr(sorted(store.decisions("first").items())) == repr(sorted({**known, key: expected}.items()))
            store.note("first", key, value)
            assert repr(store.notes("first")[key]) == repr(value)

    def test_seconds_add_up(self, at: str | Path) -> None:
        for _ in range(3):
            with self.open(at) as store:
                store.begin("first", {})
                store.spend("first", "training", 1.25)
                store.spend("first", "scoring", 0.5)
        with self.open(at) as store:
            assert store.spent("first") == {"training": 3.75, "scoring": 1.5}

    # -- processes ------------------------------------------------------------------------------------------------

    def test_a_store_is_found_again(self, at: str | Path) -> None:
        with self.open(at) as store:
            store.begin("first", {"seed": 3})
            store.add("first", [plain_trial(0)])
        store.close()
        with self.open(at) as again:
            assert (again.config("first"), again.trials("first")) == ({"seed": 3}, [plain_trial(0)])

    @pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
    def test_a_killed_writer_leaves_exactly_what_it_committed(self, at: str | Path) -> None:
        for kill in range(self.kills):
            with self._process(_write_for_ever, at, f"run {kill}") as (writer, said):
                committed = 0
                while committed < 20 + 13 * kill:
                    committed = int(said.readline())
                time.sleep(0.003 * kill)  # somewhere else in the next batch each time
                writer.kill()
                committed = max([committed, *map(int, said.read().split())])
            with self.open(at) as store:
                numbers = [trial.number for trial in store.trials(f"run {kill}")]
                assert numbers == list(range(len(numbers)))
                assert len(numbers) % BATCH == 0, "half a batch was kept"
                assert 0 <= len(numbers) // BATCH - committed <= 1, "a committed batch was lost"
                store.add(f"run {kill}", [plain_trial(len(numbers))])

    def test_two_read_while_one_writes(self, at: str | Path) -> None:
        self.open(at).close()
        with (
            self._process(_write_for_ever, at, "run", 0.005) as (writer, said),
            self._process(_watch, at, "run", 25) as (first, first_said),
            self._process(_watch, at, "run", 25) as (second, second_said),
        ):
            counts = [[int(word) for word in one.read().split()] for one in (first_said, second_said)]
            assert writer.poll() is None, "the writer stopped"
            assert int(said.readline()) == 1
            assert (first.wait(), second.wait()) == (0, 0)
            writer.kill()
        for seen in counts:
            assert len(seen) == 25
            assert seen == sorted(seen), "a committed trial disappeared"
            assert seen[-1] > seen[0], "the reader saw nothing new"
            assert all(count % BATCH == 0 for count in seen), "the reader saw half a batch"

    def test_several_write_at_once(self, at: str | Path) -> None:
        with (
            self._process(_write_and_decide, at, "run 0", 60) as (first, first_said),
            self._process(_write_and_decide, at, "run 1", 60) as (second, second_said),
        ):
            decided = [one.read().split() for one in (first_said, second_said)]
            assert (first.wait(), second.wait()) == (0, 0)
        assert decided[0] == decided[1], "two processes were told different decisions"
        assert len(decided[0]) == 60
        with self.open(at) as store:
            assert [store.count("run 0"), store.count("run 1")] == [60, 60]
            assert store.spent("shared") == {"phase": 120.0}

    @contextmanager
    def _process(
        self, function: Callable[..., None], *args: Any
    ) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
        """A process that runs `function(open, *args)`, and what it prints; it is stopped at the end."""
        module = sys.modules[type(self).__module__]
        cloudpickle.register_pickle_by_value(module)  # test modules cannot be imported elsewhere
        try:
            message = cloudpickle.dumps((function, self.open, args))
        finally:
            cloudpickle.unregister_pickle_by_value(module)
        code = "import sys, cloudpickle; run, open, args = cloudpickle.load(sys.stdin.buffer); run(open, *args)"
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(message)
                process.stdin.close()
                yield process, process.stdout
            finally:
                process.kill()


def _write_for_ever(open_: Callable[[Any], Store], place: str | Path, run: str, pause: float = 0.0) -> None:
    with open_(place) as store:
        store.begin(run, {})
        for batch in range(10**6):
            store.add(run, [plain_trial(batch * BATCH + i) for i in range(BATCH)])
            sys.stdout.write(f"{batch + 1}\n")
            sys.stdout.flush()
            time.sleep(pause)


def _watch(open_: Callable[[Any], Store], place: str | Path, run: str, looks: int) -> None:
    with open_(place) as store:
        while run not in store.runs():
            time.sleep(0.01)
        for _ in range(looks):
            count, trials = store.count(run), store.trials(run)
            assert [trial.number for trial in trials] == list(range(len(trials)))
            assert len(trials) >= count
            sys.stdout.write(f"{len(trials)}\n")
            time.sleep(0.01)


def _write_and_decide(open_: Callable[[Any], Store], place: str | Path, run: str, times: int) -> None:
    with open_(place) as store:
        store.begin(run, {})
        store.begin("shared", {})
        for number in range(times):
            store.add(run, [plain_trial(number)])
            store.spend("shared", "phase", 1.0)
            decided = store.decide("shared", f"decision {number}", run)
            sys.stdout.write(decided.replace(" ", "-") + "\n")
