"""Worker processes of this machine.

One thread hands out the jobs: each worker has a pipe of its own and at most one job, so that a worker that is killed,
whenever it is killed, takes nothing with it but that job. There is no lock or semaphore between processes that a
killed worker could leave locked or leaked, which is why this is not one of the ready-made pools.

On Linux and macOS workers are forked from a small server process that has torch loaded and no threads, so that a new
worker takes milliseconds; on Windows they are started afresh.
"""

from __future__ import annotations

import atexit
import math
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Pipe, wait
from typing import Any

from archscout.core.cores import usable_cores
from archscout.core.errors import UsageError
from archscout.workers.engine import DEATHS, Engine, Job, JobFailed, TrialTimeout, WorkerDied, job_failed, packed
from archscout.workers.launch import Starter, main_hidden, starter
from archscout.workers.names import with_names
from archscout.workers.signals import deaf
from archscout.workers.worker import READY, STARTED, Failure, serve

_TRIES = 3
"""How often a job is handed out, and a worker started, when workers end before they begin."""

_CLOSING_SECONDS = 1.0
_FOR_MAIN = (signal.SIGINT, signal.SIGTERM)


class _Worker:
    """A process, our end of its pipe, and the job it has."""

    def __init__(self, make: Starter, index: int, payload: bytes, threads: int, device: str) -> None:
        self.index = index
        self.pipe, theirs = Pipe()
        self.ready = False
        self.job: Job | None = None
        self.started = False
        self.deadline = math.inf
        arguments = (theirs, payload, index, threads, device)
        self.process = make(target=serve, args=arguments, name=f"archscout-worker-{index}")
        try:
            with main_hidden(), deaf(*_FOR_MAIN):
                self.process.start()
        except BaseException:
            self.pipe.close()
            raise
        finally:
            theirs.close()

    def give(self, job: Job) -> bool:
        """Hand a job over; false if the process is gone."""
        try:
            self.pipe.send_bytes(job.message)
        except OSError:
            return False
        self.job, self.started = job, False
        return True

    def stop(self) -> int | None:
        """End the process at once; returns its exit code."""
        self.process.kill()
        self.process.join(_CLOSING_SECONDS)
        code = self.process.exitcode
        self.pipe.close()
        if code is not None:
            self.process.close()
        return code


