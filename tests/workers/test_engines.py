"""Engines: what a job may do to itself, and what it may never do to others."""

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, wait
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from archscout.core.errors import DataError, UsageError
from archscout.workers.engines import Engine, InlineEngine, JobFailed, TrialTimeout, WorkerDied, engine
from archscout.workers.local import LocalEngine

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import test modules
needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
PAYLOAD = {"base": 100}


class Answer:
    """A class that no worker can import."""

    def __init__(self, value: int) -> None:
        self.value = value


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


class BreaksOnArrival:
    def __reduce__(self) -> tuple[Any, ...]:
        return (int, ("no number",))


def add(payload: dict[str, int], number: int) -> int:
    return payload["base"] + number


def answer(payload: Any, number: int) -> Answer:
    return Answer(number)


def is_answer(payload: Any, value: Any) -> bool:
    return isinstance(value, Answer)


def fail(payload: Any, error: BaseException) -> None:
    raise error


def leave(payload: Any, code: int) -> None:
    os._exit(code)


def kill_myself(payload: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def process(payload: Any, seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return os.getpid()


def count(payload: dict[str, int]) -> int:
    payload["calls"] = payload.get("calls", 0) + 1
    return payload["calls"]


def size(payload: Any, data: bytes) -> tuple[int, bytes]:
    return len(payload), data[::-1]


def threads(payload: Any) -> tuple[int, str, bool]:
    loaded = "torch" in sys.modules
    import torch

    return torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], loaded


def interrupts(payload: Any) -> Any:
    return signal.getsignal(signal.SIGINT)


def returns_a_lock(payload: Any) -> Any:
    return threading.Lock()


@pytest.fixture(scope="module")
def two() -> Iterator[Engine]:
    """One engine for all tests that leave it as they found it, which is what all tests should."""
    with engine("local", 2, PAYLOAD) as made:
        yield made


@pytest.fixture(params=["inline", "local"])
def any_engine(request: pytest.FixtureRequest, two: Engine) -> Engine:
    return two if request.param == "local" else InlineEngine(PAYLOAD)


def all_well(engine: Engine) -> None:
    jobs = [engine.submit(add, number) for number in range(20)]
    assert [job.result(timeout=30) for job in jobs] == list(range(100, 120))


# --- results and errors -----------------------------------------------------------------------------------------------


def test_a_job_gets_the_payload_and_its_arguments(any_engine: Engine) -> None:
    all_well(any_engine)


def test_classes_of_the_users_own_go_there_and_back(any_engine: Engine) -> None:
    result = any_engine.submit(answer, 3).result()
    assert type(result) is Answer
    assert result.value == 3
    assert any_engine.submit(is_answer, Answer(1)).result()
    assert any_engine.submit(lambda payload, x: x * 2, 4).result() == 8


def test_an_error_is_one_line_with_the_traceback_behind_it(any_engine: Engine) -> None:
    job = any_engine.submit(fail, ValueError("the first line\nand more"))
    with pytest.raises(JobFailed) as caught:
        job.result()
    assert str(caught.value) == "ValueError: the first line"
    assert caught.value.kind == "ValueError"
    assert "raise error" in caught.value.traceback
    assert "and more" in caught.value.traceback
    assert caught.value.__cause__ is not None
    all_well(any_engine)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DataError("row 3 of x.npz is empty."), "row 3 of x.npz is empty."),
        (ValueError(), "ValueError"),
        (ValueError("\n \n  here\n"), "ValueError: here"),
        (ValueError("x" * 1000), "ValueError: " + "x" * 288 + " ..."),
        (MemoryError(), "MemoryError"),
        (SystemExit(3), "SystemExit: 3"),
        (UnreadableError(), "UnreadableError: (its message cannot be shown: RuntimeError)"),
    ],
)
def test_the_reason_of_every_error(any_engine: Engine, error: BaseException, reason: str) -> None:
    with pytest.raises(JobFailed) as caught:
        any_engine.submit(fail, error).result()
    assert str(caught.value) == reason


