"""What machine this is, and whether other programs were using it during a measurement."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path

_STATISTICS = Path("/proc/stat")


@cache
def processor() -> str:
    """The name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def others() -> Callable[[], float | None]:
    """A function that tells what share of all processor time other programs have used since this call.

    It gives None where the system does not say (elsewhere than on Linux), or where too little time has passed. Two
    threads of one core slow each other down, so that even a share of a half can double a latency.
    """
    before = _times()

    def since() -> float | None:
        after = _times()
        if before is None or after is None:
            return None
        total, idle, own = (late - early for early, late in zip(before, after, strict=True))
        return min(1.0, max(0.0, (total - idle - own) / total)) if total > 0 else None

    return since


def _times() -> tuple[float, float, float] | None:
    """Seconds of all processors since the machine started, of those idle ones, and seconds of this process."""
    try:
        fields = _STATISTICS.read_text(encoding="ascii").partition("\n")[0].split()[1:9]
        ticks = [int(field) / os.sysconf("SC_CLK_TCK") for field in fields]
        idle = ticks[3] + ticks[4]
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    own = os.times()
    return sum(ticks), idle, own.user + own.system
