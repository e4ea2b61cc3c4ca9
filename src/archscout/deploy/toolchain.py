"""Compilers and QEMU: the C code of a network run on this machine and on a core, and what it takes there.

Nothing of it is needed to write the code. What is not installed is said with the packages that bring it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from archscout.core.errors import ArchscoutError

HOST = ("make", "cc")
CROSS = ("make", "arm-none-eabi-gcc", "arm-none-eabi-size")
EMULATOR = ("qemu-system-arm",)

_PACKAGES = {
    "make": "make",
    "cc": "gcc",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "arm-none-eabi-size": "binutils-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
}
_PATIENCE = 600.0
"""Seconds."""


@dataclass(frozen=True)
class Counted:
    """What was counted on a core; None where the tools for it are not installed.

    Args:
        flash_bytes: of the network alone, linked: code, weights, tables.
        instructions: for one answer, the mean over the examples of the self-test.
        stack_bytes: the deepest that the stack was.
    """

    flash_bytes: int | None = None
    instructions: int | None = None
    stack_bytes: int | None = None


def missing(tools: tuple[str, ...]) -> str:
    """What is not installed and how to install it, in words; nothing where all is there.

    >>> missing(("python3",)) or "all there"
    'all there'
    """
    absent = [tool for tool in tools if shutil.which(tool) is None]
    packages = " ".join(_PACKAGES.get(tool, tool) for tool in absent)
    return f"{' and '.join(absent)} not installed: apt-get install {packages}" if absent else ""


def check_on_host(files: Mapping[str, str]) -> None:
    """Compile the self-test with the compiler of this machine and run it.

    Raises `ArchscoutError` where that fails, or a byte differs from the integer reference.
    """
    with tempfile.TemporaryDirectory() as folder:
        _write(files, Path(folder))
        _same(_make(Path(folder), "test"), "this machine")


def count(files: Mapping[str, str], core: str, board: str) -> Counted:
    """Link the network for a core, and run its self-test on a board of QEMU; what is not installed is left out.

    Args:
        files: the code.
        core: a processor that the compiler knows (`cortex-m4`).
        board: a machine of QEMU with such a core and the timer of MPS2 boards (`mps2-an386`); "" for none.

    Raises:
        ArchscoutError: the code cannot be compiled, or answers differently there.
    """
    if missing(CROSS):
        return Counted()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(files, folder)
        sizes = _make(folder, "size", f"CORE={core}").splitlines()[-1].split()
        flash = int(sizes[0]) + int(sizes[1])
        if missing(EMULATOR) or not board:
            return Counted(flash)
        output = _make(folder, "count", f"CORE={core}", f"BOARD={board}")
        _same(output, f"a {core}")
        return Counted(flash, _number(output, "instructions"), _number(output, "stack"))


def _write(files: Mapping[str, str], folder: Path) -> None:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def _make(folder: Path, *arguments: str) -> str:
    """What a target says. Raises `ArchscoutError` where it fails otherwise than by bytes that differ."""
    try:
        done = subprocess.run(  # noqa: S603 - our own Makefile
            ["make", "-s", "-C", str(folder), *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise ArchscoutError(f"'make {arguments[0]}' of the C code was stopped after {_PATIENCE:.0f} s.") from error
    output = done.stdout + done.stderr
    if done.returncode and "differ " not in output:
        lines = output.strip().splitlines() or [""]
        line = next((line for line in lines if "error" in line), lines[0])
        raise ArchscoutError(f"'make {arguments[0]}' of the C code failed ({line}): look at the compiler's version.")
    return output


def _same(output: str, where: str) -> None:
    if (differ := _number(output, "differ")) != 0:
        raise ArchscoutError(
            f"the C code on {where} differs from the integer reference in {differ} bytes of the self-test: do not use "
            "it, and report the compiler and its version."
        )


def _number(output: str, name: str) -> int:
    matched = re.search(rf"^{name} (\d+)$", output, re.MULTILINE)
    if matched is None:
        raise ArchscoutError(f"the self-test of the C code does not say '{name}': it ended before it was done.")
    return int(matched.group(1))
