"""Workers on a Ray cluster, or on this machine under Ray (the extra `ray`).

A job is a Ray task of one processor, which we try again ourselves where its worker is lost, as on this machine. As many
tasks as there are workers are in flight, so that the time that a job takes is not the time it waits.
"""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial, wraps
from typing import Any

from archscout.core.errors import ArchscoutError, UsageError
from archscout.workers.engine import DEATHS, Engine, Job, TrialTimeout, WorkerDied, job_failed, packed
from archscout.workers.worker import describe, outcome, prepare

_unpacked: dict[str, Any] = {}
"""In a worker process: the payload of the engine it last worked for."""


def _task(token: str, payload: bytes, threads: int, job: bytes) -> bytes:
    """Runs in a Ray worker, which lives on between the tasks of one engine."""
    if token not in _unpacked:
        prepare(threads)
        _unpacked.clear()
        _unpacked[token] = pickle.loads(payload)  # noqa: S301 - our own bytes
    return outcome(_unpacked[token], job)


def _start_options(processors: int) -> dict[str, Any]:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if not os.environ.get("RAY_ADDRESS"):  # a Ray of our own on this machine
        options |= {"num_cpus": processors, "include_dashboard": False}
    return options


def _keep_off_stdout(ray: Any) -> None:
    """Have Ray write its notes on dead workers to standard error: standard output is for results."""
    module = ray._private.worker
    write = getattr(module, "print_to_stdstream", None)
    if write is not None and not hasattr(write, "__wrapped__"):

        @wraps(write)
        def to_stderr(data: dict[str, Any], **options: Any) -> None:
            write(data | {"is_err": True}, **options)

        module.print_to_stdstream = to_stderr


class RayEngine(Engine):
    """Jobs as Ray tasks: on the cluster that this process has joined or that `RAY_ADDRESS` names, else on this machine.

    Args:
        workers: how many jobs are in flight; Ray runs as many of them as it has processors (and GPUs) for.
        payload: the first argument of every job; put into Ray's object store once.
        threads: how many threads torch may use in each.
        device: with "cuda", each job is given a GPU.

    Raises:
        UsageError: Ray is not installed.
        ArchscoutError: Ray cannot be started or reached.
    """

    def __init__(self, workers: int, payload: Any, threads: int = 1, device: str = "cpu") -> None:
        try:
            import ray
        except ModuleNotFoundError:
            raise UsageError("the engine 'ray' needs the extra: pip install 'archscout[ray]'.") from None
        if workers < 1:
            raise UsageError(f"{workers} workers cannot run a job: give at least 1.")
        message = packed(payload, "what all jobs share")
        self.workers = workers
        self._ray: Any = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            _keep_off_stdout(ray)
            try:
                ray.init(**_start_options(workers * threads))
            except (OSError, RuntimeError, ValueError) as error:
                raise ArchscoutError(f"Ray cannot be started ({error}): use the engine 'local'.") from error
        self._task: Any = ray.remote(num_cpus=threads, num_gpus=int(device == "cuda"), max_retries=0)(_task)
        self._shared = (hashlib.sha256(message).hexdigest(), ray.put(message), threads)
        self._queue: deque[Job] = deque()
        self._flying: dict[Any, tuple[Job, float]] = {}
        self._landed: deque[tuple[Any, Future[bytes]]] = deque()
        self._closed = self._woken = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="archscout-engine", daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., Any], *args: Any, timeout: float | None = None) -> Future[Any]:
        job = Job(packed((function, args), "a job"), timeout, self._wake)
        with self._changed:
            if self._closed:
                raise UsageError("the engine is closed: submit jobs before leaving its context.")
            self._queue.append(job)
        self._wake()
        return job

    def close(self) -> None:
        with self._changed:
            if self._closed:
                return
            self._closed = True
        self._wake()
        if threading.current_thread() is not self._thread:  # which runs the callbacks of futures
            self._thread.join()
        if self._ours:
            self._ray.shutdown()

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closed:
                self._land()
                self._stop_late()
                self._take_off()
                deadline = min((deadline for _, deadline in self._flying.values()), default=math.inf)
                with self._changed:
                    if not self._woken:
                        self._changed.wait(None if deadline == math.inf else max(0.0, deadline - time.monotonic()))
                    self._woken = False
        except BaseException as error:  # a fault of this file: no future may wait for ever
            self._closed = True
            for job in [job for job, _ in self._flying.values()] + list(self._queue):
                job.finish(error=WorkerDied(f"the engine failed ({error!r}): run the search again to go on from here."))
            raise
        finally:
            self._closed = True
            for ref in self._flying:
                self._ray.cancel(ref, force=True)
            for job in [job for job, _ in self._flying.values()] + list(self._queue):
                job.cancel()
                job.finish()

    def _take_off(self) -> None:
        while self._queue and len(self._flying) < self.workers:
            job = self._queue.popleft()
            if job.cancelled():
                job.finish()
                continue
            ref = self._task.remote(*self._shared, job.message)
            self._flying[ref] = (job, math.inf if job.timeout is None else time.monotonic() + job.timeout)
            ref.future().add_done_callback(partial(self._hear, ref))

    def _hear(self, ref: Any, future: Future[bytes]) -> None:
        self._landed.append((ref, future))
        self._wake()

    def _land(self) -> None:
        while self._landed:
            ref, future = self._landed.popleft()
            job, _ = self._flying.pop(ref, (None, 0.0))
            if job is None:  # cancelled or late
                continue
            try:
                went_well, result = pickle.loads(future.result())  # noqa: S301 - from our own task
            except self._ray.exceptions.RayTaskError as error:
                job.finish(error=job_failed(describe(error.cause or error)))
            except Exception as error:
                job.deaths += 1
                if job.deaths < DEATHS:
                    self._queue.appendleft(job)
                else:
                    job.finish(error=WorkerDied(f"its worker process ended: {describe(error).reason}"))
            else:
                if went_well:
                    job.finish(result)
                else:
                    job.finish(error=job_failed(result))

    def _stop_late(self) -> None:
        now = time.monotonic()
        for ref, (job, deadline) in list(self._flying.items()):
            if job.cancelled() or now >= deadline:
                del self._flying[ref]
                self._ray.cancel(ref, force=True)
                job.finish(error=TrialTimeout(f"took longer than {job.timeout or 0.0:g} s and was stopped."))

    def _wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()
