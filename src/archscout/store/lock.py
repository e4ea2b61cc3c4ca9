"""One search at a time writes to a run, one study to its folder, one build to a table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from archscout.core.errors import UsageError
from archscout.core.files import sweep


@contextmanager
def run_lock(folder: Path, what: str = "search", patience: float = 0.0) -> Iterator[None]:
    """Hold `folder/.lock` while the block runs; the folder is made if it does not exist.

    Temporary files that a killed holder left are removed. `what` is what writes there, for the message.

    The kernel lets go of the lock when its holder ends, in whatever way. The holder's process id lies beside it, in
    `.lock-holder`, only to be shown.

    Raises `UsageError` if another search holds it, after so many seconds of `patience`, or if the folder cannot be
    written.
    """
    folder = Path(folder)
    holder = folder / ".lock-holder"
    lock = FileLock(folder / ".lock", timeout=patience)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"another {what}{_named(holder)} is writing to {folder}: wait for its end, stop it, or choose another name."
        ) from None
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror or error}): name another folder.") from error
    try:
        sweep(folder)
        with suppress(OSError):  # on a full disk the search will say so itself
            holder.write_text(f"{os.getpid()}\n", encoding="ascii")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _named(holder: Path) -> str:
    try:
        return f" (process {int(holder.read_text(encoding='ascii'))})"
    except (OSError, ValueError):
        return ""
