"""What every engine promises, and the one that works in this process.

A job is `function(payload, *args)`. The payload (the space, the task, ...) is sent to a worker once, so that a job
carries little more than its architecture. Whatever a job does (raises, overruns, is killed), its own future tells of
it in one sentence, and all other jobs go on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, ClassVar, Self

from archscout.core.errors import ArchscoutError, UsageError
from archscout.workers.pickling import dumps
from archscout.workers.worker import Failure, describe

DEATHS = 2
"""After how many workers ended under it a job is given up: one may have been killed for another's sake."""


class JobFailed(ArchscoutError):  # noqa: N818 - an outcome, not a fault
    """A job raised an error. `kind` is the name of its class, `traceback` its text where it was raised."""

    def __init__(self, message: str, kind: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.traceback = traceback
        self.__cause__ = RemoteTraceback(traceback)


class WorkerDied(ArchscoutError):  # noqa: N818
    """The process that ran a job ended before the job did, and so did the one that tried it again."""


class TrialTimeout(ArchscoutError):  # noqa: N818
    """A job took longer than it was allowed to; its process was stopped."""


class RemoteTraceback(Exception):  # noqa: N818 - carries a text, as in concurrent.futures
    """Shows where in the worker an error was raised, as the cause of a `JobFailed`."""

    def __str__(self) -> str:
        return f"\n{self.args[0].rstrip()}"


class Engine(ABC):
    """Runs jobs. A context manager: leaving it stops what still runs.

    `workers` is how many jobs run side by side; 0 means in this process, while `submit` waits.
    """

    workers: int

    here: ClassVar[bool] = True
    """Whether all workers are processes of this machine, and see its files."""

    @abstractmethod
    def submit(self, function: Callable[..., Any], *args: Any, timeout: float | None = None) -> Future[Any]:
        """Have `function(payload, *args)` computed.

        Args:
            function: a function; one defined in a script or a notebook works too.
            *args: whatever cloudpickle can send.
            timeout: seconds that the job may take, counted from its start, not from now.

        Returns:
            A future of the result. It raises `JobFailed` if the job raised, `WorkerDied` if its process ended twice,
            and `TrialTimeout` if it took too long. Cancelling it stops the job, also while it runs.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop at once: jobs that have not ended are cancelled. Closing twice is allowed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Job(Future[Any]):
    """A future that can be cancelled while it runs: its worker is stopped."""

    def __init__(self, message: bytes, timeout: float | None, wake: Callable[[], None]) -> None:
        super().__init__()
        self.message = message
        self.timeout = timeout
        self.tries = self.deaths = 0
        self._wake = wake

    def cancel(self) -> bool:
        """Whether the job is stopped: true unless it has ended."""
        cancelled = super().cancel()
        self._wake()
        return cancelled

    def finish(self, result: Any = None, error: BaseException | None = None) -> None:
        """Set the outcome, unless the job was cancelled meanwhile. A job counts as pending until it has ended."""
        if self.done():
            if self.cancelled():
                with suppress(RuntimeError):  # told before
                    self.set_running_or_notify_cancel()
        elif self.set_running_or_notify_cancel():
            if error is None:
                self.set_result(result)
            else:
                self.set_exception(error)


class InlineEngine(Engine):
    """No worker at all: `submit` computes the job before it returns. For tests and debuggers; knows no timeouts."""

    workers = 0

    def __init__(self, payload: Any) -> None:
        self._payload = payload

    def submit(self, function: Callable[..., Any], *args: Any, timeout: float | None = None) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(function(self._payload, *args))
        except (Exception, SystemExit) as error:
            failed = job_failed(describe(error))
            failed.__cause__ = error
            future.set_exception(failed)
        return future

    def close(self) -> None:
        """Nothing runs between two calls."""


def packed(value: Any, what: str) -> bytes:
    """What is sent to a worker. Raises `UsageError` if it cannot be sent."""
    try:
        return dumps(value)
    except Exception as error:
        raise UsageError(f"{what} cannot be sent to a worker process: {describe(error).reason}") from error


def job_failed(failure: Failure) -> JobFailed:
    """The error that a future raises for what a worker reported."""
    return JobFailed(failure.reason, failure.kind, failure.traceback)
