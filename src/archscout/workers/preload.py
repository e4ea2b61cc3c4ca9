"""Imported once by the process that worker processes are forked from, so that a worker starts with torch at hand.

Nothing else imports this module: it changes the process it is imported in.
"""

import atexit
import os
import sys
from types import TracebackType

from archscout.workers.worker import quiet


def _complain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, EOFError | BrokenPipeError):  # the parent was killed while it started a worker
        sys.__excepthook__(kind, error, trace)


quiet()
sys.excepthook = _complain
for library in ("OMP", "OPENBLAS", "MKL"):  # their threads would not survive the fork
    os.environ[f"{library}_NUM_THREADS"] = "1"

import torch  # noqa: E402, F401 - after the limits, which are read when it is loaded

atexit.register(os._exit, 0)  # to take torch apart would keep the user's terminal waiting for seconds
