"""How much memory this machine has."""

from __future__ import annotations

import math
import os


def physical_memory() -> float:
    """Bytes; infinite where the system does not say."""
    if not hasattr(os, "sysconf"):
        return math.inf
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