class LocalEngine(Engine):
    """Worker processes of this machine.

    Args:
        workers: how many; each has at most one job at a time.
        payload: the first argument of every job; sent once to each worker.
        threads: how many threads torch may use in each.
        device: with "cuda", the workers share out the GPUs.
    """

    def __init__(self, workers: int, payload: Any, threads: int = 1, device: str = "cpu") -> None:
        if workers < 1:
            raise UsageError(f"{workers} workers cannot run a job: give at least 1.")
        self.workers = workers
        self._settings = (packed(with_names(payload), "what all jobs share"), threads, device)
        self._process = starter()
        self._crew: list[_Worker] = []
        self._queue: deque[Job] = deque()
        self._broken: Failure | None = None
        self._failed_starts = 0
        self._closed = False
        self._lock = threading.RLock()  # guards the queue against `close`, and the bell
        self._bell, self._ear = Pipe()
        self._rung = False
        self._thread = threading.Thread(target=self._run, name="archscout-engine", daemon=True)
        atexit.register(self.close)  # is called before multiprocessing's own, which would wait for the workers
        with deaf(*_FOR_MAIN):
            self._thread.start()

    def submit(self, function: Callable[..., Any], *args: Any, timeout: float | None = None) -> Future[Any]:
        job = Job(packed((function, args), "a job"), timeout, self._wake)
        with self._lock:
            if self._closed:
                raise UsageError("the engine is closed: submit jobs before leaving its context.")
            self._queue.append(job)
        self._wake()
        return job

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self.close)
        self._wake()
        if self._thread.ident not in (None, threading.get_ident()):  # not from the callback of a future
            # It may be waiting for the very first worker to start, which cannot be hurried; then it ends on its own.
            self._thread.join(1.5 * _CLOSING_SECONDS)

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closed:
                self._hire()
                self._hand_out()
                self._listen()
        except BaseException as error:  # a fault of this file: no future may wait for ever
            reason = f"the engine failed ({error!r}): run the search again to go on from here."
            for job in self._take_back(running=True):
                job.finish(error=WorkerDied(reason))
            raise
        finally:
            self._dismiss()

    def _hire(self) -> None:
        # As many as cores start before their jobs are there; more only where jobs wait for them.
        jobs = len(self._queue) + sum(worker.job is not None for worker in self._crew)
        wanted = min(self.workers, max(usable_cores(), jobs))
        for index in sorted(set(range(wanted)) - {worker.index for worker in self._crew}):
            if self._closed or self._broken:
                return
            try:
                self._crew.append(_Worker(self._process, index, *self._settings))
            except (OSError, EOFError) as error:
                self._start_failed(f"worker processes cannot be started ({type(error).__name__}: {error})")

    def _start_failed(self, reason: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _TRIES * self.workers:
            self._broken = Failure(f"{reason}: free some memory, or use fewer workers.", "WorkerDied", "")

    def _hand_out(self) -> None:
        if self._broken and not any(worker.ready for worker in self._crew):
            for job in self._take_back():
                failure = self._broken
                job.finish(error=job_failed(failure) if failure.traceback else WorkerDied(failure.reason))
        idle = [worker for worker in self._crew if worker.ready and worker.job is None]
        while idle and self._queue:
            job = self._queue.popleft()
            if job.cancelled():
                job.finish()
            elif not idle.pop().give(job):
                self._queue.appendleft(job)  # the worker's end is noticed when we listen

    def _listen(self) -> None:
        deadline = min((worker.deadline for worker in self._crew), default=math.inf)
        ears: list[Any] = [
            self._ear,
            *(worker.pipe for worker in self._crew),
            *(worker.process.sentinel for worker in self._crew),
        ]
        heard = wait(ears, None if deadline == math.inf else max(0.0, deadline - time.monotonic()))
        if self._ear in heard:
            with self._lock:
                while self._ear.poll():
                    self._ear.recv_bytes()
                self._rung = False
        for worker in [worker for worker in self._crew if worker.pipe in heard or worker.process.sentinel in heard]:
            self._attend(worker, ended=worker.process.sentinel in heard)
        now = time.monotonic()
        for worker in list(self._crew):
            job = worker.job
            if job is not None and job.cancelled():
                self._replace(worker)
                job.finish()
            elif job is not None and now >= worker.deadline:
                self._replace(worker)
                job.finish(error=TrialTimeout(f"took longer than {job.timeout:g} s and was stopped."))

    def _attend(self, worker: _Worker, ended: bool) -> None:
        """Read what a worker says, to the last word if it has ended."""
        try:
            while worker.pipe.poll():
                self._understand(worker, worker.pipe.recv_bytes())
        except (EOFError, OSError):
            ended = True
        if ended:
            self._bury(worker)

    def _understand(self, worker: _Worker, message: bytes) -> None:
        if message == READY:
            worker.ready = True
            self._failed_starts = 0
        elif message == STARTED:
            assert worker.job is not None
            worker.started = True
            if worker.job.timeout is not None:
                worker.deadline = time.monotonic() + worker.job.timeout
        elif worker.job is None:
            self._broken = pickle.loads(message)  # noqa: S301 - from our own worker, as below
        else:
            job, worker.job, worker.deadline = worker.job, None, math.inf
            try:
                went_well, result = pickle.loads(message)  # noqa: S301
            except Exception as error:
                reason = f"the result of a job cannot be read ({type(error).__name__}: {error})."
                job.finish(error=JobFailed(reason, type(error).__name__, ""))
                return
            if went_well:
                job.finish(result)
            else:
                job.finish(error=job_failed(result))

    def _bury(self, worker: _Worker) -> None:
        job = worker.job
        code = self._replace(worker)
        if not worker.ready and not self._broken:
            self._start_failed(f"worker processes end before they begin ({_cause(code)})")
        if job is None:
            return
        if worker.started:
            job.deaths += 1
        job.tries += 1
        if job.deaths >= DEATHS or job.tries >= _TRIES:
            job.finish(error=WorkerDied(f"its worker process ended: {_cause(code)}."))
        else:
            self._queue.appendleft(job)

    def _replace(self, worker: _Worker) -> int | None:
        self._crew.remove(worker)
        return worker.stop()

    def _take_back(self, running: bool = False) -> list[Job]:
        """The jobs that wait, and those that run if asked for; they are nobody's afterwards."""
        with self._lock:
            jobs, self._queue = list(self._queue), deque()
        for worker in self._crew:
            if running and worker.job is not None:
                jobs.append(worker.job)
                worker.job = None
        return jobs

    def _dismiss(self) -> None:
        """Stop all workers, and let nobody wait for what they had."""
        self._closed = True
        for worker in self._crew:
            worker.process.kill()  # all at once, then one by one
        for worker in self._crew:
            worker.stop()
        for job in self._take_back(running=True):
            job.cancel()
            job.finish()
        with self._lock:
            self._bell.close()
            self._ear.close()

    def _wake(self) -> None:
        with self._lock:
            if not self._rung and not self._bell.closed:
                self._bell.send_bytes(b"")
                self._rung = True


def _cause(code: int | None) -> str:
    if code is None:
        return "it did not say why"
    if code >= 0:
        return f"exit code {code}"
    if hasattr(signal, "SIGKILL") and -code == signal.SIGKILL:
        return "killed by SIGKILL, most often for want of memory"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-code).name}"
    return f"killed by signal {-code}"
