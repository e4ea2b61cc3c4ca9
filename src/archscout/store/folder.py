"""The folder of a run: what it is called, and whether it can be written."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile

from archscout.core import options
from archscout.core.errors import UsageError
from archscout.core.space import Space
from archscout.core.task import Task

_LONGEST = 200
"""Characters of a name; file systems allow 255 bytes, and workers add to it."""


def default_name(space: Space, task: Task, method: str, seed: int) -> str:
    """A folder name that tells searches apart."""
    return options.folder_name(f"{space.name}-{task.name}-{method}-seed{seed}")


def check_name(name: object) -> None:
    """Raises `UsageError` for what cannot name a run: a path, an option, a hidden file, nothing to be seen."""
    if (
        not isinstance(name, str)
        or not name.isprintable()
        or name != name.strip()
        or Path(name).name != name
        or name.startswith((".", "-"))
        or not name
        or len(name) > _LONGEST
    ):
        raise UsageError(
            f"{options.shown(name)} cannot be the name of a run: use letters, digits, dots and dashes, and begin with "
            "a letter or digit."
        )


def run_folder(out: Path, name: str) -> Path:
    """The run's folder, made if need be. Raises `UsageError` where it cannot be written."""
    check_name(name)
    folder = out / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):  # without a name: others may try the same at this moment
            pass
    except OSError as error:
        raise UsageError(
            f"cannot write to '{folder}': {error.strerror or error}; choose another folder with --out."
        ) from error
    return folder
