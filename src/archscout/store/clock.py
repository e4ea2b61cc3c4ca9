"""The seconds that a run has spent, over all its sittings and by phase."""

from __future__ import annotations

import time

from archscout.store.store import Store


class Clock:
    """Seconds spent on a run, those of earlier sittings included; written to the store as they pass."""

    def __init__(self, store: Store, run: str, since: float) -> None:
        self.store, self.run = store, run
        self.before = sum(store.spent(run).values())
        self.start = self.written = since
        self.phase = "prepare"

    def elapsed(self) -> float:
        """Seconds since the run was first started, without the pauses between sittings."""
        return self.before + time.monotonic() - self.start

    def enter(self, phase: str) -> None:
        """From now on seconds count towards another phase."""
        if phase != self.phase:
            self.write()
            self.phase = phase

    def write(self, every: float = 0.0) -> None:
        """Commit the seconds since the last time, unless that was less than `every` seconds ago."""
        now = time.monotonic()
        if now - self.written >= every:
            self.store.spend(self.run, self.phase, now - self.written)
            self.written = now
