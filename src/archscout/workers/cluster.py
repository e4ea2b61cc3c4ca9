"""Workers on a Ray cluster, or on this machine under Ray (the extra `ray`).

A job is a Ray task of one processor, which we try again ourselves where its worker is lost, as on this machine. As many
tasks as there are workers are in flight, so that the time that a job takes is not the time it waits.
"""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import socket
import sys
import sysconfig
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache, partial, wraps
from pathlib import Path
from typing import Any, ClassVar

import cloudpickle

from archscout.core.errors import ArchscoutError, UsageError
from archscout.workers.engine import DEATHS, Engine, Job, TrialTimeout, WorkerDied, job_failed, packed
from archscout.workers.names import with_names
from archscout.workers.worker import describe, outcome, prepare

_ANSWER_SECONDS = 5.0

_unpacked: dict[str, Any] = {}
"""In a worker process: the payload of the engine it last worked for."""


def _task(token: str, payload: bytes, threads: int, job: bytes) -> bytes:
    """Runs in a Ray worker, which lives on between the tasks of one engine."""
    if token not in _unpacked:
        prepare(threads)
        _unpacked.clear()
        _unpacked[token] = pickle.loads(payload)  # noqa: S301 - our own bytes
    return outcome(_unpacked[token], job)


def _join(ray: Any, processors: int | None) -> None:
    """Join the cluster that `RAY_ADDRESS` names or that runs on this machine, or start a Ray of our own.

    Ray itself waits for minutes for an address at which nobody answers, such as that of a cluster that was killed.
    Raises what Ray raises.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    named, running = os.environ.get("RAY_ADDRESS"), ray._private.utils.read_ray_address()
    if named:
        if not _answers(named):
            raise ConnectionError(f"nobody answers at RAY_ADDRESS={named}")
        ray.init(**options)
    elif running and _answers(running):
        ray.init(address=running, **options)
    else:
        ray.init(address="local", num_cpus=processors, include_dashboard=False, **options)


def _answers(address: str) -> bool:
    """Whether somebody listens at `host:port`; true for other forms of addresses, which Ray knows."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        return True
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
    except (OSError, OverflowError):
        return False
    return True


def _most(ray: Any, threads: int, device: str) -> int:
    """How many jobs the cluster has processors (and GPUs) for, as it is now."""
    there = ray.cluster_resources()
    jobs = int(there.get("CPU", 0)) // threads
    return max(1, min(jobs, int(there.get("GPU", 0))) if device == "cuda" else jobs)


@cache
def _is_own(file: str) -> bool:
    """Whether a module is Python code of the user's own: neither installed nor a part of Python."""
    standard = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}
    path = Path(file).resolve()
    installed = {"site-packages", "dist-packages"}.intersection(path.parts)
    return path.suffix == ".py" and not installed and not standard.intersection(path.parents)


@contextmanager
def _own_code_sent() -> Iterator[None]:
    """In the block, modules of the user's own are pickled as code: on another machine they cannot be imported."""
    known = {"__main__", "__mp_main__", *cloudpickle.list_registry_pickle_by_value()}
    own = [
        module
        for name, module in list(sys.modules.items())
        if name not in known
        and name.partition(".")[0] != "archscout"
        and getattr(module, "__name__", None) == name
        and isinstance(file := getattr(module, "__file__", None), str)
        and _is_own(file)
    ]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


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
    """Jobs as Ray tasks: on the cluster that this process has joined, that `RAY_ADDRESS` names or that was started on
    this machine, else on this machine alone. Workers need not see its files, nor the modules of the user's own.

    Args:
        workers: how many jobs are in flight; Ray runs as many of them as it has processors (and GPUs) for, and None is
            that number.
        payload: the first argument of every job; put into Ray's object store once.
        threads: how many threads torch may use in each.
        device: with "cuda", each job is given a GPU.

    Raises:
        UsageError: Ray is not installed.
        ArchscoutError: Ray cannot be started or reached.
    """

    here: ClassVar[bool] = False

    def __init__(self, workers: int | None, payload: Any, threads: int = 1, device: str = "cpu") -> None:
        try:
            import ray
        except ModuleNotFoundError:
            raise UsageError("the engine 'ray' needs the extra: pip install 'archscout[ray]'.") from None
        if workers is not None and workers < 1:
            raise UsageError(f"{workers} workers cannot run a job: give at least 1.")
        with _own_code_sent():
            message = packed(with_names(payload), "what all jobs share")
        self._ray: Any = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            _keep_off_stdout(ray)
            try:
                _join(ray, None if workers is None else workers * threads)
            except (OSError, RuntimeError, ValueError) as error:
                raise ArchscoutError(f"Ray cannot be started ({error}): use the engine 'local'.") from error
        self.workers = workers or _most(ray, threads, device)
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
        with _own_code_sent():
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
