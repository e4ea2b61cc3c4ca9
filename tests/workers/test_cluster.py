"""Jobs as Ray tasks mean the same as jobs in worker processes of our own."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest

from archscout.core.errors import UsageError
from archscout.workers.engines import Engine, JobFailed, TrialTimeout, WorkerDied, engine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # Ray's own
]
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Answer:
    def __init__(self, value: int) -> None:
        self.value = value


def add(payload: dict[str, int], number: int) -> Answer:
    return Answer(payload["base"] + number)


def fail(payload: Any) -> None:
    raise ValueError("the first line\nand more")


def leave(payload: Any) -> None:
    os._exit(7)


def process(payload: Any, seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def threads(payload: Any) -> int:
    import torch

    print("this may not reach standard output")
    return torch.get_num_threads()


@pytest.fixture(scope="module")
def two() -> Iterator[Engine]:
    pytest.importorskip("ray")
    with engine("ray", 2, {"base": 100}) as made:
        yield made


def all_well(engine: Engine) -> None:
    results = [job.result(timeout=60) for job in [engine.submit(add, number) for number in range(10)]]
    assert [(type(result), result.value) for result in results] == [(Answer, 100 + number) for number in range(10)]


def test_jobs_get_the_payload_and_return_classes_of_the_users_own(two: Engine) -> None:
    all_well(two)
    assert two.submit(threads).result() == 1


def test_an_error_is_one_line_with_the_traceback_behind_it(two: Engine) -> None:
    with pytest.raises(JobFailed, match=r"^ValueError: the first line$") as caught:
        two.submit(fail).result(timeout=60)
    assert caught.value.kind == "ValueError"
    assert "and more" in caught.value.traceback


def test_a_process_that_ends_is_a_plain_reason_and_others_go_on(two: Engine) -> None:
    jobs = [two.submit(leave) if number % 4 == 0 else two.submit(add, number) for number in range(8)]
    for number, job in enumerate(jobs):
        if number % 4 == 0:
            with pytest.raises(WorkerDied, match="its worker process ended") as caught:
                job.result(timeout=60)
            assert "\n" not in str(caught.value)
        else:
            assert job.result(timeout=60).value == 100 + number


def test_a_job_that_takes_too_long_is_stopped(two: Engine) -> None:
    with pytest.raises(TrialTimeout, match="took longer than 1 s and was stopped"):
        two.submit(process, 60.0, timeout=1.0).result(timeout=30)
    all_well(two)


def test_waiting_and_running_jobs_can_be_cancelled(two: Engine) -> None:
    jobs = [two.submit(process, 60.0) for _ in range(4)]
    time.sleep(1.0)
    assert all(job.cancel() for job in jobs)
    all_well(two)


def test_a_payload_that_cannot_be_sent_is_said_at_once() -> None:
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match="cannot be sent"):
        engine("ray", 1, threading.Lock())


def test_a_script_needs_no_main_guard_and_keeps_its_output_clean(two: Engine) -> None:
    code = (
        "from archscout.workers.engines import engine\n"
        "class Mine: pass\n"
        "def work(payload, x):\n"
        "    print('this may not reach standard output')\n"
        "    return Mine(), payload + x\n"
        "def die(payload):\n"
        "    import os; os._exit(3)\n"
        "with engine('ray', 1, 10) as workers:\n"
        "    mine, number = workers.submit(work, 5).result()\n"
        "    print(type(mine) is Mine, number)\n"
        "    print(type(workers.submit(die).exception()).__name__)\n"
        "    import time; time.sleep(2)\n"  # for Ray to write about it
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ran.stdout == "True 15\nWorkerDied\n"
    assert "A worker died" in ran.stderr


def test_closing_is_prompt_and_cancels_what_runs() -> None:
    pytest.importorskip("ray")
    made = engine("ray", 1, {"base": 0})
    made.submit(add, 1).result(timeout=60)
    jobs = [made.submit(process, 60.0) for _ in range(3)]
    time.sleep(0.5)
    before = time.perf_counter()
    made.close()
    assert time.perf_counter() - before < 10.0
    assert all(job.cancelled() for job in jobs)
    with pytest.raises(UsageError, match="closed"):
        made.submit(add, 1)
