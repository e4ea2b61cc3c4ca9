"""Starting worker processes so that nobody notices: not the user's main module, not Ctrl-C, not the clock."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import spawn
from multiprocessing.process import BaseProcess
from typing import Any

Starter = Callable[..., BaseProcess]
"""Makes a process, not started yet, from `target`, `args` and `name`."""

_hiding = threading.local()
_preparation_data = spawn.get_preparation_data


def starter() -> Starter:
    """How processes are started here: forked in milliseconds from a server that has torch loaded, or afresh."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn").Process
    from archscout.workers.forked import ForkedProcess, start_server  # not to be had where nothing forks

    start_server()
    return ForkedProcess


@contextmanager
def main_hidden() -> Iterator[None]:
    """Processes that this thread starts in the block are not told to import the user's main module again.

    That is what makes scripts need their `if __name__ == "__main__"`; our workers get all they need by cloudpickle.
    """
    _hiding.on = True
    try:
        yield
    finally:
        _hiding.on = False


def _preparation_without_main(name: str) -> dict[str, Any]:
    data = _preparation_data(name)
    if getattr(_hiding, "on", False):
        data.pop("init_main_from_name", None)
        data.pop("init_main_from_path", None)
    return data


# multiprocessing asks this function what to tell a new process, and offers no other way to have a say in it.
spawn.get_preparation_data = _preparation_without_main
