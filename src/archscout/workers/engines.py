"""Where jobs run: in this process, in worker processes of this machine, or on a Ray cluster."""

from __future__ import annotations

from typing import Any

from archscout.core.cores import usable_cores
from archscout.core.errors import UsageError, nearest
from archscout.workers.engine import Engine as Engine
from archscout.workers.engine import InlineEngine as InlineEngine
from archscout.workers.engine import JobFailed as JobFailed
from archscout.workers.engine import RemoteTraceback as RemoteTraceback
from archscout.workers.engine import TrialTimeout as TrialTimeout
from archscout.workers.engine import WorkerDied as WorkerDied
from archscout.workers.local import LocalEngine

_MOST_PROCESSES, _MOST_A_CORE = 64, 8
"""Worker processes of one machine: more than these, and than so many a core, only take memory."""


def engine(name: str, workers: int | None, payload: Any, *, threads: int = 1, device: str = "cpu") -> Engine:
    """An engine by name.

    Args:
        name: "local" or "ray".
        workers: how many jobs run side by side; 0 runs them in this process, whatever the name. None is as many as
            there are cores: on this machine, or on the whole cluster.
        payload: the first argument of every job.
        threads: how many threads torch may use in each worker.
        device: with "cuda", the workers share out the GPUs of this machine.

    Raises:
        UsageError: an unknown name, a negative number, more processes than this machine has use for, a payload that
            cannot be sent, or Ray is not installed.
    """
    if name not in ("local", "ray"):
        raise UsageError(f"there is no engine '{name}': {nearest(name, ('local', 'ray'))}")
    if workers is None and name == "local":
        workers = usable_cores()
    if (workers is not None and workers < 0) or threads < 1:
        raise UsageError(f"{workers} workers of {threads} threads cannot run: give at least 0 workers and 1 thread.")
    if workers == 0:
        return InlineEngine(payload)
    if name == "ray":
        from archscout.workers.cluster import RayEngine  # brings Ray

        return RayEngine(workers, payload, threads=threads, device=device)
    assert workers is not None
    if workers > (most := max(_MOST_PROCESSES, _MOST_A_CORE * usable_cores())):
        raise UsageError(
            f"{workers:,} worker processes would only take memory on {usable_cores()} cores: give at most {most}."
        )
    return LocalEngine(workers, payload, threads=threads, device=device)
