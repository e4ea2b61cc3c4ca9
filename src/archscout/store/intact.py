"""Whether the files of a result are still what was written: their checksums lie in `architecture.json` beside them."""

from __future__ import annotations

from pathlib import Path

from archscout.core.errors import DataError
from archscout.core.files import checksum, read_json, well_formed

CHECKED = ("network.safetensors", "network.onnx")
"""Files of a result whose checksums are kept with it."""

_AGAIN = "run the search again."


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that are there, by name."""
    return {name: checksum(folder / name) for name in CHECKED if (folder / name).is_file()}


def check(file: Path) -> None:
    """See that a file of a result is what was written; of runs of earlier versions nothing is known.

    Raises `DataError` where it is not, or what is known of it is damaged.
    """
    about = file.parent / "architecture.json"
    known = read_json(about, _AGAIN) if about.is_file() else {}
    with well_formed(about, _AGAIN):
        known = known.get("sha256", {}).get(file.name)
    if known is not None and known != checksum(file):
        raise DataError(
            f"'{file}' is damaged (it is not what the run has written): restore it from a copy, or {_AGAIN}"
        )