def test_the_remote_traceback_is_shown_with_the_error(two: Engine) -> None:
    with pytest.raises(JobFailed) as caught:
        two.submit(fail, KeyError("width")).result()
    assert "raise error" in str(caught.value.__cause__)


def test_an_interrupt_inside_a_job_is_only_that_jobs_failure(two: Engine) -> None:
    with pytest.raises(JobFailed, match="KeyboardInterrupt"):
        two.submit(fail, KeyboardInterrupt()).result()
    all_well(two)


def test_more_processes_than_the_machine_has_use_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archscout.workers.engines.usable_cores", lambda: 2)
    with pytest.raises(UsageError, match=r"1,000 worker processes .* on 2 cores: give at most 64"):
        engine("local", 1000, None)


def test_what_cannot_be_sent_is_said_at_once(two: Engine) -> None:
    with pytest.raises(UsageError, match="a job cannot be sent to a worker process: TypeError"):
        two.submit(add, threading.Lock())
    with pytest.raises(UsageError, match="what all jobs share cannot be sent"):
        engine("local", 1, threading.Lock())
    with pytest.raises(JobFailed, match="TypeError: cannot pickle"):
        two.submit(returns_a_lock).result()
    with pytest.raises(JobFailed, match="invalid literal for int"):
        two.submit(add, BreaksOnArrival()).result()
    all_well(two)


def test_a_payload_that_cannot_be_unpacked_fails_every_job() -> None:
    with engine("local", 2, BreaksOnArrival()) as broken:
        jobs = [broken.submit(add, 1) for _ in range(5)]
        for job in [*jobs, broken.submit(add, 1)]:
            with pytest.raises(JobFailed, match="ValueError: invalid literal for int"):
                job.result(timeout=30)


def test_the_payload_is_sent_once_and_is_each_workers_own() -> None:
    payload = {"calls": 0}
    with engine("local", 1, payload) as one:
        assert [one.submit(count).result() for _ in range(3)] == [1, 2, 3]
    assert payload == {"calls": 0}


def test_large_payloads_jobs_and_results() -> None:
    with engine("local", 2, bytes(30_000_000)) as made:
        data = os.urandom(10_000_000)
        jobs = [made.submit(size, data) for _ in range(4)]
        assert all(job.result(timeout=60) == (30_000_000, data[::-1]) for job in jobs)


# --- deaths and delays ------------------------------------------------------------------------------------------------


def test_a_process_that_ends_is_a_plain_reason_and_others_go_on(two: Engine) -> None:
    jobs = [two.submit(leave, 7) if number % 5 == 0 else two.submit(add, number) for number in range(20)]
    for number, job in enumerate(jobs):
        if number % 5 == 0:
            with pytest.raises(WorkerDied, match=r"^its worker process ended: exit code 7\.$"):
                job.result(timeout=30)
        else:
            assert job.result(timeout=30) == 100 + number


@needs_kill
def test_a_killed_process_says_what_that_mostly_means(two: Engine) -> None:
    with pytest.raises(WorkerDied, match="killed by SIGKILL, most often for want of memory"):
        two.submit(kill_myself).result(timeout=30)
    all_well(two)


@needs_kill
def test_idle_workers_may_be_killed_and_no_job_is_lost(two: Engine) -> None:
    for _ in range(2):
        for pid in {job.result(timeout=30) for job in [two.submit(process, 0.05) for _ in range(4)]}:
            os.kill(pid, signal.SIGKILL)
        all_well(two)


def test_a_new_worker_costs_little(two: Engine) -> None:
    """Torch is loaded in it already: it was forked."""
    before = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    importing, before = time.perf_counter() - before, time.perf_counter()
    for _ in range(4):
        with pytest.raises(WorkerDied):
            two.submit(leave, 1).result(timeout=30)
    assert two.submit(threads).result(timeout=30)[2]
    assert time.perf_counter() - before < 4 * importing, "a restart takes less than importing torch"


