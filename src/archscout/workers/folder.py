"""A folder of the process that searches, as jobs see it: also jobs on another machine, which cannot write to it.

Whether a job can is seen by a sign that lies in the folder: a path alone would name another machine's disk just as
well. Where the sign is not to be seen, the job writes to a folder of its own, and what lies in it at the end travels
back with the result.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar
from uuid import uuid4

from archscout.core.files import write_bytes, write_text

SIGN = ".folder"

Result = TypeVar("Result")
Files = Mapping[str, bytes]
"""Contents by file name."""


@dataclass(frozen=True)
class Folder:
    """The path is absolute: workers may have another working folder."""

    path: str
    sign: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """A folder of this machine, with its sign put into it. Raises `OSError`."""
        path, sign = path.resolve(), uuid4().hex
        write_text(path / SIGN, sign)
        return cls(str(path), sign)

    def seen(self) -> bool:
        """Whether this process, wherever it is, sees the folder itself."""
        try:
            return (Path(self.path) / SIGN).read_text(encoding="utf-8") == self.sign
        except (OSError, ValueError):
            return False

    def use(self, work: Callable[[Path], Result]) -> tuple[Result, Files]:
        """Do some work in the folder, or in one that stands for it; what it comes to, and the files to carry back."""
        if self.seen():
            return work(Path(self.path)), {}
        with tempfile.TemporaryDirectory(prefix="archscout-", ignore_cleanup_errors=True) as name:
            elsewhere = Path(name)
            result = work(elsewhere)
            return result, {file.name: file.read_bytes() for file in sorted(elsewhere.iterdir()) if file.is_file()}

    def take(self, files: Files) -> None:
        """Write what was carried back. Raises `OSError`."""
        for name, content in files.items():
            write_bytes(Path(self.path) / Path(name).name, content)
