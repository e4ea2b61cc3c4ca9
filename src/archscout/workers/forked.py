"""A fork server of our own, where systems can fork.

The one that multiprocessing shares is left to the user's processes, which want their standard output, their Ctrl-C and
perhaps several threads.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import context, forkserver, popen_forkserver, reduction, resource_tracker, spawn, util
from typing import Any

from archscout.workers.signals import deaf

HEAP = {
    "glibc.malloc.trim_threshold": 2**32,
    "glibc.malloc.mmap_threshold": 2**32,
    "glibc.malloc.hugetlb": 1,
}
"""What workers ask of the C library's heap: keep what was freed, in large pages. A training frees its feature maps in
each step, and having them given back and zeroed anew takes it a tenth to a fifth of its time
(`benchmarks/training/heap.py`)."""

_server = forkserver.ForkServer()
_server.set_forkserver_preload(["archscout.workers.preload"])


def start_server() -> None:
    """Have the server started, if it is not; it takes seconds to load torch, which the caller need not wait for."""
    resource_tracker.ensure_running()  # by itself, for it ends the deafness of the thread that starts it
    # Deafness is inherited: the server is not to hear a Ctrl-C before it has learnt to ignore it.
    with deaf(signal.SIGINT), heap_kept():
        _server.ensure_running()


@contextmanager
def heap_kept() -> Iterator[None]:
    """Processes that are started in the block keep their heap, unless the user has said what they want of it.

    Read by the GNU C library when a program starts, and by no other.
    """
    if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ:
        yield
        return
    os.environ["GLIBC_TUNABLES"] = ":".join(f"{name}={value}" for name, value in HEAP.items())
    try:
        yield
    finally:
        del os.environ["GLIBC_TUNABLES"]


class _Popen(popen_forkserver.Popen):
    """As its base class, which knows only the shared server."""

    def _launch(self, process_obj: Any) -> None:
        message = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            reduction.dump(spawn.get_preparation_data(process_obj.name), message)
            reduction.dump(process_obj, message)
        finally:
            context.set_spawning_popen(None)
        self.sentinel, pipe = _server.connect_to_new_process(self._fds)  # type: ignore[attr-defined]
        alive = os.dup(pipe)  # when this end closes, the child knows that we are gone
        self.finalizer = util.Finalize(self, util.close_fds, (alive, self.sentinel))  # type: ignore[attr-defined]
        with os.fdopen(pipe, "wb") as file:
            file.write(message.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


class ForkedProcess(context.ForkServerProcess):
    """A process that our server forks."""

    @staticmethod
    def _Popen(process_obj: Any) -> _Popen:  # noqa: N802 - the name that multiprocessing calls
        return _Popen(process_obj)
