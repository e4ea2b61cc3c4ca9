"""What runs inside a worker process: jobs one after the other, until the pipe to the parent closes.

The design meets four constraints: a worker leaves Ctrl-C to its parent, outlives it by no more than a moment, never
writes to the parent's standard output, and reports an error as text, since not every exception can be sent.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from archscout.core.errors import ArchscoutError
from archscout.workers.pickling import dumps

READY = b"ready"
STARTED = b"started"
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Failure:
    """An error as it travels: one line, the name of its class, and the traceback as text."""

    reason: str
    kind: str
    traceback: str


def describe(error: BaseException) -> Failure:
    """An error in one line.

    >>> describe(ValueError("no such width")).reason
    'ValueError: no such width'
    """
    kind = type(error).__name__
    try:
        message = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    except Exception as broken:
        message = f"(its message cannot be shown: {type(broken).__name__})"
    reason = message if isinstance(error, ArchscoutError) and message else f"{kind}: {message}".rstrip(": ")
    if len(reason) > _LONGEST_REASON:
        reason = reason[:_LONGEST_REASON] + " ..."
    return Failure(reason, kind, "".join(traceback.format_exception(error)))


def serve(pipe: Connection, payload: bytes, index: int, threads: int, device: str) -> None:
    """The life of a worker process.

    Messages to the parent are `READY` (or why there is no getting ready), and for each job `STARTED`, then its
    outcome: a pickled pair of whether it went well and the result or the `Failure`.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        prepare(threads, index, device)
        unpacked = pickle.loads(payload)  # noqa: S301 - our own bytes, over a pipe that only the two of us hold
    except BaseException as error:
        pipe.send_bytes(pickle.dumps(describe(error)))
        return
    del payload
    with contextlib.suppress(EOFError, OSError):  # the parent has closed the pipe, or is gone
        pipe.send_bytes(READY)
        while True:
            job = pipe.recv_bytes()
            pipe.send_bytes(STARTED)
            pipe.send_bytes(outcome(unpacked, job))


def outcome(payload: Any, job: bytes) -> bytes:
    """Compute a job, which is a pickled pair of a function and its further arguments."""
    try:
        function, args = pickle.loads(job)  # noqa: S301 - as above
        return dumps((True, function(payload, *args)))
    except BaseException as error:  # SystemExit too: a job may not end its worker by the polite way
        return pickle.dumps((False, describe(error)))


def prepare(threads: int, index: int = 0, device: str = "cpu") -> None:
    """What a process needs before its first job: silence, and its share of the processors."""
    quiet()
    for library in ("OMP", "OPENBLAS", "MKL"):  # read by those that are loaded from now on
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    if device == "cuda" and torch.cuda.device_count():
        torch.cuda.set_device(index % torch.cuda.device_count())


def quiet() -> None:
    """Leave Ctrl-C to the parent, and send what is printed to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # a daemon may have neither
        os.dup2(2, 1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
