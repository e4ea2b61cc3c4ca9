"""Whether a process that has left something behind still runs, where that can be told."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> str:
    """This machine, and on Linux the container in it, for only there does the number of a process mean something."""
    try:
        return f"{platform.node()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def is_gone(where: str, process: int) -> bool:
    """Whether a process ran on this machine (`machine`) and does not any more; of others nothing is known."""
    if where != machine() or os.name != "posix":
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # somebody else's, or no number of a process
        return False
    return False