def test_a_job_that_takes_too_long_is_stopped(two: Engine) -> None:
    before = time.perf_counter()
    slow = two.submit(process, 60.0, timeout=0.3)
    quick = two.submit(process, 0.1, timeout=30.0)
    with pytest.raises(TrialTimeout, match=r"^took longer than 0\.3 s and was stopped\.$"):
        slow.result(timeout=30)
    assert time.perf_counter() - before < 10.0
    assert quick.result(timeout=30) != os.getpid()
    all_well(two)


def test_the_time_of_a_job_is_not_the_time_it_waits() -> None:
    with engine("local", 1, PAYLOAD) as one:  # its worker has not even started
        jobs = [one.submit(process, 0.3, timeout=1.0) for _ in range(5)]
        assert len({job.result(timeout=30) for job in jobs}) == 1


def test_no_job_is_lost_whatever_happens() -> None:
    with engine("local", 3, PAYLOAD) as made:
        kinds = ["add", "add", "leave", "add", "fail", "add", "late", "add", "kill" if os.name == "posix" else "leave"]
        jobs = []
        for number in range(36):
            kind = kinds[(number * 7) % len(kinds)]
            job = {
                "add": lambda: made.submit(add, number),  # noqa: B023 - called at once
                "leave": lambda: made.submit(leave, 2),
                "fail": lambda: made.submit(fail, ValueError("no")),
                "late": lambda: made.submit(process, 30.0, timeout=0.01),
                "kill": lambda: made.submit(kill_myself),
            }[kind]()
            jobs.append((kind, number, job))
        expected = {"leave": WorkerDied, "kill": WorkerDied, "fail": JobFailed, "late": TrialTimeout}
        for kind, number, job in jobs:
            error = job.exception(timeout=60)
            if kind == "add":
                assert (error, job.result()) == (None, 100 + number)
            else:
                assert type(error) is expected[kind]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork server")
def test_even_the_fork_server_may_be_killed(two: Engine) -> None:
    from archscout.workers.forked import _server

    os.kill(_server._forkserver_pid, signal.SIGKILL)  # type: ignore[attr-defined]
    # Its workers end with it, within two seconds: a job that one of them has begun by then is lost with it.
    time.sleep(3.0)
    all_well(two)


def test_many_workers_start_only_where_jobs_wait_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archscout.workers.local.usable_cores", lambda: 1)
    with engine("local", 64, {"base": 1}) as many:
        assert many.submit(add, 1).result() == 2
        assert len(many._crew) == 1
        wait([many.submit(process, 0.3) for _ in range(3)])
        assert len(many._crew) == 3


def test_workers_that_never_start_do_not_keep_anyone_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archscout.workers.local.serve", os._exit)
    with (
        engine("local", 2, PAYLOAD) as made,
        pytest.raises(WorkerDied, match=r"worker processes end before they begin \(exit code 1\): "),
    ):
        made.submit(add, 1).result(timeout=30)


@pytest.mark.slow
def test_where_nothing_can_be_forked_processes_start_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    with engine("local", 1, PAYLOAD) as made:
        all_well(made)
        with pytest.raises(WorkerDied):
            made.submit(leave, 1).result()
        all_well(made)
        assert made.submit(threads).result()[:2] == (1, "1")


# --- cancelling and closing -------------------------------------------------------------------------------------------


def test_waiting_and_running_jobs_can_be_cancelled(two: Engine) -> None:
    running = [two.submit(process, 60.0) for _ in range(2)]
    waiting = two.submit(process, 60.0)
    time.sleep(0.3)
    before = time.perf_counter()
    assert waiting.cancel()
    assert running[0].cancel()
    assert running[1].cancel()
    assert wait([waiting, *running], timeout=10).not_done == set()
    with pytest.raises(CancelledError):
        running[0].result()
    all_well(two)
    assert time.perf_counter() - before < 10.0
    ended = two.submit(add, 1)
    ended.result()
    assert not ended.cancel()


