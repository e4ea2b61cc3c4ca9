"""What machine this is, and whether it runs at its full speed now.

Another program on the second thread of a core, perhaps in another virtual machine, where no statistics show it, makes
everything up to twice as slow for seconds on end. Repeating a measurement at once does not reveal it; comparing a
fixed bit of work with the fastest it has ever been does.
"""

from __future__ import annotations

import math
import os
import platform
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

FULL_SPEED = 1.25
"""A machine whose fixed bit of work takes at most this many times its least time runs at full speed."""

_REPEATS = 9
_CALLS = 3
_LOOKS, _PAUSE = 20, 0.05

_least = math.inf
_here = threading.local()


def pace() -> float:
    """How many times longer than ever before in this process a fixed bit of work takes now (1: as fast as ever)."""
    global _least
    now = min(_work() for _ in range(_REPEATS))
    _least = min(_least, now)
    return now / _least


def waited() -> float:
    """Seconds that this thread has been ready to run while others had its processor; 0 where that is not known.

    Linux tells (`/proc/thread-self/schedstat`). What happens outside this machine, where it is a virtual one, does not
    show here: for that there is `pace`.
    """
    known = getattr(_here, "file", None)
    if known is None or _here.process != os.getpid():
        try:
            known = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except OSError:
            known = -1
        _here.file, _here.process = known, os.getpid()
    if known < 0:
        return 0.0
    return int(os.pread(known, 80, 0).split()[1]) / 1e9


def least() -> float:
    """The shortest time, in seconds, that the fixed bit of work has been seen to take (infinite: never looked)."""
    return _least


def remember(seconds: float) -> None:
    """Take note of a least time that another process of this machine has seen."""
    global _least
    _least = min(_least, seconds)


@cache
def get_to_know() -> None:
    """Look for a second, once a process, for a moment at full speed, so that `pace` has something to compare with."""
    for _ in range(_LOOKS):
        pace()
        time.sleep(_PAUSE)


def _work() -> float:
    """Seconds of a few small convolutions: what shares its core with another program slows these as it slows a network.

    (A loop of Python is slowed more, a large matrix product less.)
    """
    layers, x = _layers()
    began = time.perf_counter()
    for _ in range(_CALLS):
        layers(x)
    return time.perf_counter() - began


@cache
def _layers() -> tuple[Callable[[Any], Any], Any]:
    import torch
    from torch import nn

    layers = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()).eval().requires_grad_(False)
    return layers, torch.zeros(1, 8, 8, 8)


@cache
def processor() -> str:
    """The name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def conditions(workers: int, device: str) -> dict[str, Any]:
    """What the figures depend on besides the seed."""
    import torch

    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": 1,
        "workers": workers,
        "device": device,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "system": platform.system(),
    }
