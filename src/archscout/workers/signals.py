"""Signals that must not reach a thread or the processes that it starts."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deaf(*signals: signal.Signals) -> Iterator[None]:
    """Signals do not reach this thread in the block, nor the threads and processes that it starts, ever.

    A thread that starts processes would otherwise take signals away from the main thread, the only one where Python
    acts on them: the kernel looks for waiting signals whenever a process is forked.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