def test_closing_is_prompt_and_cancels_what_runs() -> None:
    made = engine("local", 2, PAYLOAD)
    pids = {job.result() for job in [made.submit(process, 0.2) for _ in range(4)]}
    jobs = [made.submit(process, 60.0) for _ in range(10)]
    time.sleep(0.2)
    before = time.perf_counter()
    made.close()
    assert time.perf_counter() - before < 2.0
    assert all(job.cancelled() for job in jobs)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    made.close()
    with pytest.raises(UsageError, match="closed"):
        made.submit(add, 1)


def test_an_engine_may_be_closed_before_it_has_begun() -> None:
    before = time.perf_counter()
    with engine("local", 2, PAYLOAD) as made:
        job = made.submit(add, 1)
    assert job.cancelled() or job.result() == 101
    assert time.perf_counter() - before < 5.0


def test_a_callback_may_submit_and_close() -> None:
    made = engine("local", 1, PAYLOAD)
    more: list[Any] = []
    made.submit(add, 1).add_done_callback(lambda done: more.append(made.submit(add, done.result())))
    while not more:
        time.sleep(0.01)
    assert more[0].result(timeout=30) == 201
    done = threading.Event()

    def close(_: object) -> None:
        made.close()
        done.set()

    made.submit(add, 1).add_done_callback(close)
    assert done.wait(timeout=30)


# --- manners ----------------------------------------------------------------------------------------------------------


def test_a_worker_has_one_thread_and_leaves_ctrl_c_to_its_parent(two: Engine) -> None:
    assert two.submit(threads).result()[:2] == (1, "1")
    assert two.submit(interrupts).result() == signal.SIG_IGN
    with engine("local", 1, PAYLOAD, threads=2) as made:
        assert made.submit(threads).result()[:2] == (2, "2")


def test_no_workers_means_this_process() -> None:
    with engine("local", 0, PAYLOAD) as inline:
        assert inline.workers == 0
        assert inline.submit(process).result() == os.getpid()
        with pytest.raises(KeyboardInterrupt):
            inline.submit(fail, KeyboardInterrupt())


def test_wrong_engines_are_refused() -> None:
    with pytest.raises(UsageError, match="no engine 'lokal': did you mean 'local'"):
        engine("lokal", 1, None)
    for workers, thread_count in ((-1, 1), (1, 0)):
        with pytest.raises(UsageError, match="cannot run"):
            engine("local", workers, None, threads=thread_count)
    with pytest.raises(UsageError, match="0 workers"):
        LocalEngine(0, None)


def test_ray_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"archscout\[ray\]"):
        engine("ray", 1, None)


def die_the_first_time(payload: object, mark: str) -> str:
    file = Path(mark)
    if not file.exists():
        file.write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def count_and_die(payload: object, mark: str) -> None:
    with Path(mark).open("a") as stream:
        stream.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_job_whose_worker_was_killed_is_tried_once_again(two: Engine, tmp_path: Path) -> None:
    assert two.submit(die_the_first_time, str(tmp_path / "mark")).result() == "done"
    with pytest.raises(WorkerDied):
        two.submit(count_and_die, str(tmp_path / "count")).result()
    assert (tmp_path / "count").read_text() == "xx"
    all_well(two)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library is asked to keep its heap")
def test_workers_keep_their_heap_and_leave_the_environment_of_this_process_alone(monkeypatch):
    from archscout.workers.forked import heap_kept

    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    with heap_kept():
        held = os.environ["GLIBC_TUNABLES"]
    assert "glibc.malloc.trim_threshold=4294967296" in held.split(":")
    assert "GLIBC_TUNABLES" not in os.environ
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
    with heap_kept():
        assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.arena_max=1", "the user's word counts"
